package load_test

import (
	"path/filepath"
	"testing"

	"cubby/internal/libraries/install"
	"cubby/internal/load"
	"cubby/internal/realserver"
	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/models/importer"
)

// llamaStore is a store in which libllama is installed.
func llamaStore(t *testing.T) *models.Store {
	t.Helper()
	home := t.TempDir()
	if _, err := install.Install(t.Context(), install.Options{Home: home, Paths: []string{testenv.Libllama(t)}}); err != nil {
		t.Fatal(err)
	}
	return models.NewStore(home)
}

// besideBase imports a task's adapter beside a base into a store.
func besideBase(t *testing.T, store *models.Store, task, name, base string) importer.Result {
	t.Helper()
	res, err := importer.Import(t.Context(), store, importer.Options{
		Path: filepath.Join(testenv.Packages(t), task, "adapter.tar"), Name: name, Base: base, KeepAdapter: true, Convert: toGGUF, Start: load.Starter(store.Root()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// quarter takes every fourth row.
func quarter(g golden, texts, answers []string) (golden, []string, []string) {
	var few golden
	var fewTexts, fewAnswers []string
	few.Labels = g.Labels
	for i := 0; i < len(texts); i += 4 {
		few.Scores = append(few.Scores, g.Scores[i])
		fewTexts, fewAnswers = append(fewTexts, texts[i]), append(fewAnswers, answers[i])
	}
	return few, fewTexts, fewAnswers
}

// flipped is the share of rows whose best label may not be the golden's: near
// ties that llama.cpp's rounding of keys and values turns.
const flipped = 0.02

// An adapter kept beside its base answers, with libllama, as transformers with PEFT
// did in float32, and as the merged import does: on every fourth text, for libllama
// takes long over those of all.
func TestAdaptersBesideTheirBase(t *testing.T) {
	if testing.Short() {
		t.Skip("scores 96 texts twice: not in short mode")
	}
	packages, shared, store := testenv.Packages(t), testenv.Shared(t), llamaStore(t)
	base := filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct")
	for _, task := range []string{"banking-routing", "ecommerce", "injury", "mental-health"} {
		t.Run(task, func(t *testing.T) {
			g := readGolden(t, filepath.Join(shared, "models", task, "chat", "golden.json"))
			texts, answers := testSet(t, filepath.Join(shared, "data", "tasks", task, "test.csv"))
			g, texts, answers = quarter(g, texts, answers)
			besideBase(t, store, task, task, base)
			m, err := load.Model(task, load.Options{Home: store.Root()})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			o := compare(t, m, g, texts, answers, models.Likelihood)
			if float64(o.agree) < (1-flipped)*float64(o.rows) || o.mean > 0.01 {
				t.Errorf("too far from the goldens: %+v", o)
			}
			merged := importedModel(t, importer.Options{Path: filepath.Join(packages, task, "adapter.tar"), Base: base})
			near(t, distributions(t, m, texts, models.Likelihood), distributions(t, merged, texts, models.Likelihood), 0.01)
		})
	}
}

// near wants answers that differ in near ties only.
func near(t *testing.T, got, want []labels.Distribution, most float64) {
	t.Helper()
	d := realserver.Compare(got, want)
	t.Logf("with the merged adapter: best label equal on %d of %d rows, mean total variation %.5f, worst %.4f", d.Agree, len(want), d.Mean, d.Worst)
	if float64(d.Agree) < (1-flipped)*float64(len(want)) || d.Mean > most {
		t.Error("too far from the merged adapter")
	}
}
