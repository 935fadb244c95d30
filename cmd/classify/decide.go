package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/internal/rows"
	"cubby/labels"
	"cubby/models"
)

func (p *program) dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "tell, and leave the model as it is", Local: true, Destination: &p.dryRun}
}

func (p *program) policyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.FloatFlag{Name: "max-error", Usage: "the largest `SHARE` of wrong answers among those that nobody looks at, such as 0.01", Local: true, Destination: &p.maxError},
		&cli.FloatFlag{Name: "confidence", Usage: "how sure that must be: a `PROBABILITY`", Value: 0.95, Local: true, Destination: &p.confidence},
		p.dryRunFlag(),
	}
}

// calibrate fits a calibration on the rows of -data and keeps it with the model.
func (p *program) calibrate(ctx context.Context, args []string) error {
	if err := onlyFlags("calibrate", args); err != nil {
		return err
	}
	p.local.Raw = true
	a, err := p.answerForModel(ctx, "calibrate")
	if err != nil {
		return err
	}
	f, err := eval.FitCalibration(a.set, a.rows, a.answers)
	if err != nil {
		return fmt.Errorf("%s: %w", p.data, err)
	}
	f.Dataset = eval.DatasetDigest(a.rows)
	done := outcomeOf{Fit: f}
	if f.Improves && !p.dryRun {
		done.Artifact, err = p.amend(ctx, a, func(m *models.Manifest) {
			c := f.Calibration
			c.On, c.Rows = m.Scored().String(), f.Rows
			done.DroppedPolicy = m.Policy != nil
			m.Calibration, m.Policy = &c, nil
		})
		if err != nil {
			return err
		}
	}
	return p.tell(done, fitText)
}

// policy sets a threshold by the rows of -data and keeps it with the model.
func (p *program) policy(ctx context.Context, args []string) error {
	if err := onlyFlags("policy", args); err != nil {
		return err
	}
	if !(p.maxError > 0 && p.maxError < 1) || !(p.confidence > 0 && p.confidence < 1) {
		return usagef("-max-error %g -confidence %g: both must lie above 0 and below 1; -max-error 0.01 lets one error in a hundred pass", p.maxError, p.confidence)
	}
	a, err := p.answerForModel(ctx, "policy")
	if err != nil {
		return err
	}
	f, err := eval.FitPolicy(a.set, a.rows, a.answers, p.maxError, p.confidence)
	if err != nil {
		return fmt.Errorf("%s: %w", p.data, err)
	}
	done := outcomeOf{Policy: f}
	if !p.dryRun {
		done.Artifact, err = p.amend(ctx, a, func(m *models.Manifest) {
			policy := f.Policy
			policy.On = m.Scored().String()
			m.Policy = &policy
		})
		if err != nil {
			return err
		}
	}
	return p.tell(done, policyText)
}

// answeredRows are rows with a model's answers.
type answeredRows struct {
	model, artifact, scoring, engine string

	set     *labels.Set
	rows    []eval.Row
	answers []eval.Answer
}

// answerForModel lets a model of the store answer the rows of -data.
func (p *program) answerForModel(ctx context.Context, command string) (a answeredRows, err error) {
	if p.server != "" {
		return a, usagef("%s is about a model in the store: -server is of no use", command)
	}
	if p.scoring != "" {
		return a, usagef("%s goes by the model's own scoring: -scoring is of no use", command)
	}
	list, err := p.allRows(rows.Labeled)
	if err != nil {
		return a, err
	}
	t, err := p.open(ctx)
	if err != nil {
		return a, err
	}
	defer closing(t, &err)
	f := t.Facts()
	a = answeredRows{model: f.Model, artifact: f.Artifact, scoring: f.Scoring, engine: f.Engine.Setup(), set: f.Labels, rows: evalRows(list)}
	if _, err := eval.Truth(a.set, a.rows); err != nil {
		return a, fmt.Errorf("%s: %w", p.data, err)
	}
	p.warnTrainedOn(a.rows)
	if kept := eval.Distinct(a.rows); command != "gate" && len(kept) < len(a.rows) {
		fmt.Fprintf(p.stderr, "%d of %d rows are copies of others and are not counted\n", len(a.rows)-len(kept), len(a.rows))
		distinct := make([]eval.Row, len(kept))
		for i, at := range kept {
			distinct[i] = a.rows[at]
		}
		a.rows = distinct
	}
	a.answers, err = eval.Answers(ctx, t, a.set, a.rows, eval.Options{Progress: p.progress()})
	if err != nil {
		return a, err
	}
	for _, x := range a.answers {
		if x.LabelOnly {
			return a, errors.New("the engine tells no probabilities: choose another one with -engine")
		}
	}
	return a, nil
}

// amend keeps a decision with the model, as a new artefact of its name.
func (p *program) amend(ctx context.Context, a answeredRows, change func(*models.Manifest)) (string, error) {
	store, err := p.local.Store()
	if err != nil {
		return "", err
	}
	d, err := store.Amend(ctx, a.model, a.artifact, change)
	if err != nil {
		return "", err
	}
	return d.String(), nil
}

// fitText renders a calibration for reading.
func fitText(done outcomeOf) string {
	f := done.Fit
	var t table
	t.add("rows", fmt.Sprintf("%d answered, %d of them wrong", f.Rows, f.Errors))
	t.add("temperature", fmt.Sprintf("%.3f  (%s)", f.Temperature, interval(f.Interval)))
	held := func(name string, h eval.Held, against string) {
		line := fmt.Sprintf("log loss %.4f, ECE %.4f, accuracy %.4f", h.LogLoss, h.ECE, h.Accuracy)
		if against != "" {
			line += fmt.Sprintf("; saves %.4f a row against %s (%s)", h.Gain.Value, against, interval(h.Gain.Interval))
		}
		t.add(name, line)
	}
	held("before", f.Before, "")
	held("temperature", f.AfterTemperature, "none")
	if f.AfterVector != nil {
		held("vector", *f.AfterVector, "the temperature")
	}
	chosen := "the temperature"
	if len(f.Scale) > 0 {
		chosen = "vector scaling"
	}
	text := t.String() + "\nFigures are of rows that the fit was not made on. "
	switch {
	case !f.Improves:
		text += "No gain beyond chance is shown: the model stays as it is.\n"
	case done.Artifact == "":
		text += fmt.Sprintf("Chosen: %s. The model stays as it is.\n", chosen)
	default:
		text += fmt.Sprintf("Chosen: %s. The model is now %s\n", chosen, done.Artifact)
	}
	if done.DroppedPolicy {
		text += "The review threshold was set for other probabilities and is gone: set it anew with classify policy.\n"
	}
	return text
}

// policyText renders a policy for reading.
func policyText(done outcomeOf) string {
	f := done.Policy
	var t table
	t.add("threshold", fmt.Sprintf("%.6f", f.Threshold))
	t.add("no review", fmt.Sprintf("%d of %d rows: %.4f  (%s)", f.Answered, f.Rows, f.Coverage, interval(f.CoverageInterval)))
	t.add("errors", fmt.Sprintf("%d of them: %.4f; for this threshold alone at most %.4f", f.Errors, f.Risk, f.RiskBound))
	text := t.String() + fmt.Sprintf("\nWith a confidence of %g, of answers at or above the threshold at most a share of %g is wrong, if texts come as these rows did.\n", f.Confidence, f.MaxError)
	if done.Artifact == "" {
		return text + "The model stays as it is.\n"
	}
	return text + "The model is now " + done.Artifact + "\n"
}

// outcomeOf is what calibrate and policy tell.
type outcomeOf struct {
	Fit           *eval.Fit       `json:"calibration,omitempty"`
	Policy        *eval.PolicyFit `json:"policy,omitempty"`
	Artifact      string          `json:"artifact,omitempty"` // empty where the model stays as it is
	DroppedPolicy bool            `json:"dropped_policy,omitempty"`
}

func (p *program) tell(done outcomeOf, text func(outcomeOf) string) error {
	if p.json {
		return writeJSON(p.stdout, done)
	}
	_, err := io.WriteString(p.stdout, text(done))
	return err
}
