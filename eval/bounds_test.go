package eval

import (
	"errors"
	"math"
	"testing"

	"cubby/labels"
)

// The figures come from exact rational arithmetic.
func TestExactUpper(t *testing.T) {
	for _, c := range []struct {
		k, n int
		want float64
	}{
		{0, 0, 1}, {5, 5, 1}, {0, 59, 0.049507610}, {0, 96, 0.030723677}, {1, 96, 0.048462072}, {7, 96, 0.132594943},
		{0, 149, 0.019904816}, {30, 386, 0.103942240}, {50, 1000, 0.062863404},
	} {
		if got := ExactUpper(c.k, c.n); math.Abs(got-c.want) > 1e-8 {
			t.Errorf("%d of %d: %.9f, want %.9f", c.k, c.n, got, c.want)
		}
	}
}

func TestDistanceUpper(t *testing.T) {
	of := func(p ...float64) Answer { return Answer{Distribution: labels.Distribution(p)} }
	failed := Answer{Err: errors.New("no")}
	a := []Answer{of(.9, .1), of(.6, .4), of(.2, .8), of(.7, .3), of(.8, .2), of(.1, .9)}
	b := []Answer{of(.8, .2), of(.4, .6), of(.2, .8), of(.3, .7), of(.7, .3), failed}
	// The distances .1, .2, 0, .4, .1 have the mean .16 and the variance .023.
	if got, want := DistanceUpper(a, b), .16+1.6448536269514722*math.Sqrt(.023/5); math.Abs(got-want) > 1e-12 {
		t.Errorf("%v, want %v", got, want)
	}
	if got := DistanceUpper(a, a); got != 0 {
		t.Errorf("of the same: %v", got)
	}
	if got := DistanceUpper(a[:1], b[:1]); got != 1 {
		t.Errorf("of one: %v", got)
	}
}
