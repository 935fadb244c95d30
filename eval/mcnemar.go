package eval

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// McNemar is the test of two classifiers on the same rows (McNemar, 1947): of the
// rows that only one gets right, is it each time as likely the one as the other?
type McNemar struct {
	OnlyA int     `json:"only_a"` // rows that only the first gets right
	OnlyB int     `json:"only_b"`
	Exact float64 `json:"exact_p"` // two-sided, from the binomial distribution
	// MidP is the two-sided mid-p-value, which errs less to the safe side (Fagerland,
	// Lydersen and Laake, 2013).
	MidP float64 `json:"mid_p"`
}

// NewMcNemar tests the counts of rows that only one gets right.
func NewMcNemar(onlyA, onlyB int) McNemar {
	m := McNemar{OnlyA: onlyA, OnlyB: onlyB, Exact: 1, MidP: 1}
	if onlyA == onlyB {
		if onlyA == 0 {
			return m
		}
		m.MidP = 1 - halfBinomial(onlyA+onlyB).Prob(float64(onlyA))/2
		return m
	}
	least := float64(min(onlyA, onlyB))
	d := halfBinomial(onlyA + onlyB)
	m.Exact = min(1, 2*d.CDF(least))
	m.MidP = m.Exact - d.Prob(least)
	return m
}

// OneSided is the exact probability of as few rows that only the second gets right,
// or fewer, if both were as good: small where the second is worse.
func (m McNemar) OneSided() float64 {
	return halfBinomial(m.OnlyA + m.OnlyB).CDF(float64(m.OnlyB))
}

func halfBinomial(n int) distuv.Binomial { return distuv.Binomial{N: float64(n), P: 0.5} }

// Holm returns p-values that may each be held against the level although there are
// several of them (Holm, 1979), in their order.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	out, highest := make([]float64, len(p)), 0.0
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(p)-rank)*p[i]))
		out[i] = highest
	}
	return out
}

// Level and power of a planned comparison.
const (
	level = 0.05
	power = 0.80
)

// RowsToShow is how many rows would show a difference in accuracy, at the level of
// 5 %, in four of five test sets, if that share of all rows is got right by one
// classifier alone (Connor, 1987). A gap of 0, or one larger than that share, has none: 0.
func RowsToShow(gap, discordant float64) int {
	gap = math.Abs(gap)
	if gap == 0 || gap > discordant {
		return 0
	}
	a, b := distuv.UnitNormal.Quantile(1-level/2), distuv.UnitNormal.Quantile(power)
	root := (a*math.Sqrt(discordant) + b*math.Sqrt(discordant-gap*gap)) / gap
	return int(math.Ceil(root * root))
}
