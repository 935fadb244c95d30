package eval

import (
	"errors"
	"fmt"

	"cubby/labels"
)

// Contestant is a classifier with its answers to the rows of a comparison.
type Contestant struct {
	Name    string   `json:"name"`
	Source  string   `json:"source"` // what answered, in words
	Report  *Report  `json:"report"`
	Answers []Answer `json:"-"` // in the order of the comparison's labels
}

// Pairing is a contest of two contestants of a comparison.
type Pairing struct {
	A string `json:"a"`
	B string `json:"b"`
	Contest
	// HolmP is the exact p-value, corrected for the number of pairings (Holm, 1979).
	HolmP   float64 `json:"holm_p"`
	Verdict string  `json:"verdict"`
}

// Comparison is the outcome of several classifiers on the same rows.
type Comparison struct {
	Dataset     string       `json:"dataset"`
	Rows        int          `json:"rows"`
	Labels      []string     `json:"labels"`
	Contestants []Contestant `json:"contestants"`
	Pairings    []Pairing    `json:"pairings"`
	Warnings    []string     `json:"warnings"`
}

// NewComparison pairs every contestant with every other, in their order.
func NewComparison(set *labels.Set, rows []Row, list []Contestant) (*Comparison, error) {
	truth, err := Truth(set, rows)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Dataset: DatasetDigest(rows), Rows: len(rows), Labels: set.Names(), Contestants: list, Pairings: []Pairing{}, Warnings: []string{}}
	var p []float64
	for j := range list {
		for i := range j {
			pair := Pairing{A: list[i].Name, B: list[j].Name, Contest: NewContest(set.Len(), truth, list[i].Answers, list[j].Answers)}
			c.Pairings, p = append(c.Pairings, pair), append(p, pair.Exact)
		}
	}
	for i, corrected := range Holm(p) {
		pair := &c.Pairings[i]
		pair.HolmP, pair.Verdict = corrected, pair.Contest.Verdict(pair.A, pair.B, corrected)
	}
	return c, nil
}

// Aligned puts answers of one set into the order of another with the same labels.
func Aligned(to, from *labels.Set, answers []Answer) ([]Answer, error) {
	if to.Len() != from.Len() {
		return nil, fmt.Errorf("it has %d labels, the others have %d", from.Len(), to.Len())
	}
	place := make([]int, from.Len())
	for i := range place {
		at, ok := to.Index(from.Name(i))
		if !ok {
			return nil, fmt.Errorf("its label %q is none of the others'", from.Name(i))
		}
		place[i] = at
	}
	out := make([]Answer, len(answers))
	for i, a := range answers {
		out[i] = a
		if a.Err != nil {
			continue
		}
		out[i].Distribution = make(labels.Distribution, to.Len())
		for k, p := range a.Distribution {
			out[i].Distribution[place[k]] = p
		}
	}
	return out, nil
}

// Whole refuses predictions that are not those of all of these rows.
func (p *Predictions) Whole(rows []Row) error {
	if p.Header.Dataset != DatasetDigest(rows) {
		return errors.New("its predictions are of other rows")
	}
	if len(p.Answers) != len(rows) {
		return fmt.Errorf("it has predictions for %d of %d rows: let the evaluation that wrote it end first", len(p.Answers), len(rows))
	}
	for i, r := range rows {
		if p.Lines[i] != r.Line || p.Truth[i] != r.Answer {
			return fmt.Errorf("its prediction %d is of line %d with the label %q, and the row of line %d has %q: the file was changed", i+1, p.Lines[i], p.Truth[i], r.Line, r.Answer)
		}
	}
	return nil
}

// Measure reports on answers that were given before.
func Measure(set *labels.Set, rows []Row, answers []Answer) (*Report, error) {
	truth, err := Truth(set, rows)
	if err != nil {
		return nil, err
	}
	return measure(set, rows, truth, answers), nil
}
