package llama

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// hybridTolerance is the largest total variation distance from float32 arithmetic
// on the CPU: keys and values are float16, and so are the weights and the texts'
// activations in their products.
const hybridTolerance = 0.01

// hybrid is a model that keeps a state a sequence. testdata/make.py made it and
// says what it holds.
type hybrid struct {
	Name   string
	Tokens []labels.Token
	Logits [][]float64
}

func hybrids(t *testing.T) []hybrid {
	t.Helper()
	data, err := os.ReadFile("testdata/hybrid.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []hybrid
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list
}

func (h hybrid) open(t *testing.T) *Engine {
	t.Helper()
	e, err := New(hybridTokens{}, Options{
		Libraries: testenv.Libllama(t), Model: filepath.Join("testdata", h.Name+".gguf"), Threads: 2, GPULayers: AutoLayers, MainGPU: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// hybridTokens has as many ids as the models have rows.
type hybridTokens struct{ enginetest.Tokens }

func (hybridTokens) Len() int { return 64 }

func softmax(row []float64) labels.Distribution {
	d, err := labels.Softmax(row)
	if err != nil {
		panic(err)
	}
	return d
}

func softmax32(row []float32) labels.Distribution {
	wide := make([]float64, len(row))
	for i, v := range row {
		wide[i] = float64(v)
	}
	return softmax(wide)
}

func (h hybrid) columns() []labels.Token {
	list := make([]labels.Token, len(h.Logits[0]))
	for i := range list {
		list[i] = labels.Token(i)
	}
	return list
}

// want asks for every node's next token.
func (h hybrid) want(t *engine.Tree) {
	for i := range t.Tokens {
		t.Wants = append(t.Wants, engine.Want{Node: i, Columns: h.columns()})
	}
}

// The logits behind every token are transformers', whatever part of the text is
// the prefix, and whatever of the prefix a tree leaves out.
func TestHybridGoldens(t *testing.T) {
	for _, h := range hybrids(t) {
		t.Run(h.Name, func(t *testing.T) {
			e := h.open(t)
			if !e.facts.Recurrent {
				t.Fatal("libllama does not call it recurrent: nothing is shown")
			}
			worst := 0.0
			for _, cut := range []int{0, 1, 9, 20} {
				pre, err := e.Prefix(t.Context(), h.Tokens[:cut])
				if err != nil {
					t.Fatal(err)
				}
				for back := range min(cut, 6) + 1 {
					tree := engine.Chain(h.Tokens[cut-back:])
					tree.Back = back
					h.want(&tree)
					out, err := e.Eval(t.Context(), pre, []engine.Tree{tree})
					if err != nil {
						t.Fatal(err)
					}
					for i, row := range out[0].Logits {
						d := softmax32(row).Distance(softmax(h.Logits[cut-back+i]))
						worst = math.Max(worst, d)
						if !(d <= hybridTolerance) {
							t.Fatalf("prefix of %d, %d left out, position %d: %.4f from transformers", cut, back, cut-back+i, d)
						}
					}
				}
			}
			t.Logf("at most %.5f from transformers", worst)
		})
	}
}

// Trees of one pass that leave out more different numbers of the prefix's last
// tokens than are kept are answered as if each were alone.
func TestHybridManyBacks(t *testing.T) {
	for _, h := range hybrids(t) {
		e := h.open(t)
		pre, err := e.Prefix(t.Context(), h.Tokens[:20])
		if err != nil {
			t.Fatal(err)
		}
		var trees []engine.Tree
		for back := range 7 {
			tree := engine.Chain(h.Tokens[20-back:])
			tree.Back = back
			h.want(&tree)
			trees = append(trees, tree)
		}
		out, err := e.Eval(t.Context(), pre, append(trees, trees...))
		if err != nil {
			t.Fatal(err)
		}
		for n, o := range out {
			for i, row := range o.Logits {
				if d := softmax32(row).Distance(softmax(h.Logits[20-n%7+i])); !(d <= hybridTolerance) {
					t.Fatalf("%s: tree %d, position %d: %.4f from transformers", h.Name, n, 20-n%7+i, d)
				}
			}
		}
	}
}

// Trees of many branches, beside others, give what each path gives as a chain.
func TestHybridTrees(t *testing.T) {
	for _, h := range hybrids(t) {
		t.Run(h.Name, func(t *testing.T) {
			e := h.open(t)
			pre, err := e.Prefix(t.Context(), h.Tokens[:5])
			if err != nil {
				t.Fatal(err)
			}
			var trees []engine.Tree
			for n := range 5 {
				tree := engine.Chain(h.Tokens[5 : 8+n])
				trunk := len(tree.Tokens)
				for b := range 30 { // more branches than there are sequences
					tree.Tokens = append(tree.Tokens, labels.Token(3+b), labels.Token(40+n))
					tree.Parents = append(tree.Parents, int32(trunk-1-b%2), int32(len(tree.Tokens)-2))
				}
				tree.Back = n % 2
				h.want(&tree)
				trees = append(trees, tree)
			}
			out, err := e.Eval(t.Context(), pre, trees)
			if err != nil {
				t.Fatal(err)
			}
			for n := range trees {
				tree := &trees[n]
				for _, node := range []int{0, 2, len(tree.Tokens) - 1, len(tree.Tokens) - 30} {
					var path []labels.Token
					for at := int32(node); at >= 0; at = tree.Parents[at] {
						path = append([]labels.Token{tree.Tokens[at]}, path...)
					}
					chain := engine.Chain(path)
					chain.Back = tree.Back
					chain.Wants = []engine.Want{{Node: len(path) - 1, Columns: h.columns()}}
					alone, err := e.Eval(t.Context(), pre, []engine.Tree{chain})
					if err != nil {
						t.Fatal(err)
					}
					if d := softmax32(alone[0].Logits[0]).Distance(softmax32(out[n].Logits[node])); !(d <= hybridTolerance) {
						t.Errorf("tree %d, node %d: %.4f from the chain", n, node, d)
					}
				}
			}
		})
	}
}
