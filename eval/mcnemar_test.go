package eval

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// TestStatistics compares with scipy and statsmodels: see testdata/statistics.py. The
// tolerance is relative, for tails near 0.
func TestStatistics(t *testing.T) {
	raw, err := os.ReadFile("testdata/statistics.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		McNemar []struct {
			OnlyA    int `json:"only_a"`
			OnlyB    int `json:"only_b"`
			Exact    float64
			Mid      float64
			OneSided float64 `json:"one_sided"`
		}
		Holm   []struct{ P, Corrected []float64 }
		Wilson []struct {
			Hits, Rows int
			Interval   [2]float64
		}
		ClopperPearson []struct {
			Errors, Rows int
			Upper        float64
		} `json:"clopper_pearson"`
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	checked := 0
	check := func(what string, got, want float64) {
		t.Helper()
		checked++
		if math.Abs(got-want) > 1e-9*math.Max(want, 1e-3) {
			t.Errorf("%s: %.12g, want %.12g", what, got, want)
		}
	}
	for _, c := range golden.McNemar {
		m := NewMcNemar(c.OnlyA, c.OnlyB)
		check("exact", m.Exact, c.Exact)
		check("mid-p", m.MidP, c.Mid)
		check("one-sided", m.OneSided(), c.OneSided)
	}
	for _, c := range golden.Holm {
		for i, p := range Holm(c.P) {
			check("Holm", p, c.Corrected[i])
		}
	}
	for _, c := range golden.Wilson {
		low, high := Wilson(c.Hits, c.Rows)
		check("Wilson, low", low, c.Interval[0])
		check("Wilson, high", high, c.Interval[1])
	}
	for _, c := range golden.ClopperPearson {
		check("Clopper and Pearson", upperBound(c.Errors, c.Rows, 0.95), c.Upper)
	}
	if checked < 40 {
		t.Errorf("%d figures were compared", checked)
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
