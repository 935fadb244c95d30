package load_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
)

// importedModel imports a package and opens it as a server does.
func importedModel(t *testing.T, o importer.Options) *runtime.Model {
	t.Helper()
	store := models.NewStore(t.TempDir())
	o.Name = "student"
	if _, err := importer.Import(t.Context(), store, o); err != nil {
		t.Fatal(err)
	}
	m, err := load.Model("student", load.Options{Home: store.Root()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func distributions(t *testing.T, b runtime.Backend, texts []string, method models.Scoring) []labels.Distribution {
	t.Helper()
	results, err := b.Score(t.Context(), runtime.Request{Texts: texts, Scoring: method})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]labels.Distribution, len(results))
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("row %d: %v", i, r.Err)
		}
		list[i] = r.Distribution
	}
	return list
}

// A package that holds only an adapter answers as the one with merged weights, and
// as transformers with PEFT did. The two merges differ: that of the merged package
// was made of base weights that had not been rounded to float16 yet.
func TestAdaptersAnswerAsMergedPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("scores 675 texts: not in short mode")
	}
	packages, shared := testenv.Packages(t), testenv.Shared(t)
	base := filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct")
	for _, c := range []struct {
		task, merged, golden string // merged: the package to compare with, if not with the goldens alone
		method               models.Scoring
		mean                 float64 // total variation distance from the goldens
	}{
		{"banking-routing", "merged", "chat", models.Likelihood, 0.002},
		{"banking-routing", "seqcls", "seqcls", models.Head, 0.002},
		{"ecommerce", "", "chat", models.Likelihood, 0.003},
		{"injury", "", "chat", models.Likelihood, 0.003},
		{"mental-health", "", "chat", models.Likelihood, 0.003},
	} {
		t.Run(c.task+" "+c.golden, func(t *testing.T) {
			g := readGolden(t, filepath.Join(shared, "models", c.task, c.golden, "golden.json"))
			texts, answers := testSet(t, filepath.Join(shared, "data", "tasks", c.task, "test.csv"))
			pack := filepath.Join(packages, c.task, "adapter.tar")
			if c.golden == "seqcls" {
				pack = classifierAdapter(t, filepath.Join(shared, "models", c.task, c.golden), base, g.Labels)
			}
			m := importedModel(t, importer.Options{Path: pack, Base: base})
			if c.merged != "" {
				want := importedModel(t, importer.Options{Path: filepath.Join(packages, c.task, c.merged+".tar")})
				sameAnswers(t, distributions(t, m, texts, c.method), distributions(t, want, texts, c.method))
			}
			if o := compare(t, m, g, texts, answers, c.method); o.agree != o.rows || o.mean > c.mean || o.right < o.goldenRight {
				t.Errorf("too far from the goldens: %+v", o)
			}
		})
	}
}

// sameAnswers wants the same best labels and next to no distance.
func sameAnswers(t *testing.T, got, want []labels.Distribution) {
	t.Helper()
	agree, mean, worst := 0, 0.0, 0.0
	for i := range want {
		a, _ := got[i].Best()
		b, _ := want[i].Best()
		if a == b {
			agree++
		}
		d := got[i].Distance(want[i])
		mean += d / float64(len(want))
		worst = max(worst, d)
	}
	t.Logf("with the merged package: best label equal on %d of %d rows, mean total variation %.5f, worst %.4f", agree, len(want), mean, worst)
	if agree != len(want) || mean > 0.001 || worst > 0.015 {
		t.Error("too far from the merged package")
	}
}

// classifierAdapter packs an adapter with the configuration that names its classes.
func classifierAdapter(t *testing.T, src, base string, classes []string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "package")
	if err := os.MkdirAll(filepath.Join(dir, "model-adapter"), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(base, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	id2label := map[int]string{}
	for i, name := range classes {
		id2label[i] = name
	}
	config["architectures"], config["id2label"] = []string{"LlamaForSequenceClassification"}, id2label
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"config.json": data}
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		if files[name], err = os.ReadFile(filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, "model-adapter", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
