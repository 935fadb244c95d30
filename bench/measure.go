package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cubby/eval"
	"cubby/internal/rows"
	"cubby/internal/workload"
)

// warmTexts is how many texts are answered before anything is timed, where
// there are no labelled rows to do it with.
const warmTexts = 32

// bench is one comparison.
type bench struct {
	config  *config
	student *student
	log     io.Writer
	texts   []string
	test    []eval.Row
	entries []*entry
	report  *report
}

// entry is a candidate and what has become of it.
type entry struct {
	candidate candidate
	system    *system // nil if it is not there
	line      *line   // of the report
	sent      int     // texts so far: every round goes on in the file
}

// readTexts reads the files of -data and -test.
func (b *bench) readTexts() error {
	if b.config.Test != "" {
		list, err := readRows(b.config.Test, rows.Labeled)
		if err != nil {
			return err
		}
		for _, r := range list {
			b.test = append(b.test, eval.Row{Line: r.Line, Text: r.Text, Answer: r.Answer})
			b.texts = append(b.texts, r.Text)
		}
	}
	if b.config.Data != "" {
		list, err := readRows(b.config.Data, rows.Text)
		if err != nil {
			return err
		}
		b.texts = nil
		for _, r := range list {
			b.texts = append(b.texts, r.Text)
		}
	}
	if len(b.texts) == 0 {
		return errors.New("the files hold no texts")
	}
	return nil
}

func readRows(path string, need rows.Need) ([]rows.Row, error) {
	r, err := rows.Open(path, os.Stdin, need)
	if err != nil {
		return nil, err
	}
	list, err := r.ReadAll()
	return list, errors.Join(err, r.Close())
}

// warmUp makes a system answer the labelled rows, or some texts.
func (b *bench) warmUp(ctx context.Context, e *entry) error {
	fmt.Fprintf(b.log, "%s: warming up\n", e.candidate.name)
	if len(b.test) == 0 {
		_, err := e.system.Classify(ctx, b.texts[:min(warmTexts, len(b.texts))])
		return err
	}
	r, err := eval.Run(ctx, e.system, b.student.set, b.test, eval.Options{})
	if err != nil {
		return err
	}
	e.line.Accuracy = &accuracy{Correct: r.Correct, Rows: r.Rows, NoLabel: r.Errors}
	return nil
}

// measure measures all systems in turn.
func (b *bench) measure(ctx context.Context) error {
	for _, clients := range b.config.Clients {
		for range b.config.Rounds {
			for _, e := range b.entries {
				if e.system == nil {
					continue
				}
				if err := b.drop(ctx, e, b.round(ctx, e, clients)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// round measures one system for one turn and adds it to its figures.
func (b *bench) round(ctx context.Context, e *entry, clients int) error {
	t, err := b.quietest(ctx, e, workload.Load{
		Texts: b.texts, Clients: clients, Batch: 1, Duration: b.config.Duration / time.Duration(b.config.Rounds),
	})
	if err != nil {
		return err
	}
	e.line.add(t)
	e.line.PeakMemory = e.system.usage().PeakMemory
	m := t.measured
	fmt.Fprintf(b.log, "%s, %d clients: %.1f items/s, p50 %.1f ms, p95 %.1f ms; others took %.0f %% of the processors\n",
		e.candidate.name, clients, m.ItemsPerSecond, m.P50, m.P95, 100*t.others)
	return nil
}
