package eval

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPSI(t *testing.T) {
	for _, c := range []struct {
		reference, current []int
		want               float64
	}{
		{[]int{10, 30}, []int{100, 300}, 0.0006},
		{[]int{50, 50}, []int{80, 20}, 0.408},
		{[]int{50, 50}, []int{0, 0}, 0},
		{[]int{0, 0}, []int{5, 5}, 0},
		{[]int{5}, []int{5, 5}, 0},
		{[]int{100, 0}, []int{0, 100}, 10.5},
	} {
		if got := PSI(c.reference, c.current); math.Abs(got-c.want) > 0.01*math.Max(c.want, 0.1) {
			t.Errorf("%v and %v: %v, want %v", c.reference, c.current, got, c.want)
		}
	}
}

func TestConfidenceBin(t *testing.T) {
	for p, want := range map[float64]int{0: 0, 0.4999: 0, 0.5: 1, 0.9: 5, 0.99: 7, 1: 7} {
		if got := ConfidenceBin(p); got != want {
			t.Errorf("%v lies in bin %d, want %d", p, got, want)
		}
	}
}

// draw counts n rows by 20 labels: so many in a hundred have the first, the others any.
func draw(r *rand.Rand, n, first int) []int {
	counts := make([]int, 20)
	for range n {
		if r.IntN(100) < first {
			counts[0]++
			continue
		}
		counts[r.IntN(20)]++
	}
	return counts
}

// Without drift the index exceeds its noise in about one case of 20; with drift nearly always.
func TestPSINoise(t *testing.T) {
	const cases = 2000
	r := rand.New(rand.NewPCG(20, 96))
	for _, c := range []struct{ reference, window, first int }{{96, 100, 40}, {96, 1000, 30}, {1000, 100, 30}, {1000, 1000, 15}} {
		var quiet, drifted int
		for range cases {
			reference, same, other := draw(r, c.reference, 0), draw(r, c.window, 0), draw(r, c.window, c.first)
			if PSI(reference, same) > PSINoise(reference, same) {
				quiet++
			}
			if PSI(reference, other) > PSINoise(reference, other) {
				drifted++
			}
		}
		if share := float64(quiet) / cases; share < 0.02 || share > 0.07 {
			t.Errorf("%+v: %v of the windows without drift exceed the noise", c, share)
		}
		if share := float64(drifted) / cases; share < 0.95 {
			t.Errorf("%+v: %v of the windows with drift exceed the noise", c, share)
		}
	}
	for _, c := range [][2][]int{{{5}, {5}}, {{0, 0}, {5, 5}}, {{5, 5}, {0, 0}}, {{5, 5}, {5}}} {
		if got := PSINoise(c[0], c[1]); got != 0 {
			t.Errorf("%v: %v", c, got)
		}
	}
	// 3.841 is the 0.95 quantile of one degree of freedom.
	if got := PSINoise([]int{50, 50}, []int{20, 5}); math.Abs(got-3.841*0.05) > 1e-4 {
		t.Error(got)
	}
}
