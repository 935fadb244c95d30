package eval

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"

	"cubby/labels"
)

type goldenCase struct {
	Name                  string
	Classes               int
	Truth                 []int
	Probabilities         []labels.Distribution
	Accuracy              float64
	MacroF1               float64 `json:"macro_f1"`
	Precision, Recall, F1 []float64
	Support               []int
	Confusion             [][]int
	LogLoss               float64 `json:"log_loss"`
	Confidence            float64
	WeightedF1            float64 `json:"weighted_f1"`
	MCC, Brier, ECE, AURC float64
	AURCError             float64   `json:"aurc_error"`
	TopK                  []float64 `json:"top_k"`
}

// TestGolden compares with scikit-learn: see testdata/golden.py.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Cases []goldenCase }
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) < 6 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	for _, g := range golden.Cases {
		t.Run(g.Name, func(t *testing.T) { checkGolden(t, g) })
	}
}

func checkGolden(t *testing.T, g goldenCase) {
	names := make([]string, g.Classes)
	for i := range names {
		names[i] = fmt.Sprintf("class %d", i)
	}
	c := &scripted{answers: map[string]Answer{}}
	rows := make([]Row, len(g.Truth))
	for i, truth := range g.Truth {
		rows[i] = Row{Line: i + 2, Text: fmt.Sprint(i), Answer: names[truth]}
		a := Answer{Distribution: g.Probabilities[i]}
		if a.Distribution == nil {
			a.Err = errors.New("failed")
		}
		c.answers[rows[i].Text] = a
	}
	r, err := Run(t.Context(), c, setOf(t, names...), rows, Options{Batch: 7})
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	for name, pair := range map[string][2]float64{
		"accuracy": {r.Accuracy, g.Accuracy}, "macro-F1": {r.MacroF1, g.MacroF1},
		"log loss": {*r.LogLoss, g.LogLoss}, "mean confidence": {*r.MeanConfidence, g.Confidence},
		"weighted F1": {r.WeightedF1, g.WeightedF1}, "MCC": {r.MCC, g.MCC}, "Brier": {r.Calibration.Brier, g.Brier}, "ECE": {r.Calibration.ECE, g.ECE},
	} {
		if !near(pair[0], pair[1]) {
			t.Errorf("%s: %v, scikit-learn %v", name, pair[0], pair[1])
		}
	}
	for k, share := range r.TopK {
		if len(r.TopK) != len(g.TopK) || !near(share, g.TopK[k]) {
			t.Errorf("top-k %v, scikit-learn %v", r.TopK, g.TopK)
		}
	}
	if math.Abs(r.Coverage.AURC-g.AURC) > 5*g.AURCError+1e-12 {
		t.Errorf("AURC %v, over random orders %v ± %v", r.Coverage.AURC, g.AURC, g.AURCError)
	}
	for i, c := range r.PerClass {
		if !near(c.Precision, g.Precision[i]) || !near(c.Recall, g.Recall[i]) || !near(c.F1, g.F1[i]) || c.Support != g.Support[i] {
			t.Errorf("%s: %+v, scikit-learn %v %v %v %d", c.Label, c, g.Precision[i], g.Recall[i], g.F1[i], g.Support[i])
		}
	}
	if got, want := fmt.Sprint(r.Confusion), fmt.Sprint(g.Confusion); got != want {
		t.Errorf("confusion\n%s\nscikit-learn\n%s", got, want)
	}
}

// TestWilson: the worked examples of R. G. Newcombe, Statistics in Medicine
// 17 (1998) 857-872, table I, method 3.
func TestWilson(t *testing.T) {
	tests := []struct {
		successes, trials int
		low, high         float64
	}{
		{81, 263, 0.2553, 0.3662},
		{15, 148, 0.0624, 0.1605},
		{0, 20, 0.0000, 0.1611},
		{1, 29, 0.0061, 0.1718},
	}
	for _, tt := range tests {
		low, high := Wilson(tt.successes, tt.trials)
		if math.Abs(low-tt.low) > 5e-5 || math.Abs(high-tt.high) > 5e-5 {
			t.Errorf("Wilson(%d, %d) = %.5f, %.5f; published %.4f, %.4f", tt.successes, tt.trials, low, high, tt.low, tt.high)
		}
		// What is false for one side is true for the other.
		mirrorLow, mirrorHigh := Wilson(tt.trials-tt.successes, tt.trials)
		if !near(mirrorLow, 1-high) || !near(mirrorHigh, 1-low) {
			t.Errorf("Wilson(%d, %d) is not the mirror image of Wilson(%d, %d)", tt.trials-tt.successes, tt.trials, tt.successes, tt.trials)
		}
	}
	if low, high := Wilson(0, 0); low != 0 || high != 1 {
		t.Errorf("Wilson(0, 0) = %v, %v", low, high)
	}
}
