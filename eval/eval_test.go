package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
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
		{"a", 2.0 / 3, 2.0 / 3, 2.0 / 3, 3, 3, 0},
		{"b", 1.0 / 2, 1.0 / 2, 1.0 / 2, 2, 2, 1},
		{"c", 1, 1.0 / 2, 2.0 / 3, 2, 1, 0},
	}
	for i, c := range r.PerClass {
		if c != want[i] {
			t.Errorf("class %d: %+v, want %+v", i, c, want[i])
		}
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
	if (r.LogLoss == nil) != (r.Errors == r.Rows) {
		t.Errorf("log loss %v with %d errors in %d rows", r.LogLoss, r.Errors, r.Rows)
	}
}

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
	} {
		if !near(pair[0], pair[1]) {
			t.Errorf("%s: %v, scikit-learn %v", name, pair[0], pair[1])
		}
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

func TestUnknownLabel(t *testing.T) {
	set := setOf(t, "card_fee", "cash_fee", "Überweisung")
	many := make([]string, 40)
	for i := range many {
		many[i] = strings.Repeat(string(rune('A'+i)), 5)
	}
	tests := []struct {
		name string
		set  *labels.Set
		rows []Row
		want string
	}{
		{"near", set, []Row{{2, "t", "card_fee"}, {3, "t", "crad_fee"}}, `line 3: label "crad_fee" is not one of the model's 3 labels; the nearest is "card_fee"`},
		{"letter case and space", set, []Row{{2, "t", " Card_Fee "}}, `label " Card_Fee " is not one of the model's 3 labels; the nearest is "card_fee"`},
		{"not ASCII", set, []Row{{2, "t", "überweisunk"}}, `the nearest is "Überweisung"`},
		{"more rows", set, []Row{{2, "t", "cash-fee"}, {3, "t", "x"}, {4, "t", "y"}}, `line 2: label "cash-fee" is not one of the model's 3 labels (nor are those of 2 more rows)`},
		{"far", set, []Row{{2, "t", "weather"}}, `line 2: label "weather" is not one of the model's 3 labels; they are ["card_fee" "cash_fee" "Überweisung"]`},
		{"far, many labels", setOf(t, many...), []Row{{2, "t", "weather"}}, `line 2: label "weather" is not one of the model's 40 labels`},
		{"endless label", set, []Row{{2, "t", strings.Repeat("card_fee", 1e6)}}, `card_fee…" is not one of`},
		{"no rows", set, nil, `there are no rows to evaluate`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &scripted{}
			_, err := Run(t.Context(), c, tt.set, tt.rows, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant …%s…", err, tt.want)
			}
			if err != nil && len(err.Error()) > 600 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if len(c.batches) > 0 {
				t.Error("the classifier ran before the labels were checked")
			}
		})
	}
}

// short breaks the classifier's contract.
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
		MacroF1          float64                       `json:"macro_f1"`
		AccuracyInterval []float64                     `json:"accuracy_interval"`
		PerClass         map[string]map[string]float64 `json:"per_class"`
		Confusion        [][]int
	}
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if back.Accuracy != 1 || back.MacroF1 != 1 || len(back.AccuracyInterval) != 2 || back.PerClass["a"]["support"] != 1 || back.Confusion[1][1] != 1 {
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

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"größe", "grösse", 2}} {
		if got := distance([]rune(tt.a), []rune(tt.b)); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
