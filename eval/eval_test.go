package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"cubby/labels"
)

// scripted answers each text by looking it up.
type scripted struct {
	answers map[string]Answer
	took    time.Duration
	batches []int
}

func (s *scripted) Classify(ctx context.Context, texts []string) ([]Answer, error) {
	time.Sleep(s.took)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.batches = append(s.batches, len(texts))
	out := make([]Answer, len(texts))
	for i, text := range texts {
		out[i] = s.answers[text]
	}
	return out, nil
}

func setOf(t testing.TB, names ...string) *labels.Set {
	t.Helper()
	list := make([]labels.Label, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	set, err := labels.NewSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12 }

// TestByHand: three labels, seven rows, every figure worked out on paper.
//
//	truth    a a a b b c c
//	answer   a a b b – c a     (– failed)
func TestByHand(t *testing.T) {
	set := setOf(t, "a", "b", "c")
	toA, toB, toC := labels.Distribution{.5, .25, .25}, labels.Distribution{.25, .5, .25}, labels.Distribution{.125, .125, .75}
	c := &scripted{answers: map[string]Answer{
		"1": {Distribution: toA}, "2": {Distribution: toA, Review: true}, "3": {Distribution: toB, Truncated: 4},
		"4": {Distribution: toB}, "5": {Err: errors.New("text is empty")},
		"6": {Distribution: toC}, "7": {Distribution: toA},
	}}
	rows := []Row{{2, "1", "a"}, {3, "2", "a"}, {5, "3", "a"}, {6, "4", "b"}, {7, "5", "b"}, {8, "6", "c"}, {9, "7", "c"}}
	r, err := Run(t.Context(), c, set, rows, Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if r.Rows != 7 || r.Errors != 1 || r.Correct != 4 || r.Review != 1 || r.Truncated != 1 {
		t.Errorf("counts: %+v", r)
	}
	if want := 4.0 / 7; !near(r.Accuracy, want) {
		t.Errorf("accuracy %v, want %v", r.Accuracy, want)
	}
	want := PerClass{
		{Label: "a", Precision: 2.0 / 3, Recall: 2.0 / 3, F1: 2.0 / 3, Support: 3, Predicted: 3},
		{Label: "b", Precision: 1.0 / 2, Recall: 1.0 / 2, F1: 1.0 / 2, Support: 2, Predicted: 2, Errors: 1},
		{Label: "c", Precision: 1, Recall: 1.0 / 2, F1: 2.0 / 3, Support: 2, Predicted: 1},
	}
	for i, c := range r.PerClass {
		for _, interval := range [][2]float64{c.PrecisionInterval, c.RecallInterval, c.F1Interval} {
			if !(0 <= interval[0] && interval[0] < interval[1] && interval[1] <= 1) {
				t.Errorf("class %d: interval %v", i, interval)
			}
		}
		c.PrecisionInterval, c.RecallInterval, c.F1Interval = [2]float64{}, [2]float64{}, [2]float64{}
		if c != want[i] {
			t.Errorf("class %d: %+v, want %+v", i, c, want[i])
		}
	}
	// Squared distances of the answered rows: .375 .375 .875 .375 .09375 .875.
	if want := (2*.375 + .875 + .375 + .09375 + .875) / 6; !near(r.Calibration.Brier, want) {
		t.Errorf("Brier %v, want %v", r.Calibration.Brier, want)
	}
	// Surest first: one right at .75, then three of five right at .5, then the row without
	// an answer: bins of one and five rows.
	if want := (.25 + .5) / 6; !near(r.Calibration.ECE, want) || len(r.Calibration.Bins) != 2 {
		t.Errorf("ECE %v, want %v; bins %+v", r.Calibration.ECE, want, r.Calibration.Bins)
	}
	if want := (0 + .4/2 + .8/3 + 1.2/4 + 1.6/5 + 2.0/6 + 3.0/7) / 7; !near(r.Coverage.AURC, want) {
		t.Errorf("AURC %v, want %v", r.Coverage.AURC, want)
	}
	if want := []CoveragePoint{{.75, 1.0 / 7, 0}, {.5, 6.0 / 7, 2.0 / 6}, {0, 1, 3.0 / 7}}; !slices.Equal(r.Coverage.Curve, want) {
		t.Errorf("curve %v, want %v", r.Coverage.Curve, want)
	}
	if fmt.Sprint(r.TopK) != fmt.Sprint([]float64{4.0 / 7, 5.0 / 7, 6.0 / 7}) {
		t.Errorf("top-k %v", r.TopK)
	}
	if want := (2.0/3 + 1.0/2 + 2.0/3) / 3; !near(r.MacroF1, want) {
		t.Errorf("macro-F1 %v, want %v", r.MacroF1, want)
	}
	// True labels were given .5 .5 .25 .5 .75 .25.
	if want := -(3*math.Log(.5) + 2*math.Log(.25) + math.Log(.75)) / 6; !near(*r.LogLoss, want) {
		t.Errorf("log loss %v, want %v", *r.LogLoss, want)
	}
	if want := (5*.5 + .75) / 6; !near(*r.MeanConfidence, want) {
		t.Errorf("mean confidence %v, want %v", *r.MeanConfidence, want)
	}
	if got := fmt.Sprint(r.Confusion); got != "[[2 1 0] [0 1 0] [1 0 1]]" {
		t.Errorf("confusion %v", got)
	}
	if len(r.Failures) != 1 || r.Failures[0] != (Failure{7, "b", "text is empty"}) {
		t.Errorf("failures %+v", r.Failures)
	}
}

// checkReport walks what must hold for every report.
func checkReport(t testing.TB, r *Report) {
	t.Helper()
	support, predicted, errs, correct := 0, 0, 0, 0
	for i, c := range r.PerClass {
		sum := 0
		for _, n := range r.Confusion[i] {
			sum += n
		}
		if sum != c.Support-c.Errors {
			t.Errorf("label %q: confusion row sums to %d; support %d, errors %d", c.Label, sum, c.Support, c.Errors)
		}
		support, predicted, errs, correct = support+c.Support, predicted+c.Predicted, errs+c.Errors, correct+r.Confusion[i][i]
		for _, x := range []float64{c.Precision, c.Recall, c.F1} {
			if !(x >= 0 && x <= 1) {
				t.Errorf("label %q: %v is outside [0, 1]", c.Label, x)
			}
		}
		if c.Label != r.Labels[i] {
			t.Errorf("class %d is %q, label %q", i, c.Label, r.Labels[i])
		}
	}
	if support != r.Rows || predicted+errs != r.Rows || errs != r.Errors || errs != len(r.Failures) || correct != r.Correct {
		t.Errorf("totals do not add up: support %d, predicted %d, errors %d, correct %d in %+v", support, predicted, errs, correct, r)
	}
	if low, high := r.AccuracyInterval[0], r.AccuracyInterval[1]; !(0 <= low && low <= r.Accuracy && r.Accuracy <= high && high <= 1) {
		t.Errorf("accuracy %v is not within %v", r.Accuracy, r.AccuracyInterval)
	}
	checkProbabilities(t, r)
	if (r.LogLoss == nil) != (r.Errors == r.Rows) {
		t.Errorf("log loss %v with %d errors in %d rows", r.LogLoss, r.Errors, r.Rows)
	}
}

// checkProbabilities walks what judges more than the best label.
func checkProbabilities(t testing.TB, r *Report) {
	t.Helper()
	for k, share := range r.TopK {
		if k == 0 && !near(share, r.Accuracy) || k > 0 && share < r.TopK[k-1] || share > 1 {
			t.Errorf("top-k %v, accuracy %v", r.TopK, r.Accuracy)
		}
	}
	if !(r.MCC >= -1-1e-12 && r.MCC <= 1+1e-12) {
		t.Errorf("MCC %v", r.MCC)
	}
	curve := r.Coverage.Curve
	if last := curve[len(curve)-1]; last.Coverage != 1 || !near(last.Risk, 1-r.Accuracy) || len(curve) > maxCurve {
		t.Errorf("the curve ends at %+v with %d points, accuracy %v", last, len(curve), r.Accuracy)
	}
	c := r.Calibration
	if c == nil {
		return
	}
	rows := 0
	sum := 0.0
	for _, b := range c.Bins {
		rows += b.Rows
		sum += float64(b.Rows) * math.Abs(b.Accuracy-b.Confidence)
	}
	if rows != r.Rows-r.Errors || !near(sum/float64(rows), c.ECE) || len(c.Bins) > Bins {
		t.Errorf("bins of %d rows, %d answered; their error is %v, ECE %v", rows, r.Rows-r.Errors, sum/float64(rows), c.ECE)
	}
	if !(c.ECEInterval[0] >= 0 && c.ECEInterval[0] <= c.ECEInterval[1] && c.ECENoise >= 0 && c.Brier >= 0 && c.Brier <= 2) {
		t.Errorf("calibration %+v", c)
	}
}

// faulty breaks the classifier's contract.
type faulty func(n int) ([]Answer, error)

func (f faulty) Classify(_ context.Context, texts []string) ([]Answer, error) { return f(len(texts)) }

func TestFaultyClassifier(t *testing.T) {
	set := setOf(t, "a", "b")
	broken := errors.New("engine broke")
	for want, c := range map[string]faulty{
		"gave 0 answers to 1 texts":           func(int) ([]Answer, error) { return nil, nil },
		"has 1 probabilities; the task has":   func(int) ([]Answer, error) { return []Answer{{Distribution: labels.Distribution{1}}}, nil },
		"is no distribution: probabilities":   func(int) ([]Answer, error) { return []Answer{{Distribution: labels.Distribution{.5, .4}}}, nil },
		"lines 2 to 2: engine broke":          func(int) ([]Answer, error) { return nil, broken },
		"has 0 probabilities; the task has 2": func(n int) ([]Answer, error) { return make([]Answer, n), nil },
	} {
		r, err := Run(t.Context(), c, set, []Row{{2, "t", "a"}}, Options{})
		if r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
}

func TestEveryRowFails(t *testing.T) {
	c := faulty(func(n int) ([]Answer, error) {
		out := make([]Answer, n)
		for i := range out {
			out[i].Err = errors.New("text is empty")
		}
		return out, nil
	})
	r, err := Run(t.Context(), c, setOf(t, "a", "b"), []Row{{2, "", "a"}, {3, "", "b"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, r)
	if r.Accuracy != 0 || r.MacroF1 != 0 || r.Errors != 2 {
		t.Errorf("got %+v", r)
	}
	if raw, err := json.Marshal(r); err != nil || !strings.Contains(string(raw), `"log_loss":null`) {
		t.Errorf("%s, %v", raw, err)
	}
}

// TestSureMistake: a true label given nothing costs a bounded, stated loss.
func TestSureMistake(t *testing.T) {
	c := faulty(func(int) ([]Answer, error) { return []Answer{{Distribution: labels.Distribution{0, 1}}}, nil })
	r, err := Run(t.Context(), c, setOf(t, "a", "b"), []Row{{2, "t", "a"}}, Options{})
	if err != nil || !near(*r.LogLoss, -math.Log(1e-15)) {
		t.Errorf("log loss %v, %v", *r.LogLoss, err)
	}
}

func TestSpeedAndBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &scripted{answers: map[string]Answer{"t": {Distribution: labels.Distribution{1, 0}}}, took: 2 * time.Second}
		rows := make([]Row, 10)
		for i := range rows {
			rows[i] = Row{Line: i + 2, Text: "t", Answer: "a"}
		}
		var seen []string
		r, err := Run(t.Context(), c, setOf(t, "a", "b"), rows, Options{Batch: 4, Progress: func(done, total int) {
			seen = append(seen, fmt.Sprintf("%d/%d", done, total))
		}})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(c.batches) != "[4 4 2]" || fmt.Sprint(seen) != "[4/10 8/10 10/10]" {
			t.Errorf("batches %v, progress %v", c.batches, seen)
		}
		if r.Seconds != 6 || !near(r.RowsPerSecond, 10.0/6) {
			t.Errorf("%v s, %v rows/s; want 6 s for ten rows", r.Seconds, r.RowsPerSecond)
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &scripted{answers: map[string]Answer{"t": {Distribution: labels.Distribution{1, 0}}}, took: 2 * time.Second}
		rows := slices.Repeat([]Row{{Line: 2, Text: "t", Answer: "a"}}, 10)
		r, err := Run(t.Context(), c, setOf(t, "a", "b"), rows, Options{Batch: 4, Alone: 3})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(c.batches) != "[1 1 1 4 3]" || r.Seconds != 10 || r.RowsPerSecond != 7.0/4 || *r.Latency != (Latency{3, 2000, 2000, 2000}) {
			t.Errorf("batches %v, %+v, %+v", c.batches, r.Timing, r.Latency)
		}
		r, err = Run(t.Context(), c, setOf(t, "a", "b"), rows[:2], Options{Alone: 3})
		if err != nil || r.RowsPerSecond != 0.5 || r.Latency.Texts != 2 {
			t.Errorf("%+v, %+v, %v", r.Timing, r.Latency, err)
		}
	})
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, &scripted{}, setOf(t, "a"), []Row{{2, "t", "a"}}, Options{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestJSONOrder: labels keep the set's order, whatever their letters, and any
// name is a valid key.
func TestJSONOrder(t *testing.T) {
	set := setOf(t, "z", "a", "é\"\n", "<b>")
	c := &scripted{answers: map[string]Answer{"t": {Distribution: labels.Distribution{0, 1, 0, 0}}}}
	r, err := Run(t.Context(), c, set, []Row{{2, "t", "a"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, name := range set.Names() {
		key, _ := json.Marshal(name)
		at := strings.Index(string(raw), string(key)+`:{"precision"`)
		if at <= last {
			t.Errorf("%s stands at %d, after %d, in %s", key, at, last, raw)
		}
		last = at
	}
	var back struct {
		Accuracy         float64
		MacroF1          float64                          `json:"macro_f1"`
		AccuracyInterval []float64                        `json:"accuracy_interval"`
		PerClass         map[string]struct{ Support int } `json:"per_class"`
		Confusion        [][]int
	}
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if back.Accuracy != 1 || back.MacroF1 != 1 || len(back.AccuracyInterval) != 2 || back.PerClass["a"].Support != 1 || back.Confusion[1][1] != 1 {
		t.Errorf("read back %+v", back)
	}
}

// TestReportProperties: the invariants hold for any answers at all.
func TestReportProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := rapid.IntRange(1, 9).Draw(rt, "labels")
		names := make([]string, k)
		for i := range names {
			names[i] = fmt.Sprint(i)
		}
		n := rapid.IntRange(1, 40).Draw(rt, "rows")
		rows, truth, answers := make([]Row, n), make([]int, n), make([]Answer, n)
		for i := range rows {
			truth[i] = rapid.IntRange(0, k-1).Draw(rt, "truth")
			rows[i] = Row{Line: i + 1, Answer: names[truth[i]]}
			if rapid.IntRange(0, 4).Draw(rt, "fails") == 0 {
				answers[i].Err = errors.New("failed")
				continue
			}
			d, err := labels.Softmax(rapid.SliceOfN(rapid.Float64Range(-50, 50), k, k).Draw(rt, "scores"))
			if err != nil {
				rt.Fatal(err)
			}
			answers[i].Distribution = d
		}
		checkReport(t, measure(setOf(t, names...), rows, truth, answers))
	})
}
