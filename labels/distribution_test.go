package labels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawScores(t *rapid.T) []float64 {
	score := rapid.OneOf(rapid.Float64Range(-1e4, 1e4), rapid.Just(math.Inf(-1)), rapid.Float64Range(-3, 3))
	scores := rapid.SliceOfN(score, 1, 1000).Draw(t, "scores")
	scores[rapid.IntRange(0, len(scores)-1).Draw(t, "finite")] = rapid.Float64Range(-1e4, 1e4).Draw(t, "score")
	return scores
}

func TestSoftmaxIsADistribution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := drawScores(t)
		d, err := Softmax(scores)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		best, p := d.Best()
		if scores[best] != slices.Max(scores) && p-d[slices.Index(scores, slices.Max(scores))] > 1e-12 {
			t.Fatalf("best is %d with score %v, largest score %v", best, scores[best], slices.Max(scores))
		}
		if h := d.Entropy(); !(h >= 0 && h <= math.Log(float64(len(d)))+1e-9) {
			t.Fatalf("entropy %v of %d labels", h, len(d))
		}
		for i, s := range scores {
			if math.IsInf(s, -1) && d[i] != 0 {
				t.Fatalf("score -Inf has probability %v", d[i])
			}
		}
	})
}

func TestSoftmaxKnown(t *testing.T) {
	d, err := Softmax([]float64{math.Log(1), math.Log(3), math.Inf(-1)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{0.25, 0.75, 0} {
		if math.Abs(d[i]-want) > 1e-15 {
			t.Errorf("probability %d is %v, want %v", i, d[i], want)
		}
	}
	if want := -0.25*math.Log(0.25) - 0.75*math.Log(0.75); math.Abs(d.Entropy()-want) > 1e-15 {
		t.Errorf("entropy %v, want %v", d.Entropy(), want)
	}
}

func TestSoftmaxRefuses(t *testing.T) {
	inf := math.Inf(-1)
	for name, scores := range map[string][]float64{
		"nothing": {}, "NaN": {0, math.NaN()}, "+Inf": {0, math.Inf(1)}, "all -Inf": {inf, inf},
	} {
		if d, err := Softmax(scores); err == nil {
			t.Errorf("%s: accepted as %v", name, d)
		}
	}
}

func TestTop(t *testing.T) {
	d := Distribution{0.2, 0.3, 0.2, 0.3, 0}
	for k, want := range map[int][]int{-1: {}, 0: {}, 1: {1}, 3: {1, 3, 0}, 9: {1, 3, 0, 2, 4}} {
		if got := d.Top(k); !slices.Equal(got, want) {
			t.Errorf("Top(%d) = %v, want %v", k, got, want)
		}
	}
	if i, p := d.Best(); i != 1 || p != 0.3 {
		t.Errorf("best is %d, %v: ties go to the lowest index", i, p)
	}
	if i, _ := (Distribution{}).Best(); i != -1 {
		t.Errorf("best of nothing is %d", i)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, d := range map[string]Distribution{
		"empty": {}, "short": {0.5, 0.4}, "long": {0.5, 0.50001}, "negative": {1.5, -0.5}, "NaN": {1, math.NaN()},
	} {
		if d.Check() == nil {
			t.Errorf("%s: %v passes", name, d)
		}
	}
}

func TestCalibrationKeepsOrderAndSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := Softmax(drawScores(t))
		if err != nil {
			t.Fatal(err)
		}
		c := Calibration{Temperature: rapid.Float64Range(MinTemperature, MaxTemperature).Draw(t, "temperature")}
		got := c.Apply(d)
		if err := got.Check(); err != nil {
			t.Fatal(err)
		}
		order := d.Top(len(d))
		for k := 1; k < len(order); k++ {
			if got[order[k]] > got[order[k-1]] {
				t.Fatalf("temperature %v swapped labels %d and %d", c.Temperature, order[k-1], order[k])
			}
		}
		_, before := d.Best()
		_, after := got.Best()
		if c.Temperature > 1 && after > before+1e-12 || c.Temperature < 1 && after < before-1e-12 {
			t.Fatalf("temperature %v moved the best from %v to %v", c.Temperature, before, after)
		}
	})
}

// Vector scaling is by hand what its docstring says, and keeps zeros.
func TestVectorScaling(t *testing.T) {
	d := Distribution{0.5, 0.25, 0, 0.25}
	c := Calibration{Temperature: 3, Scale: []float64{2, 1, 1, 0.5}, Bias: []float64{0, math.Log(2), 5, 0}}
	got := c.Apply(d)
	for i, want := range []float64{0.25 / 1.25, 0.5 / 1.25, 0, 0.5 / 1.25} {
		if math.Abs(got[i]-want) > 1e-15 {
			t.Errorf("%v", got)
		}
	}
	for _, bad := range []Calibration{
		{Temperature: 1, Scale: []float64{1}}, {Temperature: 1, Bias: []float64{0}}, {Temperature: 1, Scale: []float64{0}, Bias: []float64{0}},
		{Temperature: 1, Scale: []float64{math.NaN()}, Bias: []float64{0}}, {Temperature: 1, Scale: []float64{1}, Bias: []float64{math.Inf(1)}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestCalibrationKnown(t *testing.T) {
	d := Distribution{0.8, 0.2, 0}
	got := Calibration{Temperature: 0.5}.Apply(d) // squares
	for i, want := range []float64{0.64 / 0.68, 0.04 / 0.68, 0} {
		if math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("probability %d is %v, want %v", i, got[i], want)
		}
	}
	same := Calibration{Temperature: 1}.Apply(d)
	if !slices.Equal(same, d) {
		t.Errorf("temperature 1 gives %v", same)
	}
	same[0] = 0
	if d[0] != 0.8 {
		t.Error("Apply returned its argument's memory")
	}
}

func TestValidate(t *testing.T) {
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1), 1e-300, 1e6} {
		if (Calibration{Temperature: bad}).Validate() == nil {
			t.Errorf("temperature %v passes", bad)
		}
	}
	for _, bad := range []float64{-0.1, 1.1, math.NaN()} {
		if (Policy{Threshold: bad}).Validate() == nil {
			t.Errorf("threshold %v passes", bad)
		}
	}
	if err := (Calibration{Temperature: 1.7}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (Policy{Threshold: 0.9}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestReview(t *testing.T) {
	p := Policy{Threshold: 0.7}
	for best, want := range map[float64]bool{0.69: true, 0.7: false, 1: false} {
		if got := p.Review(Distribution{1 - best, best}); got != want {
			t.Errorf("best %v: review %v", best, got)
		}
	}
}
