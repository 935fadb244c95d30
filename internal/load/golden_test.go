package load_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/load"
	"cubby/internal/rows"
	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
)

// golden holds the scores of a task's test set from Hugging Face transformers
// in fp32: natural log-likelihoods, one row a text, one column a label.
type golden struct {
	Labels []string    `json:"labels"`
	Scores [][]float64 `json:"scores"`
	Pred   []string    `json:"pred"`
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func testSet(t *testing.T, path string) (texts, answers []string) {
	t.Helper()
	r, err := rows.Open(path, nil, rows.Labeled)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range list {
		texts, answers = append(texts, row.Text), append(answers, row.Answer)
	}
	return texts, answers
}

// outcome compares a model's answers with a golden's.
type outcome struct {
	rows, agree, right, goldenRight int
	mean, worst                     float64 // total variation distance
}

func compare(t *testing.T, b runtime.Backend, g golden, texts, answers []string, method models.Scoring) outcome {
	t.Helper()
	results, err := b.Score(context.Background(), runtime.Request{Texts: texts, Scoring: method})
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{rows: len(texts)}
	set := b.Info().Labels
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("row %d: %v", i, r.Err)
		}
		want, err := labels.Softmax(g.Scores[i])
		if err != nil {
			t.Fatal(err)
		}
		d := 0.0
		for j, name := range g.Labels {
			k, ok := set.Index(name)
			if !ok {
				t.Fatalf("the model has no label %q", name)
			}
			d += math.Abs(r.Distribution[k]-want[j]) / 2
		}
		o.mean += d / float64(len(texts))
		o.worst = max(o.worst, d)
		best, _ := r.Distribution.Best()
		wantBest, _ := want.Best()
		if set.Name(best) == g.Labels[wantBest] {
			o.agree++
		}
		if set.Name(best) == answers[i] {
			o.right++
		}
		if g.Labels[wantBest] == answers[i] {
			o.goldenRight++
		}
	}
	t.Logf("%s: best label equal on %d of %d rows, mean total variation %.4f, worst %.4f; accuracy %.3f, golden's %.3f",
		method, o.agree, o.rows, o.mean, o.worst, float64(o.right)/float64(o.rows), float64(o.goldenRight)/float64(o.rows))
	return o
}

// The demo's goldens come from its weights before Q4_0, so the distance is that
// of the quantisation, not of the engine.
func TestDemoAgreesWithItsGoldens(t *testing.T) {
	g := readGolden(t, filepath.Join(testenv.Root(t), "models", "demo", "golden.json"))
	texts, answers := testSet(t, filepath.Join(testenv.Shared(t), "data", "tasks", "banking-routing", "test.csv"))
	m, err := load.Model("demo", load.Options{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := compare(t, m, g, texts, answers, models.Likelihood)
	if o.agree < 92 || o.mean > 0.04 || o.right < o.goldenRight-3 {
		t.Errorf("too far from the goldens: %+v", o)
	}
	compare(t, m, g, texts, answers, models.Constrained)
}
