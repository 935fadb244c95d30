package enginetest

import (
	"math"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
)

// goldenTolerance is how far the float64 reference may be from transformers'
// float32 logits, whose size is about 10. Measured: 0.000008.
const goldenTolerance = 0.0001

// TestReference holds the suite's own computation to that of transformers, for
// models read from either kind of file.
func TestReference(t *testing.T) {
	for _, g := range Goldens(t) {
		files := map[string]checkpoint.Checkpoint{"safetensors": g.HF(t)}
		if m, ok := g.GGUF(t, gguf.F32); ok {
			files["GGUF"] = m.Checkpoint(t)
		}
		for kind, ck := range files {
			t.Run(g.Name+", "+kind, func(t *testing.T) {
				r := newReference(ck)
				worst := 0.0
				states := r.states(g.Tokens)
				for i, want := range g.Logits {
					got := r.logits(states[i])
					if g.Classifier() {
						got = r.product("cls.output.weight", states[len(states)-1])
					}
					if len(got) != len(want) {
						t.Fatalf("%d logits, want %d", len(got), len(want))
					}
					for j, v := range got {
						worst = max(worst, math.Abs(v-float64(want[j])))
					}
				}
				t.Logf("largest difference %.7f", worst)
				if !(worst <= goldenTolerance) {
					t.Errorf("logits differ by up to %.6f, more than %.6f", worst, goldenTolerance)
				}
			})
		}
	}
}
