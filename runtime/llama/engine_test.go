package llama

import (
	"os"
	"path/filepath"
	"testing"

	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// libraries is the folder of the libraries to test with.
func libraries(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CUBBY_TEST_LIBLLAMA")
	if dir == "" {
		t.Skip("CUBBY_TEST_LIBLLAMA does not name a folder of libllama's libraries")
	}
	return dir
}

func file(t testing.TB, m enginetest.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, m.GGUF, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformance(t *testing.T) {
	dir := libraries(t)
	enginetest.Suite{Tolerance: 0.005, Open: func(t *testing.T, m enginetest.Model) engine.Engine {
		e, err := New(enginetest.Tokens{}, Options{Libraries: dir, Model: file(t, m), Threads: 2, GPULayers: AutoLayers, MainGPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}}.Run(t)
}
