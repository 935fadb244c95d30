package eval

import (
	"math"

	"cubby/labels"
)

// MinProbability bounds the log loss of one row: a true label that was given
// less counts as having been given this much, so that one sure mistake costs
// 34.5 nats and not infinity.
const MinProbability = 1e-15

// measure turns answers into a report; truth holds the true label's index of
// each row.
func measure(set *labels.Set, rows []Row, truth []int, answers []Answer) *Report {
	r := &Report{
		Rows: len(rows), Labels: set.Names(),
		Confusion: make([][]int, set.Len()), PerClass: make(PerClass, set.Len()), Failures: []Failure{},
	}
	for i := range r.Confusion {
		r.Confusion[i] = make([]int, set.Len())
		r.PerClass[i].Label = set.Name(i)
	}
	var loss, confidence float64
	for i, a := range answers {
		r.PerClass[truth[i]].Support++
		if a.Err != nil {
			r.fail(rows[i], truth[i], a.Err)
			continue
		}
		best, p := a.Distribution.Best()
		r.Confusion[truth[i]][best]++
		confidence += p
		loss -= math.Log(max(a.Distribution[truth[i]], MinProbability))
		if a.Review {
			r.Review++
		}
		if a.Truncated > 0 {
			r.Truncated++
		}
	}
	if answered := float64(r.Rows - r.Errors); answered > 0 {
		loss, confidence = loss/answered, confidence/answered
		r.LogLoss, r.MeanConfidence = &loss, &confidence
	}
	r.summarize()
	return r
}

func (r *Report) fail(row Row, truth int, err error) {
	r.Errors++
	r.PerClass[truth].Errors++
	r.Failures = append(r.Failures, Failure{Line: row.Line, Answer: row.Answer, Error: err.Error()})
}

// summarize derives the figures that follow from the confusion matrix and the
// supports.
func (r *Report) summarize() {
	sum, counted := 0.0, 0
	for i := range r.PerClass {
		c := &r.PerClass[i]
		hits := r.Confusion[i][i]
		for _, row := range r.Confusion {
			c.Predicted += row[i]
		}
		r.Correct += hits
		c.Precision = ratio(hits, c.Predicted)
		c.Recall = ratio(hits, c.Support)
		c.F1 = ratio(2*hits, c.Predicted+c.Support)
		if c.Support+c.Predicted > 0 {
			sum += c.F1
			counted++
		}
	}
	if counted > 0 {
		r.MacroF1 = sum / float64(counted)
	}
	r.Accuracy = ratio(r.Correct, r.Rows)
	low, high := Wilson(r.Correct, r.Rows)
	r.AccuracyInterval = [2]float64{low, high}
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// z95 is the 97.5 % quantile of the normal distribution.
const z95 = 1.959963984540054

// Wilson returns the 95 % score interval of a proportion (E. B. Wilson, 1927,
// without continuity correction): unlike the textbook one it stays inside
// [0, 1] and means something at 0, at n, and for small n. For no trials it is
// (0, 1).
func Wilson(successes, trials int) (low, high float64) {
	if trials <= 0 {
		return 0, 1
	}
	n := float64(trials)
	p := float64(successes) / n
	z2 := z95 * z95
	center := (p + z2/(2*n)) / (1 + z2/n)
	half := z95 * math.Sqrt(p*(1-p)/n+z2/(4*n*n)) / (1 + z2/n)
	low, high = max(center-half, 0), min(center+half, 1)
	// At the ends the bound is exact; rounding would leave 1e-17 there.
	if successes == 0 {
		low = 0
	}
	if successes == trials {
		high = 1
	}
	return low, high
}
