package eval

import (
	"math"
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
