package load_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
)

// labelNames returns n label names: those of BANKING77 (Casanueva et al. 2020,
// CC-BY-4.0, the 77 intents of testdata/banking77.txt), and beyond them each of
// them again for one product after the other.
func labelNames(tb testing.TB, n int) []string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "banking77.txt"))
	if err != nil {
		tb.Fatal(err)
	}
	names := strings.Fields(string(text))
	for i := 0; len(names) < n; i++ {
		names = append(names, fmt.Sprintf("%s_of_product_%d", names[i%77], 1+i/77))
	}
	return names[:n]
}

// withLabels opens the banking-routing student with n labels that it was not
// trained on.
func withLabels(tb testing.TB, n int) *runtime.Model {
	tb.Helper()
	classes := map[string]string{}
	for _, name := range labelNames(tb, n) {
		classes[name] = ""
	}
	job, err := json.Marshal(map[string]any{"task_description": "route tickets", "classes_description": classes})
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "job_description.json")
	if err := os.WriteFile(path, job, 0o600); err != nil {
		tb.Fatal(err)
	}
	store := models.NewStore(tb.TempDir())
	if _, err := importer.Import(tb.Context(), store, importer.Options{
		Path: filepath.Join(testenv.Packages(tb), "banking-routing", "gguf.tar"), Name: "many", Job: path,
	}); err != nil {
		tb.Fatal(err)
	}
	m, err := load.Model("many", load.Options{Home: store.Root()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// BenchmarkLabels scores 16 tickets a call among more and more labels.
func BenchmarkLabels(b *testing.B) {
	texts, _ := testSet(b, filepath.Join(testenv.Shared(b), "data", "tasks", "banking-routing", "test.csv"))
	for _, n := range []int{8, 77, 500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := withLabels(b, n)
			unresolved := 0.0
			for b.Loop() {
				results, err := m.Score(b.Context(), runtime.Request{Texts: texts[:16]})
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range results {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
					unresolved = max(unresolved, r.Unresolved)
				}
			}
			b.ReportMetric(float64(16*b.N)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(unresolved, "unresolved")
		})
	}
}
