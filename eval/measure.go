package eval

import (
	"math"
	"slices"

	"cubby/labels"
)

// MinProbability bounds the log loss of one row: a true label that was given
// less counts as having been given this much, so that one sure mistake costs
// 34.5 nats and not infinity.
const MinProbability = 1e-15

// maxTop is the largest k of the top-k accuracies.
const maxTop = 5

// measure turns answers into a report; truth holds the true label's index of
// each row.
func measure(set *labels.Set, rows []Row, truth []int, answers []Answer) *Report {
	r := &Report{
		Rows: len(rows), Labels: set.Names(),
		Confusion: make([][]int, set.Len()), PerClass: make(PerClass, set.Len()), Failures: []Failure{}, Mistakes: []Mistake{},
	}
	for i := range r.Confusion {
		r.Confusion[i] = make([]int, set.Len())
		r.PerClass[i].Label = set.Name(i)
	}
	list := outcomes(truth, answers)
	all := newTally(set.Len())
	for i, a := range answers {
		all.add(list[i], 1)
		if a.Err != nil {
			r.fail(rows[i], truth[i], a.Err)
			continue
		}
		r.Confusion[truth[i]][list[i].best]++
		if a.Review {
			r.Review++
		}
		if a.Truncated > 0 {
			r.Truncated++
		}
		if a.LabelOnly {
			r.LabelOnly++
		}
	}
	r.count(all)
	r.f1Intervals(list)
	if r.LabelOnly == 0 {
		r.probabilities(list, truth, answers)
		r.Mistakes = mistakes(set, rows, truth, answers)
	}
	return r
}

func (r *Report) fail(row Row, truth int, err error) {
	r.Errors++
	r.PerClass[truth].Errors++
	r.Failures = append(r.Failures, Failure{Line: row.Line, Answer: row.Answer, Error: err.Error()})
}

// count derives the figures that follow from counts of rows.
func (r *Report) count(t tally) {
	for i := range r.PerClass {
		c := &r.PerClass[i]
		c.Support, c.Predicted = t.support[i], t.predicted[i]
		r.Correct += t.hits[i]
		c.Precision, c.Recall, c.F1 = ratio(t.hits[i], c.Predicted), ratio(t.hits[i], c.Support), t.f1(i)
		c.PrecisionInterval, c.RecallInterval = wilson(t.hits[i], c.Predicted), wilson(t.hits[i], c.Support)
	}
	r.MacroF1, r.WeightedF1 = t.macro(), t.weighted()
	r.Accuracy, r.AccuracyInterval = ratio(r.Correct, r.Rows), wilson(r.Correct, r.Rows)
	r.MCC = r.mcc()
}

// mcc is R_K of Gorodkin (2004), and 0 where all truths or all predictions are one.
func (r *Report) mcc() float64 {
	rows, hits := float64(r.Rows), float64(r.Correct)
	both, predicted, support := 0.0, float64(r.Errors)*float64(r.Errors), 0.0
	for _, c := range r.PerClass {
		p, s := float64(c.Predicted), float64(c.Support)
		both, predicted, support = both+p*s, predicted+p*p, support+s*s
	}
	spread := math.Sqrt((rows*rows - predicted) * (rows*rows - support))
	if spread == 0 {
		return 0
	}
	return (hits*rows - both) / spread
}

// probabilities sets the figures that judge more than the best label.
func (r *Report) probabilities(list []outcome, truth []int, answers []Answer) {
	ranks := make([]int, min(maxTop, len(r.Labels)))
	r.Confidences = make([]int, len(ConfidenceEdges)+1)
	var loss, confidence float64
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		r.Confidences[ConfidenceBin(list[i].confidence)]++
		confidence += list[i].confidence
		loss -= math.Log(max(a.Distribution[truth[i]], MinProbability))
		if rank := slices.Index(a.Distribution.Top(len(ranks)), truth[i]); rank >= 0 {
			ranks[rank]++
		}
	}
	r.TopK = make([]float64, len(ranks))
	within := 0
	for k, n := range ranks {
		within += n
		r.TopK[k] = ratio(within, r.Rows)
	}
	if answered := float64(r.Rows - r.Errors); answered > 0 {
		loss, confidence = loss/answered, confidence/answered
		r.LogLoss, r.MeanConfidence = &loss, &confidence
	}
	r.Calibration = calibration(list, truth, answers)
	curve := coverage(list)
	r.Coverage = &curve
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func wilson(successes, trials int) [2]float64 {
	low, high := Wilson(successes, trials)
	return [2]float64{low, high}
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
