package load_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/libraries/install"
	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/demo"
	"cubby/models/importer"
	"cubby/runtime"
)

// strangeFolder is the demo model under the name of an architecture that the
// native engine does not know and llama.cpp does, with the same tensors. Its
// answers mean nothing.
func strangeFolder(t *testing.T) string {
	t.Helper()
	if !demo.Present {
		t.Skip("built without the demo model")
	}
	m, err := load.Open("demo", load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	manifest, err := models.ParseManifest(demo.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	weights := bytes.ReplaceAll(demo.Files()[manifest.Weights], []byte("llama."), []byte("gemma."))
	key := []byte("general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00")
	weights = bytes.Replace(weights, append(key, "llama"...), append(bytes.Clone(key), "gemma"...), 1)
	manifest.Canary = nil
	for i, f := range manifest.Files {
		if f.Path == manifest.Weights {
			manifest.Files[i].SHA256 = models.Digest(sha256.Sum256(weights))
		}
	}
	dir := t.TempDir()
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{models.ManifestName: data, manifest.Weights: weights} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A family that the native engine does not know is imported, with its canary, and
// served where the libraries of llama.cpp are installed; elsewhere the error says
// how to get them.
func TestUnknownFamily(t *testing.T) {
	dir, home := strangeFolder(t), t.TempDir()
	_, err := load.Open(dir, load.Options{Home: home})
	if err == nil || !strings.Contains(err.Error(), `"gemma"`) || !strings.Contains(err.Error(), "fetch runtime") {
		t.Errorf("without libraries: %v", err)
	}
	if _, err := install.Install(t.Context(), install.Options{Home: home, Paths: []string{testenv.Libllama(t)}}); err != nil {
		t.Fatal(err)
	}
	store := models.NewStore(home)
	res, err := importer.Import(t.Context(), store, importer.Options{Path: dir, Name: "strange", Start: load.Starter(home)})
	if err != nil || res.Manifest.Canary == nil {
		t.Fatal(res.Manifest.Canary, err)
	}
	m, err := load.Open("strange", load.Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if i := m.Info(); i.Engine.Engine != load.LibLlama || !strings.Contains(i.Choice, `does not know the family "gemma"`) {
		t.Errorf("engine %s: %s", i.Engine.Engine, i.Choice)
	}
	if err := m.CheckCanary(t.Context()); err != nil {
		t.Error(err)
	}
	r, err := m.Score(t.Context(), runtime.Request{Texts: []string{"where is my cash"}})
	if err != nil || r[0].Err != nil || r[0].Distribution.Check() != nil {
		t.Error(err, r)
	}

	library := filepath.Join(home, "runtimes")
	found, err := filepath.Glob(filepath.Join(library, "*", "libllama.*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Truncate(found[0], 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := load.Open("strange", load.Options{Home: home}); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "fetch runtime") {
		t.Errorf("with a cut library: %v", err)
	}
}
