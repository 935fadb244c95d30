package eval

import (
	"context"

	"cubby/labels"
)

// Answers classifies rows, whose labels do not matter, and holds the classifier
// to its contract.
func Answers(ctx context.Context, c Classifier, set *labels.Set, rows []Row, opts Options) ([]Answer, error) {
	answers, _, err := classifyAll(ctx, c, set, rows, opts)
	return answers, err
}

// Agreement compares two lists of answers to the same rows.
type Agreement struct {
	Rows     int `json:"rows"`
	Compared int `json:"compared"` // rows that both answered
	Same     int `json:"same"`     // of these, with the same best label
	// Mean and Max are of the total variation distance: half the sum of the
	// differences between the probabilities.
	Mean float64 `json:"mean_tv"`
	Max  float64 `json:"max_tv"`
	// Differ lists the rows, from 0, whose best labels differ or that only one
	// answered.
	Differ []int `json:"differ"`
}

// Agree compares a with b, row by row.
func Agree(a, b []Answer) Agreement {
	out := Agreement{Rows: len(a), Differ: []int{}}
	for i := range a {
		if a[i].Err != nil || b[i].Err != nil {
			if (a[i].Err == nil) != (b[i].Err == nil) {
				out.Differ = append(out.Differ, i)
			}
			continue
		}
		out.Compared++
		d := a[i].Distribution.Distance(b[i].Distribution)
		out.Mean += d
		out.Max = max(out.Max, d)
		x, _ := a[i].Distribution.Best()
		y, _ := b[i].Distribution.Best()
		if x == y {
			out.Same++
		} else {
			out.Differ = append(out.Differ, i)
		}
	}
	if out.Compared > 0 {
		out.Mean /= float64(out.Compared)
	}
	return out
}
