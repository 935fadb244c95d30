package eval

import "fmt"

// Contest compares two classifiers on the same rows. Differences are those of the
// second from the first: above 0 the first is better.
type Contest struct {
	Rows      int `json:"rows"`
	Same      int `json:"same"` // rows with the same answer, right or wrong
	BothRight int `json:"both_right"`
	BothWrong int `json:"both_wrong"`
	McNemar
	Accuracy Difference `json:"accuracy"`
	MacroF1  Difference `json:"macro_f1"`
	// RowsA and RowsB list the rows, from 0, that only one gets right.
	RowsA []int `json:"only_a_rows"`
	RowsB []int `json:"only_b_rows"`
}

// Difference is one of two figures, with the percentiles at 95 % of the bootstrap over
// rows, which draws the answers of both together.
type Difference struct {
	Value    float64    `json:"difference"`
	Interval [2]float64 `json:"interval"`
}

// NewContest compares the answers a and b to rows of these true labels, of which there
// is at least one. A row without an answer is a wrong one.
func NewContest(classes int, truth []int, a, b []Answer) Contest {
	first, second := outcomes(truth, a), outcomes(truth, b)
	c := Contest{Rows: len(truth), RowsA: []int{}, RowsB: []int{}}
	for i := range first {
		switch x, y := first[i], second[i]; {
		case x.right() && y.right():
			c.BothRight++
		case x.right():
			c.RowsA = append(c.RowsA, i)
		case y.right():
			c.RowsB = append(c.RowsB, i)
		default:
			c.BothWrong++
		}
		if first[i].best == second[i].best && first[i].answered() {
			c.Same++
		}
	}
	c.McNemar = NewMcNemar(len(c.RowsA), len(c.RowsB))
	c.differences(classes, first, second)
	return c
}

func (c *Contest) differences(classes int, first, second []outcome) {
	t, u := newTally(classes), newTally(classes)
	var accuracy, macro []float64
	draw := func(counts func(int) int) (float64, float64) {
		t.reset()
		u.reset()
		gap, rows := 0, 0
		for i := range first {
			n := counts(i)
			if n == 0 {
				continue
			}
			t.add(first[i], n)
			u.add(second[i], n)
			rows += n
			if first[i].right() {
				gap += n
			}
			if second[i].right() {
				gap -= n
			}
		}
		return ratio(gap, rows), t.macro() - u.macro()
	}
	c.Accuracy.Value, c.MacroF1.Value = draw(func(int) int { return 1 })
	bootstrap(len(first), func(counts []int32) {
		x, y := draw(func(i int) int { return int(counts[i]) })
		accuracy, macro = append(accuracy, x), append(macro, y)
	})
	c.Accuracy.Interval, c.MacroF1.Interval = percentiles(accuracy), percentiles(macro)
}

// Verdict says in a sentence what the data support about two classifiers of those
// names; p is the exact p-value, corrected for how many contests there are.
func (c Contest) Verdict(a, b string, p float64) string {
	gap := c.Accuracy
	if gap.Value < 0 {
		a, b = b, a
		gap = Difference{-gap.Value, [2]float64{0 - gap.Interval[1], 0 - gap.Interval[0]}}
	}
	figures := fmt.Sprintf("%.1f points (95 %% interval %.1f to %.1f; p = %s)", 100*gap.Value, 100*gap.Interval[0], 100*gap.Interval[1], pValue(p))
	if p <= level {
		return fmt.Sprintf("On these %d rows %s is more accurate than %s by %s.", c.Rows, a, b, figures)
	}
	s := fmt.Sprintf("No difference is shown between %s and %s with n=%d: %s.", a, b, c.Rows, figures)
	if n := RowsToShow(planned, ratio(c.OnlyA+c.OnlyB, c.Rows)); n > c.Rows {
		return s + fmt.Sprintf(" About %d rows would show a gap of %.0f points.", roundUp(n), 100*planned)
	}
	return s
}

// planned is the gap in accuracy that a verdict plans for.
const planned = 0.02

func pValue(p float64) string {
	if p < 0.0001 {
		return "<0.0001"
	}
	return fmt.Sprintf("%.4f", p)
}

// roundUp keeps two digits of a number of rows.
func roundUp(n int) int {
	step := 1
	for n/step >= 100 {
		step *= 10
	}
	return (n + step - 1) / step * step
}
