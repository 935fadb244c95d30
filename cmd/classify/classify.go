package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"cubby/eval"
	"cubby/internal/rows"
	"cubby/internal/target"
)

const (
	// batchRows and batchBytes are how much of a file is classified, and
	// written, at once.
	batchRows  = eval.DefaultBatch
	batchBytes = 1 << 20
)

// classify answers the texts on the command line or the rows of -data.
func (p *program) classify(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == rows.Stdin && p.data == "" {
		p.data, args = rows.Stdin, nil
	}
	switch {
	case p.topK < 0:
		return usagef("-top-k %d: expected 0 (all) or more", p.topK)
	case p.data != "" && len(args) > 0:
		return usagef("both texts and -data were given; give one of them")
	case p.data != "":
		return p.classifyFile(ctx)
	case len(args) == 0:
		return usagef("nothing to classify: give a text, or -data FILE")
	}
	return p.classifyTexts(ctx, args)
}

func (p *program) classifyTexts(ctx context.Context, texts []string) (err error) {
	t, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer closing(t, &err)
	answers, err := t.Classify(ctx, texts)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(p.stdout)
	tally := counter{}
	for i, a := range answers {
		tally.add(a)
		if p.json {
			err = writeJSON(out, newRecord(t.Facts(), i, 0, a, p.topK))
		} else {
			err = writeAnswer(out, t.Facts(), heading(texts, i), a, p.topK)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(out.Flush(), tally.outcome())
}

// classifyFile streams the rows of -data, batch by batch: what was read before
// a bad row is answered.
func (p *program) classifyFile(ctx context.Context) (err error) {
	in, err := p.openRows(rows.Text)
	if err != nil {
		return err
	}
	defer closing(in, &err)
	t, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer closing(t, &err)
	tally := counter{}
	for {
		batch, readErr := readBatch(in)
		if err := p.classifyBatch(ctx, t, batch, &tally); err != nil {
			return err
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	if tally.rows == 0 {
		return fmt.Errorf("%s: holds no rows", p.data)
	}
	return tally.outcome()
}

// readBatch returns the next rows and what ended them early.
func readBatch(in *rows.Reader) ([]rows.Row, error) {
	var batch []rows.Row
	for size := 0; len(batch) < batchRows && size < batchBytes; {
		row, err := in.Read()
		if err != nil {
			return batch, err
		}
		size += len(row.Text)
		batch = append(batch, row)
	}
	return batch, nil
}

func (p *program) classifyBatch(ctx context.Context, t target.Target, batch []rows.Row, tally *counter) error {
	if len(batch) == 0 {
		return nil
	}
	answers, err := t.Classify(ctx, textsOf(batch))
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", batch[0].Line, batch[len(batch)-1].Line, err)
	}
	out := bufio.NewWriter(p.stdout)
	for i, a := range answers {
		if err := writeJSON(out, newRecord(t.Facts(), tally.rows, batch[i].Line, a, p.topK)); err != nil {
			return err
		}
		tally.add(a)
	}
	return out.Flush()
}

func textsOf(list []rows.Row) []string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = r.Text
	}
	return texts
}

// counter counts answers, so that an error for an answer shows in the exit code.
type counter struct{ rows, errors int }

func (c *counter) add(a eval.Answer) {
	c.rows++
	if a.Err != nil {
		c.errors++
	}
}

func (c *counter) outcome() error {
	if c.errors == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d", errPartial, c.errors, c.rows)
}

// closing closes c at the end of a function and joins its error to that
// function's.
func closing(c io.Closer, err *error) {
	*err = errors.Join(*err, c.Close())
}
