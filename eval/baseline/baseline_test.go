package baseline

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"cubby/eval"
	"cubby/labels"
)

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

// tolerance is what two optimisers that both stop close to the minimum may differ by.
const tolerance = 1e-4

// TestGolden compares with scikit-learn: see testdata/golden.py.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Labels []string
		Train  []struct{ Text, Label string }
		Probe  []struct {
			Text          string
			Probabilities []float64
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	var rows []eval.Row
	for i, r := range golden.Train {
		rows = append(rows, eval.Row{Line: i + 2, Text: r.Text, Answer: r.Label})
	}
	m, err := Train(setOf(t, golden.Labels...), rows)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range golden.Probe {
		texts = append(texts, p.Text)
	}
	answers, err := m.Classify(t.Context(), texts)
	if err != nil || len(answers) < 30 {
		t.Fatal(len(answers), err)
	}
	worst := 0.0
	for i, a := range answers {
		for k, p := range golden.Probe[i].Probabilities {
			worst = max(worst, math.Abs(a.Distribution[k]-p))
		}
	}
	if worst > tolerance {
		t.Errorf("a probability differs from scikit-learn's by %g", worst)
	}
}

func TestTrainRefuses(t *testing.T) {
	set := setOf(t, "a", "b", "c")
	for want, rows := range map[string][]eval.Row{
		"there are no rows":       nil,
		"one label only":          {{Line: 2, Text: "x", Answer: "a"}, {Line: 3, Text: "y", Answer: "a"}},
		`label "d" is not one of`: {{Line: 2, Text: "x", Answer: "a"}, {Line: 3, Text: "y", Answer: "d"}},
	} {
		if _, err := Train(set, rows); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestUnseen: a label without rows gets nothing, an empty text no answer, and a text of
// unknown words the intercepts'.
func TestUnseen(t *testing.T) {
	m, err := Train(setOf(t, "a", "never", "b"), []eval.Row{{Line: 2, Text: "red apple", Answer: "a"}, {Line: 3, Text: "blue berry", Answer: "b"}, {Line: 4, Text: "", Answer: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := m.Classify(t.Context(), []string{"red", "zzz", " "})
	if err != nil {
		t.Fatal(err)
	}
	if best, _ := answers[0].Distribution.Best(); best != 0 || answers[0].Distribution[1] != 0 || answers[0].Distribution.Check() != nil {
		t.Errorf("%+v", answers[0])
	}
	if best, _ := answers[1].Distribution.Best(); best != 2 || answers[2].Err == nil {
		t.Errorf("%+v", answers[1:])
	}
}

func FuzzTerms(f *testing.F) {
	f.Add("Card swiped twice!", "naïve 数据")
	f.Fuzz(func(t *testing.T, a, b string) {
		m, err := Train(setOf(t, "a", "b"), []eval.Row{{Line: 2, Text: a, Answer: "a"}, {Line: 3, Text: b, Answer: "b"}})
		if err != nil {
			t.Fatal(err)
		}
		answers, err := m.Classify(t.Context(), []string{a, b, a + b})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range answers {
			if x.Err == nil && x.Distribution.Check() != nil {
				t.Fatalf("text %d: %+v", i, x)
			}
		}
	})
}

func BenchmarkTrain(b *testing.B) {
	var rows []eval.Row
	for i := range 1000 {
		rows = append(rows, eval.Row{Line: i, Text: fmt.Sprintf("w%d w%d w%d w%d", i%10, i%97, i%31, i), Answer: fmt.Sprint(i % 10)})
	}
	set := setOf(b, strings.Split("0 1 2 3 4 5 6 7 8 9", " ")...)
	for b.Loop() {
		if _, err := Train(set, rows); err != nil {
			b.Fatal(err)
		}
	}
}
