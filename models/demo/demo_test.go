package demo_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/demo"
)

func readCSV(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows[1:]
}

// normal is a text without what does not make it another one.
func normal(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// The test set has ten different tickets for each of the model's labels.
func TestTestSetIsBalanced(t *testing.T) {
	if !demo.Present {
		t.Skip("the demo model is left out of this build")
	}
	m, err := models.ParseManifest(demo.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	count, seen := map[string]int{}, map[string]bool{}
	for _, row := range readCSV(t, "test.csv") {
		count[row[1]]++
		if key := normal(row[0]); key == "" || seen[key] {
			t.Errorf("ticket %q is empty or repeated", row[0])
		} else {
			seen[key] = true
		}
	}
	for _, l := range m.Labels {
		if count[l.Name] != 10 {
			t.Errorf("%d tickets for %s", count[l.Name], l.Name)
		}
	}
	if len(count) != len(m.Labels) {
		t.Errorf("labels %v", count)
	}
}

// No ticket of the test set stands in the data that the model was made from.
func TestTestSetIsItsOwn(t *testing.T) {
	data := filepath.Join(testenv.Shared(t), "data")
	known := map[string]bool{}
	for _, name := range []string{"tasks/banking-routing/train.csv", "tasks/banking-routing/test.csv", "teacher/banking-routing.csv"} {
		for _, row := range readCSV(t, filepath.Join(data, filepath.FromSlash(name))) {
			known[normal(row[0])] = true
		}
	}
	for _, row := range readCSV(t, "test.csv") {
		if known[normal(row[0])] {
			t.Errorf("ticket %q was in the model's data", row[0])
		}
	}
}
