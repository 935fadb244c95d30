// Package rounding decides how far a model's weights may be rounded: it compares
// the answers to a labelled test set with those of the weights as they came.
//
// The rule. A type is taken that passes five tests:
//
//  1. Answers: it answers every row that the weights as they came answer.
//  2. Not shown to be worse: on the rows that only one of both has right, McNemar's
//     exact one-sided test does not reject at 5 %.
//  3. Shown not to be much worse: at 95 %, at most 5 % of all texts lose a right answer
//     (the upper bound of Clopper and Pearson, of the rows that do).
//  4. The same: its best label is the same on at least 98 % of the rows.
//  5. Close: the mean total variation distance of its probabilities is at most 0.02,
//     by its 95 % upper bound.
//
// The second alone would let few rows prove everything: of 96, a type must lose five
// and gain none to fail it. The third makes the burden of proof the type's: 59 rows
// without a loss meet it, and fewer never can, so with fewer nothing is decided. Yes
// and no tell little on some hundred rows all the same, and the fifth is what they tell
// much about: each row gives a number, and a label can only change where the distance
// is at least half the lead of the best one.
//
// Types are tried from the largest on, and one counts only if all larger ones passed:
// tests in a fixed order, of which the first failure ends the taking, keep the chance of
// taking one that loses more at 5 % however many there are (Maurer, Hothorn and Lehmacher, 1995).
package rounding

import (
	"encoding/json"
	"fmt"
	"io"

	"cubby/eval"
	"cubby/labels"
	"cubby/models/importer"
	"cubby/models/quantize"
)

// The bounds of the rule.
const (
	MaxWorse     = 0.05
	MaxLoss      = 0.05
	MinAgreement = 0.98
	MaxDistance  = 0.02
)

// MinRows is how many rows without a loss meet MaxLoss.
const MinRows = 59

// Report is what was decided from what. It is kept with the model.
type Report struct {
	Rows int  `json:"rows"`
	Rule Rule `json:"rule"`
	// Unseen is the loss that may be there although no row shows one: the upper bound
	// for none in so many rows.
	Unseen float64 `json:"unseen_loss"`
	Chosen string  `json:"chosen"` // a scheme, or the type of the weights as they came
	Tried  []Tried `json:"tried"`  // the weights as they came first
}

// Rule holds the bounds that a type must keep.
type Rule struct {
	MinRows      int     `json:"min_rows"`
	MaxWorse     float64 `json:"worse_p"`
	MaxLoss      float64 `json:"max_loss"`
	MinAgreement float64 `json:"min_agreement"`
	MaxDistance  float64 `json:"max_mean_tv"`
}

// Tried is one type.
type Tried struct {
	Type     string      `json:"type"`
	Bytes    int64       `json:"bytes"` // of the weights' file
	Accuracy float64     `json:"accuracy"`
	Compared *Comparison `json:"compared,omitempty"` // nil of the weights as they came
	Passed   bool        `json:"passed"`
	Why      string      `json:"why"`
}

// Comparison holds a type against the weights as they came.
type Comparison struct {
	eval.Agreement
	MeanUpper float64 `json:"mean_tv_upper"` // 95 % upper bound of the mean
	Lost      int     `json:"lost"`          // rows that only the weights as they came have right
	Gained    int     `json:"gained"`        // rows that only this type has right
	LossUpper float64 `json:"loss_upper"`    // 95 % upper bound of the share of texts that are lost
	Worse     float64 `json:"worse_p"`       // McNemar's exact test, one-sided
	McNemar   float64 `json:"mcnemar_p"`     // and two-sided
}

// Judge is an importer.Judge by the rule.
type Judge struct {
	report    Report
	set       *labels.Set
	truth     []int
	reference []eval.Answer
	failed    string // the largest type that did not pass
}

// Prepare checks that there are rows enough, and that their labels are the model's.
func (j *Judge) Prepare(set *labels.Set, rows []importer.Row) (err error) {
	list := make([]eval.Row, len(rows))
	for i, r := range rows {
		list[i] = eval.Row{Line: r.Line, Text: r.Text, Answer: r.Answer}
	}
	if j.truth, err = eval.Truth(set, list); err != nil {
		return fmt.Errorf("the test set: %w", err)
	}
	n := len(eval.Distinct(list)) // copies of a row tell nothing
	if n < MinRows {
		return fmt.Errorf("%d different rows are too few to choose a type by: even if none shows a loss, %.0f %% of all texts may lose their right answer (%d rows would tell that from 5 %%); name a larger test set with -test FILE, or a type", n, 100*eval.ExactUpper(0, n), MinRows)
	}
	j.set = set
	j.report = Report{Rows: len(rows), Rule: Rule{MinRows, MaxWorse, MaxLoss, MinAgreement, MaxDistance}, Unseen: eval.ExactUpper(0, n)}
	return nil
}

// Reference hears the answers that the others are held to.
func (j *Judge) Reference(storedAs string, bytes int64, answers []importer.Answer) error {
	j.reference = answersOf(answers)
	same := eval.Agree(j.reference, j.reference)
	if same.Compared == 0 {
		return fmt.Errorf("the model answers no row of the test set: of the first it says: %w", answers[0].Err)
	}
	j.report.Chosen = storedAs
	j.report.Tried = []Tried{{Type: storedAs, Bytes: bytes, Accuracy: j.accuracy(j.reference), Passed: true, Why: "as it came"}}
	return nil
}

// Accept holds a scheme to the rule.
func (j *Judge) Accept(scheme quantize.Scheme, bytes int64, list []importer.Answer) (bool, error) {
	answers := answersOf(list)
	c := j.compare(answers)
	t := Tried{Type: string(scheme), Bytes: bytes, Accuracy: j.accuracy(answers), Compared: &c}
	t.Passed, t.Why = j.verdict(c)
	accepted := t.Passed && j.failed == ""
	switch {
	case accepted:
		j.report.Chosen = t.Type
	case t.Passed:
		t.Why = fmt.Sprintf("passes, but the larger %s does not", j.failed)
	case j.failed == "":
		j.failed = t.Type
	}
	j.report.Tried = append(j.report.Tried, t)
	return accepted, nil
}

func (j *Judge) compare(answers []eval.Answer) Comparison {
	contest := eval.NewContest(j.set.Len(), j.truth, j.reference, answers)
	return Comparison{
		Agreement: eval.Agree(j.reference, answers), MeanUpper: eval.DistanceUpper(j.reference, answers),
		Lost: contest.OnlyA, Gained: contest.OnlyB, LossUpper: eval.ExactUpper(contest.OnlyA, len(j.truth)),
		Worse: contest.OneSided(), McNemar: contest.Exact,
	}
}

// accuracy counts a row without an answer as wrong.
func (j *Judge) accuracy(answers []eval.Answer) float64 {
	return float64(eval.Correct(j.truth, answers)) / float64(len(answers))
}

// verdict is the five tests in their order, and the first that fails.
func (j *Judge) verdict(c Comparison) (passed bool, why string) {
	same := float64(c.Same) / float64(c.Rows)
	switch {
	case c.Compared < answered(j.reference):
		return false, fmt.Sprintf("leaves %d rows without an answer", answered(j.reference)-c.Compared)
	case c.Worse <= MaxWorse:
		return false, fmt.Sprintf("worse: p = %.3f", c.Worse)
	case c.LossUpper > MaxLoss:
		return false, fmt.Sprintf("up to %.1f %% of texts may lose their right answer, more than %.0f %%", 100*c.LossUpper, 100*MaxLoss)
	case same < MinAgreement:
		return false, fmt.Sprintf("the same label on %.1f %%, less than %.0f %%", 100*same, 100*MinAgreement)
	case c.MeanUpper > MaxDistance:
		return false, fmt.Sprintf("probabilities move by up to %.4f, more than %g", c.MeanUpper, MaxDistance)
	}
	return true, "indistinguishable"
}

func answered(answers []eval.Answer) (n int) {
	for _, a := range answers {
		if a.Err == nil {
			n++
		}
	}
	return n
}

func answersOf(list []importer.Answer) []eval.Answer {
	out := make([]eval.Answer, len(list))
	for i, a := range list {
		out[i] = eval.Answer{Distribution: a.Distribution, Err: a.Err, Truncated: a.Truncated}
	}
	return out
}

// Report is the decision as JSON.
func (j *Judge) Report() ([]byte, error) { return json.MarshalIndent(j.report, "", "  ") }

// Decision is the report, nil where nothing was tried.
func (j *Judge) Decision() *Report {
	if len(j.report.Tried) == 0 {
		return nil
	}
	return &j.report
}

// Write prints the table of the decision, and nothing where there was none.
func (j *Judge) Write(w io.Writer) error {
	if r := j.Decision(); r != nil {
		return r.Write(w)
	}
	return nil
}
