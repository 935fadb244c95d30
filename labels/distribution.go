package labels

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// sumTolerance is how far from 1 the probabilities of a distribution may sum.
const sumTolerance = 1e-9

// Distribution is one probability for each label, in the order of its Set.
type Distribution []float64

// Softmax turns natural-log scores, of any offset, into a distribution. A
// score of -Inf is a probability of zero; at least one must be finite.
func Softmax(scores []float64) (Distribution, error) {
	if len(scores) == 0 {
		return nil, errors.New("softmax of no scores")
	}
	top := math.Inf(-1)
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 1) {
			return nil, fmt.Errorf("softmax: score %d is %v", i, s)
		}
		top = max(top, s)
	}
	if math.IsInf(top, -1) {
		return nil, errors.New("softmax: every score is -Inf")
	}
	return softmax(scores, top, 1), nil
}

// softmax is exp((score-top)/temperature), normalised, where top is the
// largest score and finite: the sum is at least 1, so nothing overflows.
func softmax(scores []float64, top, temperature float64) Distribution {
	d := make(Distribution, len(scores))
	sum := 0.0
	for i, s := range scores {
		d[i] = math.Exp((s - top) / temperature)
		sum += d[i]
	}
	for i := range d {
		d[i] /= sum
	}
	return d
}

// Best returns the most probable label and its probability; the lowest index
// among equals, and (-1, 0) for an empty distribution.
func (d Distribution) Best() (int, float64) {
	best, p := -1, 0.0
	for i, x := range d {
		if best < 0 || x > p {
			best, p = i, x
		}
	}
	return best, p
}

// Top returns the k most probable labels, best first, equals in index order;
// all of them where k is larger than their number.
func (d Distribution) Top(k int) []int {
	order := make([]int, len(d))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(d[j], d[i]) })
	return order[:min(max(k, 0), len(order))]
}

// Entropy is the uncertainty in nats: 0 when one label is sure, log of their
// number when all are equal.
func (d Distribution) Entropy() float64 {
	h := 0.0
	for _, p := range d {
		if p > 0 {
			h -= p * math.Log(p)
		}
	}
	return max(h, 0)
}

// Distance is the total variation distance: half the sum of the differences, in
// [0, 1]. It is NaN where the lengths differ.
func (d Distribution) Distance(q []float64) float64 {
	if len(d) != len(q) {
		return math.NaN()
	}
	sum := 0.0
	for i := range d {
		sum += math.Abs(d[i] - q[i])
	}
	return sum / 2
}

// Check reports what keeps d from being a distribution: a value outside
// [0, 1], or a sum away from 1.
func (d Distribution) Check() error {
	sum := 0.0
	for i, p := range d {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("probability %d is %v, outside [0, 1]", i, p)
		}
		sum += p
	}
	if math.Abs(sum-1) > sumTolerance {
		return fmt.Errorf("probabilities sum to %v, not to 1", sum)
	}
	return nil
}
