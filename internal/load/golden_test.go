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
	"cubby/models/importer"
	"cubby/runtime"
	"cubby/runtime/native/kernel"
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

func testSet(t testing.TB, path string) (texts, answers []string) {
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
	for _, method := range []models.Scoring{models.Likelihood, models.Constrained} {
		o := compare(t, m, g, texts, answers, method)
		if o.agree < 92 || o.mean > 0.035 || o.right < o.goldenRight-2 {
			t.Errorf("%s: too far from the goldens: %+v", method, o)
		}
	}
}

// Every packaged student holds to its goldens. float16 packages differ from
// float32 arithmetic by next to nothing; the rounding of a Q8_0 file is its own and shows with any engine.
func TestPackagesAgreeWithTheirGoldens(t *testing.T) {
	if testing.Short() {
		t.Skip("scores 680 texts: not in short mode")
	}
	packages, shared := testenv.Packages(t), testenv.Shared(t)
	for _, c := range []struct {
		task, shape, golden string
		flips               int     // best labels that may differ
		mean                float64 // total variation distance
	}{
		{"banking-routing", "merged", "chat", 0, 0.002}, {"banking-routing", "gguf", "chat", 1, 0.012},
		{"banking-routing", "seqcls", "seqcls", 0, 0.002},
		{"ecommerce", "merged", "chat", 0, 0.003}, {"ecommerce", "gguf", "chat", 3, 0.026},
		{"injury", "merged", "chat", 0, 0.003}, {"injury", "gguf", "chat", 2, 0.02},
		{"mental-health", "merged", "chat", 0, 0.003}, {"mental-health", "gguf", "chat", 1, 0.014},
	} {
		t.Run(c.task+" "+c.shape, func(t *testing.T) {
			store := models.NewStore(t.TempDir())
			_, err := importer.Import(t.Context(), store, importer.Options{
				Path: filepath.Join(packages, c.task, c.shape+".tar"), Name: "student",
			})
			if err != nil {
				t.Fatal(err)
			}
			m, err := load.Model("student", load.Options{Home: store.Root()})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			g := readGolden(t, filepath.Join(shared, "models", c.task, c.golden, "golden.json"))
			texts, answers := testSet(t, filepath.Join(shared, "data", "tasks", c.task, "test.csv"))
			method := models.Likelihood
			if c.shape == "seqcls" {
				method = models.Head
			}
			o := compare(t, m, g, texts, answers, method)
			if o.agree < o.rows-c.flips || o.mean > c.mean || o.right < o.goldenRight-1 || o.right > o.goldenRight+1 {
				t.Errorf("too far from the goldens: %+v", o)
			}
		})
	}
}

// A model imported on one processor is ready on any other.
func TestCanaryHoldsOnEveryLevel(t *testing.T) {
	for _, level := range kernel.Levels() {
		m, err := load.Model("demo", load.Options{Home: t.TempDir(), CPU: string(level)})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.CheckCanary(t.Context()); err != nil {
			t.Errorf("%s: %v", level, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
