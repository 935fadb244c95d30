package eval

// maxCurve is how many points of a curve a report holds.
const maxCurve = 200

// Coverage is the trade of answers for errors: the surest answers are taken, down
// to a threshold, and the other rows are left to a person. Rows without an answer
// are the least sure.
type Coverage struct {
	// AURC is the area under the curve, the mean risk over all coverages (Geifman and
	// El-Yaniv, 2017): 0 where all are right. Rows of one confidence count as if they
	// came in every order.
	AURC float64 `json:"aurc"`
	// Curve goes from the surest rows to all of them, in at most 200 points.
	Curve []CoveragePoint `json:"curve"`
}

// CoveragePoint is what a threshold gives.
type CoveragePoint struct {
	Threshold float64 `json:"threshold"` // the least confidence that is taken
	Coverage  float64 `json:"coverage"`  // share of the rows that are taken
	Risk      float64 `json:"risk"`      // share of them that are wrong
}

func coverage(list []outcome) Coverage {
	sorted := byConfidence(list)
	c := Coverage{Curve: []CoveragePoint{}}
	rows, wrong := 0, 0
	for from := 0; from < len(sorted); {
		to, more := from, 0
		for to < len(sorted) && tied(sorted[from], sorted[to]) {
			if !sorted[to].right() {
				more++
			}
			to++
		}
		share := ratio(more, to-from)
		for i := from; i < to; i++ {
			c.AURC += (float64(wrong) + float64(i+1-from)*share) / float64(i+1)
		}
		rows, wrong, from = to, wrong+more, to
		c.Curve = append(c.Curve, CoveragePoint{sorted[to-1].confidence, ratio(rows, len(sorted)), ratio(wrong, rows)})
	}
	c.AURC /= float64(max(1, len(sorted)))
	c.Curve = thin(c.Curve)
	return c
}

// thin keeps the last point of each step of coverage.
func thin(curve []CoveragePoint) []CoveragePoint {
	if len(curve) <= maxCurve {
		return curve
	}
	out := curve[:0:0]
	for i, p := range curve {
		if i+1 == len(curve) || int(p.Coverage*(maxCurve-1)) != int(curve[i+1].Coverage*(maxCurve-1)) {
			out = append(out, p)
		}
	}
	return out
}
