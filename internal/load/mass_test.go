package load_test

import (
	"path/filepath"
	"testing"

	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/demo"
	"cubby/models/importer"
	"cubby/runtime"
)

// A trained model gives nearly all of its probability to answers in the form that it
// was trained on, and nothing to them in another.
func TestAnswerMassOfStudents(t *testing.T) {
	check := func(t *testing.T, m *runtime.Model, end string) {
		forms := []models.Answer{
			{Form: models.Bare, End: end},
			{Form: models.Tagged, Prefix: "<output>", Suffix: "</output>", End: end},
			{Form: models.JSON, Prefix: `{"label": "`, Suffix: `"}`, End: end},
		}
		masses, err := m.AnswerMass(t.Context(), forms)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("bare %g, tagged %g, JSON %g", masses[0], masses[1], masses[2])
		if masses[0] < 0.9 || masses[1] > 1e-3 || masses[2] > 1e-3 {
			t.Errorf("masses %v", masses)
		}
	}
	t.Run("demo", func(t *testing.T) {
		if !demo.Present {
			t.Skip("the demo model is left out of this build")
		}
		m, err := load.Model(models.DemoName, load.Options{Home: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check(t, m, "<|im_end|>")
	})
	for _, task := range []string{"banking-routing", "ecommerce", "injury", "mental-health"} {
		t.Run(task, func(t *testing.T) {
			archive := filepath.Join(testenv.Packages(t), task, "gguf.tar")
			store := models.NewStore(t.TempDir())
			if _, err := importer.Import(t.Context(), store, importer.Options{Path: archive, Name: "a"}); err != nil {
				t.Fatal(err)
			}
			m, err := load.Model("a", load.Options{Home: store.Root()})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			check(t, m, "<|im_end|>")
		})
	}
}
