package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/models"
)

func (p *program) gateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "accept", Usage: "accept these answers: later ones are held against them", Local: true, Destination: &p.accept},
	}
}

// lossLevel is the largest p-value of a loss that is taken for one.
const lossLevel = 0.05

// errGate ends a run whose output says what was lost.
var errGate = errors.New("the gate is not passed")

// gateReport is what gate tells.
type gateReport struct {
	models.Gate
	Accepted  bool  `json:"accepted"` // later answers are held against these
	LostLines []int `json:"lost_lines"`
}

// gate answers the test set and holds the answers against those that were accepted.
func (p *program) gate(ctx context.Context, args []string) error {
	if err := onlyFlags("gate", args); err != nil {
		return err
	}
	a, err := p.answerForModel(ctx, "gate")
	if err != nil {
		return err
	}
	store, err := p.local.Store()
	if err != nil {
		return err
	}
	if _, err := store.Pointed(a.model, a.artifact); err != nil {
		return err
	}
	r, err := p.judge(a, store.BaselinePath(a.model))
	if err != nil {
		return err
	}
	if p.accept {
		if err := a.keep(store); err != nil {
			return err
		}
		r.Accepted, r.Passed = true, true
	}
	if err := store.SaveGate(r.Gate); err != nil {
		return err
	}
	return p.tellGate(r)
}

// judge compares with the accepted answers. Without any, only accepting passes.
func (p *program) judge(a answeredRows, file string) (*gateReport, error) {
	truth, err := eval.Truth(a.set, a.rows)
	if err != nil {
		return nil, err
	}
	r := &gateReport{LostLines: []int{}, Gate: models.Gate{
		Artifact: a.artifact, Engine: a.engine, Dataset: eval.DatasetDigest(a.rows), Rows: len(a.rows), Accuracy: float64(eval.Correct(truth, a.answers)) / float64(len(a.rows)), Baseline: a.artifact, P: 1, Passed: true,
	}}
	accepted, err := readPredictions(file)
	if errors.Is(err, fs.ErrNotExist) {
		if !p.accept {
			return nil, fmt.Errorf("no answers of %s have been accepted yet: look at classify eval, then accept them with -accept", a.model)
		}
		return r, nil
	}
	if err == nil {
		err = accepted.Whole(a.rows)
	}
	if err != nil && p.accept {
		return r, nil // other rows, or other labels: a new beginning
	}
	if err != nil {
		return nil, fmt.Errorf("the accepted answers: %w; give the rows that they are answers to, or accept anew with -accept", err)
	}
	before, err := eval.Aligned(a.set, accepted.Set, accepted.Answers)
	if err != nil {
		return nil, fmt.Errorf("the accepted answers are of other labels: %w; accept anew with -accept", err)
	}
	c := eval.NewContest(a.set.Len(), truth, before, a.answers)
	r.Baseline, r.Lost, r.Won, r.P = accepted.Header.Artifact, c.OnlyA, c.OnlyB, c.OneSided()
	r.Passed = r.P > lossLevel
	for _, i := range c.RowsA {
		r.LostLines = append(r.LostLines, a.rows[i].Line)
	}
	return r, nil
}

// keep makes these the accepted answers, in one step.
func (a answeredRows) keep(store *models.Store) error {
	var b bytes.Buffer
	w, err := eval.NewPredictionsWriter(&b, a.set, eval.PredictionsHeader{
		Model: a.model, Artifact: a.artifact, Engine: a.engine, Scoring: a.scoring, Dataset: eval.DatasetDigest(a.rows), Rows: len(a.rows),
	})
	if err != nil {
		return err
	}
	if err := w.Write(a.rows, a.answers); err != nil {
		return err
	}
	return store.SaveBaseline(a.model, b.Bytes())
}

func (p *program) tellGate(r *gateReport) error {
	err := error(nil)
	if p.json {
		err = writeJSON(p.stdout, r)
	} else {
		_, err = io.WriteString(p.stdout, r.text())
	}
	if err == nil && !r.Passed {
		err = errGate
	}
	return err
}

func (r *gateReport) text() string {
	var t table
	t.add("artefact", r.Artifact)
	t.add("engine", r.Engine)
	t.add("accuracy", fmt.Sprintf("%.4f on %d rows", r.Accuracy, r.Rows))
	if r.Baseline != r.Artifact {
		t.add("accepted", r.Baseline)
	}
	t.add("changes", fmt.Sprintf("%d rows lost, %d won; as much by chance with p = %.4f", r.Lost, r.Won, r.P))
	s := t.String()
	for i, line := range r.LostLines[:min(len(r.LostLines), maxListed)] {
		if i == 0 {
			s += "lost lines: "
		} else {
			s += ", "
		}
		s += fmt.Sprint(line)
	}
	if len(r.LostLines) > 0 {
		s += "\n" + more(len(r.LostLines))
	}
	switch {
	case r.Accepted:
		s += "accepted: later answers are held against these\n"
	case r.Passed:
		s += "passed: no loss beyond chance is shown\n"
	default:
		s += "failed: this loss is beyond chance\n"
	}
	return s
}
