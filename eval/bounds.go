package eval

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// ExactUpper is the one-sided upper bound, at 95 %, of the share that so many
// successes in so many trials are of (Clopper and Pearson, 1934): under a larger share
// so few would be less probable than 5 %. For no trials it is 1.
func ExactUpper(successes, trials int) float64 {
	if successes >= trials {
		return 1
	}
	return distuv.Beta{Alpha: float64(successes + 1), Beta: float64(trials - successes)}.Quantile(0.95)
}

// DistanceUpper is about the one-sided upper bound, at 95 %, of the mean total
// variation distance between the answers to all texts, from those to some: the mean
// and 1.645 standard errors. Rows that one did not answer are left out; with fewer
// than two it is 1.
func DistanceUpper(a, b []Answer) float64 {
	var n, sum, squares float64
	for i := range a {
		if a[i].Err == nil && b[i].Err == nil {
			d := a[i].Distribution.Distance(b[i].Distribution)
			n, sum, squares = n+1, sum+d, squares+d*d
		}
	}
	if n < 2 {
		return 1
	}
	variance := max(0, squares-sum*sum/n) / (n - 1)
	return min(1, sum/n+distuv.UnitNormal.Quantile(0.95)*math.Sqrt(variance/n))
}
