package eval

import (
	"cmp"
	"slices"
)

// outcome is what became of one row.
type outcome struct {
	truth      int
	best       int     // the predicted label; -1 without an answer
	confidence float64 // its probability
}

func (o outcome) answered() bool { return o.best >= 0 }
func (o outcome) right() bool    { return o.best == o.truth }

func outcomes(truth []int, answers []Answer) []outcome {
	list := make([]outcome, len(answers))
	for i, a := range answers {
		list[i] = outcome{truth: truth[i], best: -1}
		if a.Err == nil {
			list[i].best, list[i].confidence = a.Distribution.Best()
		}
	}
	return list
}

// Correct counts the answers whose best label is the true one, by its index.
func Correct(truth []int, answers []Answer) int {
	n := 0
	for _, o := range outcomes(truth, answers) {
		if o.right() {
			n++
		}
	}
	return n
}

// byConfidence sorts the surest answers first and the rows without one last.
func byConfidence(list []outcome) []outcome {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b outcome) int {
		if a.answered() != b.answered() {
			if a.answered() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.confidence, a.confidence)
	})
	return sorted
}

// tied reports whether nothing tells which of two neighbours comes first.
func tied(a, b outcome) bool {
	return a.answered() == b.answered() && a.confidence == b.confidence
}
