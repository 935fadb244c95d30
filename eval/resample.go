package eval

import (
	"math/rand/v2"
	"slices"
)

const (
	// maxResamples is how often the rows are drawn anew for an interval.
	maxResamples = 2000
	// minResamples bounds from below how few do for a large test set, whose
	// intervals are narrow; maxDraws is where it begins.
	minResamples = 200
	maxDraws     = 30_000_000
	// seed makes every run draw the same rows.
	seed = 20_250_219
)

func resamples(rows int) int {
	return max(minResamples, min(maxResamples, maxDraws/max(1, rows)))
}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// bootstrap draws as many rows as there are, with replacement (Efron, 1979), and
// shows how often each was drawn, again and again. The counts are good until use
// returns.
func bootstrap(rows int, use func(counts []int32)) { bootstrapTimes(resamples(rows), rows, use) }

func bootstrapTimes(times, rows int, use func(counts []int32)) {
	random, counts := newRandom(), make([]int32, rows)
	for range times {
		clear(counts)
		for range rows {
			counts[random.IntN(rows)]++
		}
		use(counts)
	}
}

// percentiles returns the interval that holds the middle 95 % of the values, which
// it sorts.
func percentiles(values []float64) [2]float64 {
	slices.Sort(values)
	return [2]float64{quantile(values, 0.025), quantile(values, 0.975)}
}

func percentile95(values []float64) float64 {
	slices.Sort(values)
	return quantile(values, 0.95)
}

// quantile interpolates linearly between the sorted values (definition 7 of Hyndman
// and Fan, 1996).
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-2)
	if i < 0 {
		return sorted[0]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
