package llama

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

const (
	rank, alpha = 4, 8
	adapted     = "blk.1.ffn_up.weight"
)

// lora is a random adapter of one matrix: its product with the input is that of
// the matrix plus alpha/rank times b·a.
type lora struct {
	checkpoint.Checkpoint
	a, b [][]float32 // rank × columns, rows × rank
}

func newLora(ck checkpoint.Checkpoint) lora {
	w, _ := ck.Tensor(adapted)
	rnd := rand.New(rand.NewPCG(3, 4))
	matrix := func(rows, cols int) [][]float32 {
		m := make([][]float32, rows)
		for i := range m {
			m[i] = make([]float32, cols)
			for j := range m[i] {
				m[i][j] = float32(rnd.NormFloat64() / 6)
			}
		}
		return m
	}
	return lora{ck, matrix(rank, w.Cols), matrix(w.Rows, rank)}
}

func bytesOf(rows [][]float32) (data []byte) {
	for _, row := range rows {
		for _, v := range row {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	return data
}

// Tensor is the checkpoint's with the adapter merged.
func (l lora) Tensor(name string) (checkpoint.Tensor, bool) {
	w, ok := l.Checkpoint.Tensor(name)
	if name != adapted {
		return w, ok
	}
	merged := make([][]float32, w.Rows)
	for i := range merged {
		merged[i] = make([]float32, w.Cols)
		w.Row(merged[i], i)
		for j := range merged[i] {
			for k := range rank {
				merged[i][j] += alpha / rank * l.b[i][k] * l.a[k][j]
			}
		}
	}
	return checkpoint.Tensor{Type: gguf.F32, Rows: w.Rows, Cols: w.Cols, Data: bytesOf(merged)}, true
}

// file writes the adapter as llama.cpp's convert_lora_to_gguf.py does.
func (l lora) file(t *testing.T) string {
	t.Helper()
	data := gguftest.Encode([]gguftest.Meta{
		{Key: "general.architecture", Value: l.Config().Architecture}, {Key: "general.type", Value: "adapter"},
		{Key: "adapter.type", Value: "lora"}, {Key: "adapter.lora.alpha", Value: float32(alpha)},
	}, []gguftest.Tensor{
		{Name: adapted + ".lora_a", Type: gguf.F32, Shape: []uint64{uint64(len(l.a[0])), rank}, Data: bytesOf(l.a)},
		{Name: adapted + ".lora_b", Type: gguf.F32, Shape: []uint64{rank, uint64(len(l.b))}, Data: bytesOf(l.b)},
	})
	path := filepath.Join(t.TempDir(), "adapter.gguf")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func answer(t *testing.T, opt Options) labels.Distribution {
	t.Helper()
	e, err := New(enginetest.Tokens{}, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	pre, err := e.Prefix(t.Context(), []labels.Token{4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	tree := engine.Chain([]labels.Token{7, 8, 9})
	columns := make([]labels.Token, enginetest.Tokens{}.Len())
	for i := range columns {
		columns[i] = labels.Token(i)
	}
	tree.Wants = []engine.Want{{Node: 2, Columns: columns}}
	out, err := e.Eval(t.Context(), pre, []engine.Tree{tree})
	if err != nil {
		t.Fatal(err)
	}
	return softmax32(out[0].Logits[0])
}

// A base model with an adapter answers as the merged model does.
func TestAdapter(t *testing.T) {
	m := enginetest.NewModel("llama", 2)
	opt := options(t, m)
	base := answer(t, opt)
	l := newLora(m.Checkpoint(t))
	merged := opt
	merged.Model = writeGGUF(t, l)
	want := answer(t, merged)
	opt.Adapter = l.file(t)
	got := answer(t, opt)
	if d := got.Distance(want); d > 0.005 {
		t.Errorf("base and adapter are %.4f from the merged model", d)
	}
	if d := base.Distance(want); d < 0.05 {
		t.Errorf("the adapter moves the answer by %.4f only: nothing is shown", d)
	}
	opt.Adapter = opt.Model // no adapter
	if _, err := New(enginetest.Tokens{}, opt); err == nil {
		t.Error("a model was taken for an adapter")
	}
}
