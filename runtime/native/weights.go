package native

import (
	"encoding/binary"
	"fmt"
	"math"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/runtime/native/kernel"
)

// layer holds one decoder block: products packed for the kernel, norms as they are.
type layer struct {
	qkv, out, gateUp, down *kernel.Matrix
	attnNorm, ffnNorm      []float32
}

// weights is a loaded model in the form the passes use.
type weights struct {
	cfg        checkpoint.Config
	layers     []layer
	embedding  checkpoint.Tensor // rows looked up as stored
	output     checkpoint.Tensor // logit rows; the embedding where the head is tied
	outputNorm []float32
	classes    [][]float32 // rows of the sequence-classification head
	freqs      []float64   // rotations a position, [HeadDim/2]
	cos, sin   []float32   // [position][HeadDim/2], for the positions met so far

	vocab *kernel.Matrix // the whole output matrix, packed on first use
}

// loadWeights packs every product of the model, in parallel over its rows.
func loadWeights(ck checkpoint.Checkpoint, k *kernel.Kernel, p *pool) (*weights, error) {
	w := &weights{cfg: ck.Config()}
	if err := supported(ck); err != nil {
		return nil, err
	}
	var missing error
	tensor := func(name string) checkpoint.Tensor {
		t, ok := ck.Tensor(name)
		if !ok && missing == nil {
			missing = fmt.Errorf("the weights have no tensor %s", name)
		}
		return t
	}
	w.embedding = tensor("token_embd.weight")
	w.output = w.embedding
	if t, ok := ck.Tensor("output.weight"); ok {
		w.output = t
	}
	norm := tensor("output_norm.weight")
	parts := make([]layerTensors, w.cfg.Layers)
	for i := range parts {
		parts[i] = tensorsOf(tensor, i)
	}
	if missing != nil {
		return nil, missing
	}
	w.outputNorm = vector(norm)
	if t, ok := ck.Tensor("cls.output.weight"); ok && len(w.cfg.Classes) > 0 {
		for i := range t.Rows {
			row := make([]float32, t.Cols)
			t.Row(row, i)
			w.classes = append(w.classes, row)
		}
	}
	w.rope(ck)
	p.begin()
	defer p.end()
	for i := range parts {
		w.layers = append(w.layers, parts[i].pack(&w.cfg, k, p))
	}
	return w, nil
}

// supported refuses what this engine would compute wrongly.
func supported(ck checkpoint.Checkpoint) error {
	c := ck.Config()
	if c.Architecture != "llama" {
		return &checkpoint.UnsupportedError{Architecture: c.Architecture}
	}
	_, factors := ck.Tensor("rope_freqs.weight")
	switch {
	case c.RopeScaling != "" && (c.RopeScaling != "llama3" || !factors):
		return fmt.Errorf("the native engine does not know the rotary scaling %q; llama.cpp can run it", c.RopeScaling)
	case c.HeadDim%kernel.Panel != 0:
		return fmt.Errorf("the native engine needs a head size that is a multiple of %d, not %d; llama.cpp can run it", kernel.Panel, c.HeadDim)
	case c.Width%kernel.Block != 0 || c.FeedForward%kernel.Block != 0:
		return fmt.Errorf("the native engine needs widths that are multiples of %d, not %d and %d; llama.cpp can run it", kernel.Block, c.Width, c.FeedForward)
	}
	return nil
}

type layerTensors struct {
	q, k, v, out, gate, up, down, attnNorm, ffnNorm checkpoint.Tensor
}

func tensorsOf(get func(string) checkpoint.Tensor, i int) layerTensors {
	name := func(part string) checkpoint.Tensor { return get(fmt.Sprintf("blk.%d.%s.weight", i, part)) }
	return layerTensors{
		q: name("attn_q"), k: name("attn_k"), v: name("attn_v"), out: name("attn_output"),
		gate: name("ffn_gate"), up: name("ffn_up"), down: name("ffn_down"),
		attnNorm: name("attn_norm"), ffnNorm: name("ffn_norm"),
	}
}

func (t *layerTensors) pack(c *checkpoint.Config, k *kernel.Kernel, p *pool) layer {
	rotary := headRows(c)
	return layer{
		qkv:      pack(k, p, rowsOf(t.q, rotary), rowsOf(t.k, rotary), rowsOf(t.v, nil)),
		out:      pack(k, p, rowsOf(t.out, nil)),
		gateUp:   pack(k, p, rowsOf(t.gate, nil), rowsOf(t.up, nil)),
		down:     pack(k, p, rowsOf(t.down, nil)),
		attnNorm: vector(t.attnNorm),
		ffnNorm:  vector(t.ffnNorm),
	}
}

// headRows maps row i of a rotated matrix in half-split order to the stored
// row: interleaved files hold the pair (i, i+h/2) of a head as (2i, 2i+1).
func headRows(c *checkpoint.Config) func(int) int {
	if !c.RopeInterleaved {
		return nil
	}
	d, half := c.HeadDim, c.HeadDim/2
	return func(i int) int {
		head, j := i/d*d, i%d
		return head + j%half*2 + j/half
	}
}

// source is the rows of one tensor in the order the engine wants them.
type source struct {
	tensor checkpoint.Tensor
	order  func(int) int
}

func rowsOf(t checkpoint.Tensor, order func(int) int) source {
	if order == nil {
		order = func(i int) int { return i }
	}
	return source{t, order}
}

// pack joins the rows of several tensors into one kernel matrix: a fine one if
// int8 would round any of them.
func pack(k *kernel.Kernel, p *pool, parts ...source) *kernel.Matrix {
	n, cols, fine := 0, parts[0].tensor.Cols, false
	for _, s := range parts {
		n += s.tensor.Rows
		fine = fine || !isInt8(s.tensor.Type)
	}
	m := k.NewMatrix(n, cols, fine)
	p.run(m.Panels(), func(_, panel int) {
		q, scales, row := make([]int16, cols), make([]float32, cols/kernel.Block), make([]float32, cols)
		for c := panel * kernel.Panel; c < min(n, (panel+1)*kernel.Panel); c++ {
			part, i := 0, c
			for i >= parts[part].tensor.Rows {
				i -= parts[part].tensor.Rows
				part++
			}
			s := parts[part]
			quantizeRow(s.tensor, s.order(i), m.Steps(), q, scales, row)
			k.PackRow(m, c, q, scales)
		}
	})
	return m
}

// isInt8 says whether a type's blocks are int8 with one scale per 32 values.
func isInt8(t gguf.Type) bool { return t == gguf.Q8_0 || t == gguf.Q4_0 }

// quantizeRow writes row i as integers with one scale per 32 values. Types whose
// blocks have that form keep their integers and scales; the others are
// dequantised and rounded symmetrically to the given number of steps.
func quantizeRow(t checkpoint.Tensor, i, steps int, q []int16, scales, buf []float32) {
	size := t.Type.RowSize(t.Cols)
	data := t.Data[i*size : (i+1)*size]
	for b := range scales {
		block := q[b*kernel.Block : (b+1)*kernel.Block]
		switch t.Type {
		case gguf.Q8_0:
			scales[b] = blockQ8(block, data[b*34:])
		case gguf.Q4_0:
			scales[b] = blockQ4(block, data[b*18:])
		default:
			if b == 0 {
				t.Row(buf, i)
			}
			scales[b] = roundBlock(block, buf[b*kernel.Block:(b+1)*kernel.Block], steps)
		}
	}
}

func blockQ8(q []int16, data []byte) (scale float32) {
	for j := range q {
		q[j] = int16(int8(data[2+j]))
	}
	return gguf.Float16(binary.LittleEndian.Uint16(data))
}

func blockQ4(q []int16, data []byte) (scale float32) {
	for j := range len(q) / 2 {
		q[j] = int16(data[2+j]&15) - 8
		q[j+len(q)/2] = int16(data[2+j]>>4) - 8
	}
	return gguf.Float16(binary.LittleEndian.Uint16(data))
}

func roundBlock(q []int16, x []float32, steps int) (scale float32) {
	var top float32
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
	}
	if top == 0 {
		clear(q)
		return 0
	}
	inverse := float64(steps) / float64(top)
	for i, v := range x {
		q[i] = int16(math.RoundToEven(float64(v) * inverse))
	}
	return top / float32(steps)
}

func vector(t checkpoint.Tensor) []float32 {
	v := make([]float32, t.Cols)
	t.Row(v, 0)
	return v
}

// rope computes the frequencies of the rotary embedding (Su et al. 2021,
// RoFormer). They are divided by the factors that Llama 3.1 and later models
// carry for their longer context.
func (w *weights) rope(ck checkpoint.Checkpoint) {
	half := w.cfg.HeadDim / 2
	var factors []float32
	if t, ok := ck.Tensor("rope_freqs.weight"); ok {
		factors = vector(t)
	}
	for i := range half {
		freq := math.Pow(w.cfg.RopeBase, -float64(i)/float64(half))
		if factors != nil {
			freq /= float64(factors[i])
		}
		w.freqs = append(w.freqs, freq)
	}
}

// rotations extends the tables to n positions. They grow with what is asked,
// not with the context that a file claims.
func (w *weights) rotations(n int) {
	for pos := len(w.cos) / len(w.freqs); pos < n; pos++ {
		for _, f := range w.freqs {
			s, c := math.Sincos(float64(pos) * f)
			w.cos, w.sin = append(w.cos, float32(c)), append(w.sin, float32(s))
		}
	}
}
