package eval

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"cubby/labels"
)

// drawn makes rows whose labels are drawn by distributions, and answers that tell them
// after change.
func drawn(t testing.TB, n int, seed uint64, change func(labels.Distribution) labels.Distribution) (*labels.Set, []Row, []Answer) {
	t.Helper()
	set := setOf(t, "a", "b", "c")
	random := rand.New(rand.NewPCG(seed, 1))
	rows, answers := make([]Row, n), make([]Answer, n)
	for i := range rows {
		scores := make([]float64, 3)
		for k := range scores {
			scores[k] = 2 * random.NormFloat64()
		}
		d, err := labels.Softmax(scores)
		if err != nil {
			t.Fatal(err)
		}
		u, label := random.Float64(), 0
		for u > d[label] && label < 2 {
			u -= d[label]
			label++
		}
		rows[i] = Row{Line: i + 2, Text: "text", Answer: set.Name(label)}
		answers[i].Distribution = change(d)
	}
	return set, rows, answers
}

// A model that is too sure by a temperature of 0.5 is mended by one of 2.
func TestFitTemperature(t *testing.T) {
	set, rows, answers := drawn(t, 400, 1, labels.Calibration{Temperature: 0.5}.Apply)
	answers[0] = Answer{Err: errors.New("failed")}
	f, err := FitCalibration(set, rows, answers)
	if err != nil {
		t.Fatal(err)
	}
	if f.Rows != 399 || f.Temperature < f.Interval[0] || f.Temperature > f.Interval[1] || !f.Improves || f.AfterVector != nil {
		t.Errorf("%+v in %v, %d rows, improves %v", f.Calibration, f.Interval, f.Rows, f.Improves)
	}
	if f.AfterTemperature.ECE >= f.Before.ECE || f.AfterTemperature.LogLoss >= f.Before.LogLoss || f.AfterTemperature.Accuracy != f.Before.Accuracy {
		t.Errorf("loss %v before, %v after", f.Before.LogLoss, f.AfterTemperature.LogLoss)
	}
	truth, err := Truth(set, rows)
	if err != nil {
		t.Fatal(err)
	}
	all := samples(truth, answers)
	for _, factor := range []float64{1.001, 1 / 1.001} {
		c, other := labels.Calibration{Temperature: f.Temperature}, labels.Calibration{Temperature: f.Temperature * factor}
		if lossOf(all, c) >= lossOf(all, other) {
			t.Errorf("temperature %v is no minimum", f.Temperature)
		}
	}
}

func lossOf(all []sample, c labels.Calibration) float64 {
	sum := 0.0
	for _, s := range all {
		sum -= math.Log(c.Apply(s.d)[s.truth])
	}
	return sum
}

// Of 95 % intervals most hold the truth.
func TestTemperatureInterval(t *testing.T) {
	hold := 0
	for seed := range uint64(20) {
		set, rows, answers := drawn(t, 150, seed, labels.Calibration{Temperature: 0.5}.Apply)
		truth, err := Truth(set, rows)
		if err != nil {
			t.Fatal(err)
		}
		if i := temperatureInterval(samples(truth, answers)); i[0] <= 2 && i[1] >= 2 {
			hold++
		}
	}
	t.Logf("%d of 20 hold the truth", hold)
	if hold < 15 {
		t.Errorf("%d of 20 intervals hold the truth", hold)
	}
}

// Probabilities without fault are left alone.
func TestFitNothing(t *testing.T) {
	set, rows, answers := drawn(t, 300, 2, func(d labels.Distribution) labels.Distribution { return d })
	f, err := FitCalibration(set, rows, answers)
	if err != nil || f.Improves || f.Interval[0] > 1 || f.Interval[1] < 1 {
		t.Errorf("%+v in %v, %v", f.Calibration, f.Interval, err)
	}
}

// A model that slights one label needs more than a temperature.
func TestFitVector(t *testing.T) {
	slight := func(d labels.Distribution) labels.Distribution {
		out := labels.Distribution{d[0] * 8, d[1], d[2]}
		sum := out[0] + out[1] + out[2]
		return labels.Distribution{out[0] / sum, out[1] / sum, out[2] / sum}
	}
	set, rows, answers := drawn(t, 800, 3, slight)
	f, err := FitCalibration(set, rows, answers)
	if err != nil {
		t.Fatal(err)
	}
	if f.AfterVector == nil || len(f.Scale) != 3 || !f.Improves || f.AfterVector.Accuracy <= f.Before.Accuracy || f.AfterVector.LogLoss >= f.AfterTemperature.LogLoss {
		t.Errorf("%+v; accuracy %v before, %v after", f.Calibration, f.Before.Accuracy, f.AfterVector.Accuracy)
	}
	if shift := f.Bias[0] - (f.Bias[1]+f.Bias[2])/2; math.Abs(shift+math.Log(8)) > 0.5 {
		t.Errorf("biases %v: the first label is told %v times too often", f.Bias, math.Exp(-shift))
	}
}

func TestFitRefuses(t *testing.T) {
	set, rows, answers := drawn(t, 49, 4, func(d labels.Distribution) labels.Distribution { return d })
	if _, err := FitCalibration(set, rows, answers); err == nil || !strings.Contains(err.Error(), "it takes 50 and 5") {
		t.Error(err)
	}
	for i := range rows {
		best, _ := answers[i].Distribution.Best()
		rows[i].Answer = set.Name(best)
	}
	if _, err := FitCalibration(set, append(rows, rows...), append(answers, answers...)); err == nil || !strings.Contains(err.Error(), "with 0 wrong answers") {
		t.Error(err)
	}
}
