package load_test

import (
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/libraries/install"
	"cubby/internal/load"
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

func adapterOf(t *testing.T, task string) string {
	return filepath.Join(testenv.Packages(t), task, "adapter.tar")
}

// besideBase imports a task's adapter beside a base, under the task's name.
func besideBase(t *testing.T, store *models.Store, task, base string) importer.Result {
	t.Helper()
	res, err := importer.Import(t.Context(), store, importer.Options{
		Path: adapterOf(t, task), Name: task, Base: base, KeepAdapter: true, Convert: toGGUF, Start: load.Starter(store.Root()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// every is which texts are scored: libllama takes long over all of them.
const every = 4

// goldens are every so many texts of a task's test set, with the probabilities that
// transformers gave them, in the order of a label set.
func goldens(t *testing.T, task string, set *labels.Set) (texts []string, want []labels.Distribution) {
	t.Helper()
	shared := testenv.Shared(t)
	g := readGolden(t, filepath.Join(shared, "models", task, "chat", "golden.json"))
	all, _ := testSet(t, filepath.Join(shared, "data", "tasks", task, "test.csv"))
	for i := 0; i < len(all); i += every {
		d, err := labels.Softmax(g.Scores[i])
		if err != nil {
			t.Fatal(err)
		}
		row := make(labels.Distribution, set.Len())
		for j, name := range g.Labels {
			k, ok := set.Index(name)
			if !ok {
				t.Fatalf("the model has no label %q", name)
			}
			row[k] = d[j]
		}
		texts, want = append(texts, all[i]), append(want, row)
	}
	return texts, want
}

// agreement counts over tasks.
type agreement struct{ rows, agree int }

// add wants little distance on average, and counts equal best labels.
func (a *agreement) add(t *testing.T, what string, got, want []labels.Distribution) {
	t.Helper()
	agree, mean, worst := 0, 0.0, 0.0
	for i := range want {
		x, _ := got[i].Best()
		if y, _ := want[i].Best(); x == y {
			agree++
		}
		d := got[i].Distance(want[i])
		mean, worst = mean+d/float64(len(want)), max(worst, d)
	}
	a.rows, a.agree = a.rows+len(want), a.agree+agree
	t.Logf("with %s: best label equal on %d of %d rows, total variation %.5f on average, %.4f at most", what, agree, len(want), mean, worst)
	if mean > 0.004 {
		t.Errorf("too far from %s", what)
	}
}

// most wants all but near ties, which llama.cpp's rounding of keys and values turns.
func (a *agreement) most(t *testing.T) {
	t.Helper()
	if float64(a.agree) < 0.98*float64(a.rows) {
		t.Errorf("best label equal on %d of %d rows", a.agree, a.rows)
	}
}

// An adapter kept beside its base answers, with libllama, as transformers with PEFT
// did in float32, and as the merged import does.
func TestAdaptersBesideTheirBase(t *testing.T) {
	if testing.Short() {
		t.Skip("scores 49 texts with libllama: not in short mode")
	}
	store := llamaStore(t)
	base := filepath.Join(testenv.Packages(t), "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct")
	var golden, merged agreement
	for _, task := range []string{"banking-routing", "injury"} {
		t.Run(task, func(t *testing.T) {
			kept := besideBase(t, store, task, base)
			m, err := load.Model(task, load.Options{Home: store.Root()})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			for engine, problem := range map[string]string{load.Native: "use -engine llama", load.Ollama: "the engine ollama is not given adapters"} {
				if _, err := load.Model(task, load.Options{Home: store.Root(), Engine: engine}); err == nil || !strings.Contains(err.Error(), problem) {
					t.Errorf("%s: %v", engine, err)
				}
			}
			texts, want := goldens(t, task, m.Info().Labels)
			got := distributions(t, m, texts, models.Likelihood)
			golden.add(t, "transformers", got, want)
			other, err := importer.Import(t.Context(), store, importer.Options{Path: adapterOf(t, task), Name: "merged", Base: base})
			if err != nil {
				t.Fatal(err)
			}
			if a, b := kept.Manifest, other.Manifest; a.Prompt != b.Prompt || a.Answer != b.Answer {
				t.Errorf("prompt %q and answer %+v; merged %q and %+v", a.Prompt, a.Answer, b.Prompt, b.Answer)
			}
			native, err := load.Model("merged", load.Options{Home: store.Root(), Engine: load.Native})
			if err != nil {
				t.Fatal(err)
			}
			defer native.Close()
			merged.add(t, "the merged adapter", got, distributions(t, native, texts, models.Likelihood))
		})
	}
	golden.most(t)
	merged.most(t)
}
