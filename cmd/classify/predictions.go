package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"cubby/eval"
	"cubby/internal/journal"
	"cubby/labels"
)

// predictionsFile is where an evaluation keeps its answers, so that it can go on
// after an interruption.
type predictionsFile struct {
	*journal.File
	writer *eval.PredictionsWriter
	// answered are the answers to the first rows that it held already.
	answered []eval.Answer
}

// openPredictions makes the file, or opens one of the same evaluation.
func openPredictions(name string, set *labels.Set, rows []eval.Row, want eval.PredictionsHeader) (*predictionsFile, error) {
	p, held := &predictionsFile{}, false
	f, err := journal.Open(name, 0o644, func(r io.Reader) (err error) {
		held = true
		p.answered, err = answeredBefore(r, set, rows, want)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.File, p.writer = f, eval.ContinuePredictions(f, set)
	if held {
		return p, nil
	}
	if p.writer, err = eval.NewPredictionsWriter(f, set, want); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return p, nil
}

// answeredBefore reads the answers to the first rows, which must be those of the same
// evaluation.
func answeredBefore(r io.Reader, set *labels.Set, rows []eval.Row, want eval.PredictionsHeader) ([]eval.Answer, error) {
	old, err := eval.ReadPredictions(r)
	if err != nil {
		return nil, fmt.Errorf("%w; name another file", err)
	}
	want.Format, want.Labels = old.Header.Format, set.Names()
	if !reflect.DeepEqual(old.Header, want) || len(old.Answers) > len(rows) || !slices.EqualFunc(old.Truth, rows[:len(old.Truth)], func(t string, r eval.Row) bool { return t == r.Answer }) {
		return nil, fmt.Errorf("it holds the answers of %s (%s, %s) to the rows %s: name another file, or remove it", old.Header.Model, old.Header.Artifact, old.Header.Engine, old.Header.Dataset)
	}
	return old.Answers, nil
}

// save makes a batch durable.
func (p *predictionsFile) save(rows []eval.Row, answers []eval.Answer) error {
	return p.writer.Write(rows, answers)
}

// readPredictions reads a file that save has written.
func readPredictions(name string) (*eval.Predictions, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	p, err := eval.ReadPredictions(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}
