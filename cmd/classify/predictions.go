package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"cubby/eval"
	"cubby/labels"
)

// predictionsFile is where an evaluation keeps its answers, so that it can go on
// after an interruption.
type predictionsFile struct {
	*os.File
	writer *eval.PredictionsWriter
	// answered are the answers to the first rows that it held already.
	answered []eval.Answer
}

// openPredictions makes the file, or opens one of the same evaluation.
func openPredictions(name string, set *labels.Set, rows []eval.Row, want eval.PredictionsHeader) (p *predictionsFile, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p = &predictionsFile{File: f}
	if info.Size() == 0 {
		p.writer, err = eval.NewPredictionsWriter(f, set, want)
		return p, err
	}
	old, err := eval.ReadPredictions(f)
	if err != nil {
		return nil, fmt.Errorf("%w; name another file", err)
	}
	want.Format, want.Labels = old.Header.Format, set.Names()
	if !reflect.DeepEqual(old.Header, want) || len(old.Answers) > len(rows) || !slices.EqualFunc(old.Truth, rows[:len(old.Truth)], func(t string, r eval.Row) bool { return t == r.Answer }) {
		return nil, fmt.Errorf("it holds the answers of %s (%s, %s) to the rows %s: name another file, or remove it", old.Header.Model, old.Header.Artifact, old.Header.Engine, old.Header.Dataset)
	}
	p.answered, p.writer = old.Answers, eval.ContinuePredictions(f, set)
	if err := f.Truncate(old.Size); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekEnd)
	return p, err
}

// save makes a batch durable.
func (p *predictionsFile) save(rows []eval.Row, answers []eval.Answer) error {
	return errors.Join(p.writer.Write(rows, answers), p.Sync())
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
