package eval

import (
	"errors"
	"math"
	"slices"
	"testing"

	"cubby/labels"
)

func TestAgree(t *testing.T) {
	answer := func(p ...float64) Answer { return Answer{Distribution: labels.Distribution(p)} }
	failed := Answer{Err: errors.New("too long")}
	a := []Answer{answer(.5, .3, .2), answer(.4, .6, 0), failed, failed, answer(1, 0, 0)}
	b := []Answer{answer(.6, .3, .1), answer(.6, .4, 0), failed, answer(1, 0, 0), answer(0, 1, 0)}
	got := Agree(a, b)
	if got.Rows != 5 || got.Compared != 3 || got.Same != 1 || !slices.Equal(got.Differ, []int{1, 3, 4}) {
		t.Errorf("got %+v", got)
	}
	if want := (.1 + .2 + 1) / 3; math.Abs(got.Mean-want) > 1e-12 || got.Max != 1 {
		t.Errorf("mean %v, want %v; max %v", got.Mean, want, got.Max)
	}
	if got := Agree(nil, nil); got.Mean != 0 || got.Differ == nil {
		t.Errorf("of no rows: %+v", got)
	}
}
