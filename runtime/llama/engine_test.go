package llama

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/checkpoint"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// file writes a model as libllama reads it.
func file(t testing.TB, m enginetest.Model) (path string, classes int) {
	t.Helper()
	ck := m.Checkpoint(t)
	return writeGGUF(t, ck), len(ck.Config().Classes)
}

func writeGGUF(t testing.TB, ck checkpoint.Checkpoint) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(checkpoint.WriteGGUF(f, ck, true), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// families are those that llama.cpp computes as they are: it has no sliding window
// for mistral.
func families() []string {
	if testing.Short() { // the reference computes most of the time
		return []string{"llama"}
	}
	return []string{"llama", "qwen2", "qwen3", "gemma3"}
}

func options(t testing.TB, m enginetest.Model) Options {
	t.Helper()
	dir := testenv.Libllama(t)
	path, classes := file(t, m)
	return Options{Libraries: dir, Model: path, Classes: classes, Threads: 2, GPULayers: AutoLayers, MainGPU: -1}
}

func TestConformance(t *testing.T) {
	testenv.Libllama(t)
	enginetest.Suite{Tolerance: 0.005, Families: families(), Open: func(t *testing.T, m enginetest.Model) engine.Engine {
		e, err := New(enginetest.Tokens{}, options(t, m))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}}.Run(t)
}
