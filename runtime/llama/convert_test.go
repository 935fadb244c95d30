package llama

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/convert"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// converted writes a golden as a Hugging Face folder, and that as GGUF.
func converted(t *testing.T, g enginetest.Golden) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = convert.GGUF(t.Context(), g.Folder(t), f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// What package convert writes gives transformers' logits in libllama.
func TestConvertedGoldens(t *testing.T) {
	libraries := testenv.Libllama(t)
	for _, g := range append(enginetest.Goldens(t), enginetest.Foreign(t)...) {
		switch g.Name {
		case "mistral", "qwen2", "gemma3":
			continue // llama.cpp has no window in the first two, and no scale of queries in the last
		}
		if g.Classifier() {
			continue
		}
		t.Run(g.Name, func(t *testing.T) {
			e, err := New(hybridTokens{}, Options{Libraries: libraries, Model: converted(t, g), Threads: 2, GPULayers: AutoLayers, MainGPU: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			pre, err := e.Prefix(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			tree := engine.Chain(g.Tokens)
			for i, row := range g.Logits {
				want := engine.Want{Node: i}
				for c := range row {
					want.Columns = append(want.Columns, int32(c))
				}
				tree.Wants = append(tree.Wants, want)
			}
			out, err := e.Eval(t.Context(), pre, []engine.Tree{tree})
			if err != nil {
				t.Fatal(err)
			}
			worst := 0.0
			for i, row := range out[0].Logits {
				worst = max(worst, softmax32(row).Distance(softmax32(g.Logits[i])))
			}
			t.Logf("at most %.5f from transformers", worst)
			if !(worst <= hybridTolerance) {
				t.Errorf("%.4f from transformers", worst)
			}
		})
	}
}
