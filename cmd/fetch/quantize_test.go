package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/rounding"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/quantize"
)

// A trained student, as merged safetensors of 16 bits, is rounded to the smallest type
// that its own test set does not tell from it.
func TestQuantizeAuto(t *testing.T) {
	if testing.Short() {
		t.Skip("it answers a test set six times")
	}
	archive := filepath.Join(testenv.Packages(t), "banking-routing", "merged.tar")
	home := t.TempDir()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"fetch", "-home", home, "import", archive, "-name", "banking", "-quantize", "auto", "-no-replay"}, &stdout, &stderr)
	if code != exitOK {
		t.Fatalf("code %d\n%s", code, stderr.String())
	}
	m, err := models.NewStore(home).Open("banking")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	data, err := os.ReadFile(filepath.Join(m.Folder(), models.DataFolder, "quantization.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r rounding.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + stdout.String())
	if len(r.Tried) != len(quantize.Schemes()) || r.Rows != 96 || r.Tried[0].Type != "F16" {
		t.Fatalf("%+v", r)
	}
	if !strings.Contains(stdout.String(), "chosen: ") || !strings.Contains(stdout.String(), "installed banking: 8 labels") {
		t.Errorf("%s", stdout.String())
	}
	// The rule says what it may be, not this machine: on any, 8 bits move answers less
	// than 4.
	first, last := r.Tried[1].Compared, r.Tried[len(r.Tried)-1].Compared
	if r.Tried[1].Type != "q8_0" || first.Mean >= last.Mean || first.Same < 94 {
		t.Errorf("%+v, %+v", first, last)
	}
	if q := m.Manifest.Source.Quantized; (q == nil) != (r.Chosen == "F16") || q != nil && (q.To != r.Chosen || q.From != "F16" || len(q.Files) != 1) {
		t.Errorf("chosen %s, source %+v", r.Chosen, m.Manifest.Source.Quantized)
	}
}
