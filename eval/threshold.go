package eval

import (
	"fmt"

	"gonum.org/v1/gonum/stat/distuv"

	"cubby/labels"
)

// sequences is how many times a search for a threshold may begin: with the surest rows
// that suffice without a mistake among them, with one mistake, and so on.
const sequences = 4

// leastError is the smallest share that can be asked for: more rows than anyone has.
const leastError = 1e-6

// PolicyFit is a threshold with what is known of it.
type PolicyFit struct {
	labels.Policy
	Answered int `json:"answered"` // rows at or above the threshold
	Errors   int `json:"errors"`   // of them, wrong
	// CoverageInterval is Wilson's at 95 %, for rows like these.
	CoverageInterval [2]float64 `json:"coverage_interval"`
	Risk             float64    `json:"risk"` // share of errors among the answered
	// RiskBound is the upper end of Clopper and Pearson's interval for that one
	// threshold, with the policy's confidence.
	RiskBound float64 `json:"risk_bound"`
}

// FitPolicy finds the lowest threshold at which at most a share of maxError of the
// answers are wrong, with a given confidence, whatever the rows: a guarantee that holds
// for finite numbers, if the rows are drawn as those to come, one by one. Rows without an answer
// are never among the answered.
//
// It learns, then tests (Angelopoulos, Bates, Candès, Jordan and Lei, 2021): the surest m
// rows are tested for more and more m by the exact binomial tail until a test fails. A
// search that stops at an early mistake begins again with more rows, and all of them
// share the error probability equally. Of the surest m rows the last sets the threshold
// and the others are what is tested, so that these are independent draws above it, where
// no two rows have the same confidence.
func FitPolicy(set *labels.Set, rows []Row, answers []Answer, maxError, confidence float64) (*PolicyFit, error) {
	if !(maxError >= leastError && maxError < 1) || !(confidence > 0 && confidence <= 1-leastError) {
		return nil, fmt.Errorf("a largest error of %v with a confidence of %v: both must lie between 0 and 1, at least %g away", maxError, confidence, leastError)
	}
	truth, err := Truth(set, rows)
	if err != nil {
		return nil, err
	}
	sorted := byConfidence(outcomes(truth, answers))
	last := lastPassing(sorted, maxError, (1-confidence)/sequences)
	if last == 0 {
		return nil, fmt.Errorf("no threshold is shown to keep the errors below %g with a confidence of %g: %s", maxError, confidence, missing(sorted, maxError, confidence))
	}
	f := &PolicyFit{Answered: last}
	for _, o := range sorted[:last] {
		if !o.right() {
			f.Errors++
		}
	}
	f.Policy = labels.Policy{
		Threshold: sorted[last-1].confidence, MaxError: maxError, Confidence: confidence, Coverage: ratio(last, len(sorted)), Dataset: DatasetDigest(rows), Rows: len(rows),
	}
	f.CoverageInterval, f.Risk = wilson(last, len(sorted)), ratio(f.Errors, last)
	f.RiskBound = upperBound(f.Errors, last, confidence)
	return f, nil
}

// lastPassing returns the largest number of surest rows that passes, 0 for none.
func lastPassing(sorted []outcome, maxError, level float64) int {
	var ends, wrong []int // of runs of the same confidence: rows, and errors among them
	errors := 0
	for i, o := range sorted {
		if !o.answered() {
			break
		}
		if !o.right() {
			errors++
		}
		if i+1 == len(sorted) || !tied(o, sorted[i+1]) {
			ends, wrong = append(ends, i+1), append(wrong, errors)
		}
	}
	best := 0
	for k := range sequences {
		first := enough(k, maxError, level)
		for i, m := range ends {
			if m-1 < first {
				continue
			}
			if tail(wrong[i], m-1, maxError) > level {
				break
			}
			best = max(best, m)
		}
	}
	return best
}

// tail is the probability of as few errors or fewer, if each row were wrong with the
// largest probability.
func tail(errors, rows int, maxError float64) float64 {
	return distuv.Binomial{N: float64(rows), P: maxError}.CDF(float64(errors))
}

// enough is how many rows pass with that many errors.
func enough(errors int, maxError, level float64) int {
	low, high := errors, 1
	for tail(errors, high, maxError) > level {
		low, high = high, 2*high
	}
	for low+1 < high {
		if middle := (low + high) / 2; tail(errors, middle, maxError) > level {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// missing says why there is no threshold.
func missing(sorted []outcome, maxError, confidence float64) string {
	need := enough(0, maxError, (1-confidence)/sequences) + 1
	answered := 0
	for _, o := range sorted {
		if o.answered() {
			answered++
		}
	}
	if answered < need {
		return fmt.Sprintf("it takes %d answered rows even if none were wrong, and there are %d: give more rows, or allow more errors", need, answered)
	}
	wrong := 0
	for _, o := range sorted[:need] {
		if !o.right() {
			wrong++
		}
	}
	return fmt.Sprintf("of the surest %d answers %d are wrong: give more rows, calibrate, or allow more errors", need, wrong)
}

// upperBound is the one-sided bound of Clopper and Pearson (1934).
func upperBound(errors, rows int, confidence float64) float64 {
	if errors >= rows {
		return 1
	}
	return distuv.Beta{Alpha: float64(errors + 1), Beta: float64(rows - errors)}.Quantile(confidence)
}
