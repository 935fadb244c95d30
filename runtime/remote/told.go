package remote

import "math"

const (
	// rounding is how far the told probabilities may add up past 1, or short of it
	// when all are told: servers compute them in float32.
	rounding = 1e-4
	// unsure is the least mass that is left for tokens that were not told, because
	// what is missing of 1 drowns in that rounding.
	unsure = 1e-6
)

// valid says whether the numbers can be log probabilities.
func (t Told) valid(columns int) bool {
	if len(t.LogP) != columns || !(t.Mass >= 0 && t.Mass <= 1+rounding*10) {
		return false
	}
	untold := false
	for _, v := range t.LogP {
		untold = untold || math.IsNaN(v)
		if v > rounding {
			return false
		}
	}
	return !untold || t.Least <= rounding
}

// unseen returns how many columns were not told, the most probability that all of
// them can have together, and that of the others.
func (t Told) unseen() (n int, most, seen float64) {
	for _, v := range t.LogP {
		if math.IsNaN(v) {
			n++
		} else {
			seen += math.Exp(v)
		}
	}
	if n == 0 {
		return 0, 0, seen
	}
	// No column is likelier than the least likely token that was told, and together
	// they have no more than what the told ones leave.
	return n, min(float64(n)*math.Exp(t.Least), max(1-t.Mass, unsure)), seen
}

// Share is the most of the columns' probability that may lie on those that were
// not told.
func (t Told) Share() float64 {
	n, most, seen := t.unseen()
	if n == 0 {
		return 0
	}
	if most+seen == 0 {
		return 1
	}
	return most / (most + seen)
}

// row returns the columns' logits, and the share that is evenly given to those
// that were not told.
func (t Told) row() (row []float32, share float64) {
	n, most, _ := t.unseen()
	each := math.Log(most / float64(n))
	row = make([]float32, len(t.LogP))
	for i, v := range t.LogP {
		if math.IsNaN(v) {
			v = max(each, -math.MaxFloat32)
		}
		row[i] = float32(v)
	}
	return row, t.Share()
}
