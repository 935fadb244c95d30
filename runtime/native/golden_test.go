package native

import (
	"math"
	"testing"

	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// What every family is held to, against transformers in float32.
const (
	// goldenLogits is the largest difference of a logit in the Float32 precision;
	// logits are up to 14. Measured: 0.00001.
	goldenLogits = 0.0001
	// goldenDistance is the largest total variation distance of a position's
	// distribution over the vocabulary, from weights that are not rounded to int8.
	// Measured: 0.0015.
	goldenDistance = 0.003
	// goldenQ8 is the same from Q8_0 weights: most of it is the rounding of the
	// weights. Measured: 0.022.
	goldenQ8 = 0.04
)

// vocabulary is a tokenizer of a given size, for models without one.
type vocabulary struct {
	enginetest.Tokens
	n int
}

func (v vocabulary) Len() int { return v.n }

// TestGoldens holds every family to transformers: in Float32 from either kind of
// file, in int8 from floats and from Q8_0.
func TestGoldens(t *testing.T) {
	for _, g := range enginetest.Goldens(t) {
		hf := g.HF(t)
		check := func(name string, ck checkpoint.Checkpoint, p Precision, apart func(x, y []float32) float64, limit float64) {
			t.Run(g.Name+", "+name, func(t *testing.T) {
				worst := 0.0
				for i, logits := range evalGolden(t, g, ck, p) {
					worst = max(worst, apart(logits, g.Logits[i]))
				}
				t.Logf("largest difference %.6f", worst)
				if !(worst <= limit) {
					t.Errorf("%.6f from transformers, more than %.6f", worst, limit)
				}
			})
		}
		check("safetensors in float32", hf, Float32, difference, goldenLogits)
		check("safetensors in int8", hf, Int8, distance, goldenDistance)
		if m, ok := g.GGUF(t, gguf.F32); ok {
			check("GGUF in float32", m.Checkpoint(t), Float32, difference, goldenLogits)
		}
		if m, ok := g.GGUF(t, gguf.Q8_0); ok {
			check("Q8_0 in float32", m.Checkpoint(t), Float32, distance, goldenQ8)
			check("Q8_0 in int8", m.Checkpoint(t), Int8, distance, goldenQ8)
		}
	}
}

// evalGolden computes a golden's logits: the first half of its text without a
// prefix, the second behind the first.
func evalGolden(t *testing.T, g enginetest.Golden, ck checkpoint.Checkpoint, p Precision) [][]float32 {
	t.Helper()
	e, err := New(ck, vocabulary{n: ck.Config().Vocab}, Options{Threads: 2, Precision: p})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	half := len(g.Tokens) / 2
	var list [][]float32
	for _, part := range [][2]int{{0, half}, {half, len(g.Tokens)}} {
		pre, err := e.Prefix(t.Context(), g.Tokens[:part[0]])
		if err != nil {
			t.Fatal(err)
		}
		tree := engine.Chain(g.Tokens[part[0]:part[1]])
		if g.Classifier() {
			tree.Pooled = len(tree.Tokens) - 1
		} else {
			for i := range tree.Tokens {
				tree.Wants = append(tree.Wants, engine.Want{Node: i, Columns: columns(ck.Config().Vocab)})
			}
		}
		out, err := e.Eval(t.Context(), pre, []engine.Tree{tree})
		if err != nil {
			t.Fatal(err)
		}
		if g.Classifier() {
			list = [][]float32{out[0].Scores}
		} else {
			list = append(list, out[0].Logits...)
		}
	}
	if len(list) != len(g.Logits) {
		t.Fatalf("%d positions, want %d", len(list), len(g.Logits))
	}
	return list
}

func columns(n int) []labels.Token {
	list := make([]labels.Token, n)
	for i := range list {
		list[i] = labels.Token(i)
	}
	return list
}

// difference is the largest of two logits.
func difference(x, y []float32) float64 {
	d := 0.0
	for i := range x {
		d = max(d, math.Abs(float64(x[i])-float64(y[i])))
	}
	return d
}

// distance is the total variation distance of two softmaxes.
func distance(x, y []float32) float64 {
	p, q := softmax(x), softmax(y)
	d := 0.0
	for i := range p {
		d += math.Abs(p[i]-q[i]) / 2
	}
	return d
}

func softmax(x []float32) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, float64(v))
	}
	p := make([]float64, len(x))
	for i, v := range x {
		p[i] = math.Exp(float64(v) - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}
