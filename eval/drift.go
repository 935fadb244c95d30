package eval

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// ConfidenceEdges cut confidences into the bins that drift is measured over: fine where
// those of a trained model lie.
var ConfidenceEdges = []float64{0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99}

// ConfidenceBin is the bin of a confidence, from 0 to len(ConfidenceEdges).
func ConfidenceBin(p float64) int {
	for i, edge := range ConfidenceEdges {
		if p < edge {
			return i
		}
	}
	return len(ConfidenceEdges)
}

// PSI is the population stability index of counts against reference counts of the same
// bins: the sum of (q−p)·ln(q/p) over their shares, half a row being added to each count.
// By custom, below 0.1 nothing has changed, and above 0.25 much has; but few rows make as
// much by chance: see PSINoise. It is 0 where one of them is empty.
func PSI(reference, current []int) float64 {
	total := func(counts []int) float64 {
		sum := 0.0
		for _, n := range counts {
			sum += float64(n) + 0.5
		}
		return sum
	}
	if len(reference) != len(current) || total(reference) == 0.5*float64(len(reference)) || total(current) == 0.5*float64(len(current)) {
		return 0
	}
	r, c, psi := total(reference), total(current), 0.0
	for i := range reference {
		p, q := (float64(reference[i])+0.5)/r, (float64(current[i])+0.5)/c
		psi += (q - p) * math.Log(q/p)
	}
	return psi
}

// PSINoise is what PSI stays below in about 95 of 100 cases where both counts are drawn
// alike: n rows and m make PSI·n·m/(n+m) about chi-squared, with a degree of freedom less
// than there are bins (Yurdakul and Naranjo, Statistical properties of the population
// stability index, 2020). Where bins have few rows it stays below more often. It is 0
// where PSI has nothing to tell.
func PSINoise(reference, current []int) float64 {
	n, m := 0.0, 0.0
	for _, c := range reference {
		n += float64(c)
	}
	for _, c := range current {
		m += float64(c)
	}
	if len(reference) != len(current) || len(reference) < 2 || n == 0 || m == 0 {
		return 0
	}
	return distuv.ChiSquared{K: float64(len(reference) - 1)}.Quantile(0.95) * (1/n + 1/m)
}
