package eval

import (
	"math"
	"testing"
)

// The p-values are those of scipy 1.17.1: binomtest(min(b, c), b + c).pvalue, and that
// less binom.pmf(min(b, c), b + c, 0.5).
func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		onlyA, onlyB      int
		exact, mid, below float64
	}{
		{0, 0, 1, 1, 1},
		{3, 3, 1, 0.84375, 0.65625},
		{5, 0, 0.0625, 0.03125, 0.03125},
		{0, 5, 0.0625, 0.03125, 1},
		{9, 2, 0.06542968750000003, 0.03857421875000003, 0.03271484375000001},
		{40, 61, 0.046044066929342785, 0.0370667674386, 0.9859552660261109},
		{400, 500, 0.0009564441369189373, 0.0008541955361977088, 0.9996240265322618},
	} {
		m := NewMcNemar(c.onlyA, c.onlyB)
		for name, pair := range map[string][2]float64{"exact": {m.Exact, c.exact}, "mid-p": {m.MidP, c.mid}, "one-sided": {m.OneSided(), c.below}} {
			if math.Abs(pair[0]-pair[1]) > 1e-10 {
				t.Errorf("%d and %d: %s %.12g, want %.12g", c.onlyA, c.onlyB, name, pair[0], pair[1])
			}
		}
	}
}

func TestHolm(t *testing.T) {
	got := Holm([]float64{0.01, 0.04, 0.03, 0.005})
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		if !near(got[i], want) {
			t.Errorf("%v", got)
		}
	}
	if one := Holm([]float64{0.7, 0.8}); one[0] != 1 || one[1] != 1 {
		t.Errorf("%v", one)
	}
}

// TestRowsToShow plans comparisons and simulates none: the test finds what was
// planned where the counts are the expected ones.
func TestRowsToShow(t *testing.T) {
	if n := RowsToShow(0.02, 0.1); n < 1900 || n > 2000 {
		t.Errorf("%d rows", n)
	}
	for _, c := range [][2]float64{{0, 0.1}, {0.2, 0.1}} {
		if n := RowsToShow(c[0], c[1]); n != 0 {
			t.Errorf("gap %v of %v: %d rows", c[0], c[1], n)
		}
	}
	if a, b := RowsToShow(0.05, 0.1), RowsToShow(-0.05, 0.1); a != b || a <= 0 {
		t.Errorf("%d and %d rows", a, b)
	}
}
