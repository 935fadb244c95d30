package native

import (
	"encoding/binary"
	"fmt"
	"slices"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/runtime/native/kernel"
)

// layer holds one decoder block: products packed for the kernel, norms as they are.
type layer struct {
	qkv, out, gateUp, down *kernel.Matrix
	attnNorm, ffnNorm      []float32
	extras
}

// weights is a loaded model in the form the passes use.
type weights struct {
	cfg        checkpoint.Config
	precision  Precision
	coarse     bool // has int8 weights, whose activations may be rounded to 8 bits
	layers     []layer
	embedding  checkpoint.Tensor // rows looked up as stored
	output     checkpoint.Tensor // logit rows; the embedding where the head is tied
	outputNorm []float32
	classes    [][]float32 // rows of the sequence-classification head
	global     rotary
	local      rotary // of layers with a sliding window

	vocab *kernel.Matrix // the whole output matrix, packed on first use

	products []product // every matrix of the layers, in the order of a pass
}

// product is one matrix of a model: the rows of some tensors, joined.
type product struct {
	to    **kernel.Matrix
	parts []source
}

// newWeights reads everything but the products, which are only listed.
func newWeights(ck checkpoint.Checkpoint, precision Precision) (*weights, error) {
	w := &weights{cfg: ck.Config(), precision: precision}
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
	w.layers = make([]layer, len(parts))
	for i := range parts {
		l, t := &w.layers[i], &parts[i]
		l.attnNorm, l.ffnNorm, l.extras = vector(t.attnNorm), vector(t.ffnNorm), w.extras(ck, i)
		w.products = append(w.products, t.products(l, headRows(&w.cfg))...)
	}
	w.coarse = slices.ContainsFunc(w.products, func(p product) bool {
		kind, _, _ := w.shape(p.parts)
		return kind == kernel.Int8
	})
	return w, nil
}

// supported refuses what this engine would compute wrongly.
func supported(ck checkpoint.Checkpoint) error {
	c := ck.Config()
	_, factors := ck.Tensor("rope_freqs.weight")
	known := c.RopeScaling == "llama3" || c.RopeScaling == "linear"
	switch {
	case c.RopeScaling != "" && !(known && factors):
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

func (t *layerTensors) products(l *layer, rotary func(int) int) []product {
	return []product{
		{&l.qkv, []source{rowsOf(t.q, rotary), rowsOf(t.k, rotary), rowsOf(t.v, nil)}},
		{&l.out, []source{rowsOf(t.out, nil)}},
		{&l.gateUp, []source{rowsOf(t.gate, nil), rowsOf(t.up, nil)}},
		{&l.down, []source{rowsOf(t.down, nil)}},
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

// shape returns the kind and size of the matrix that the parts make: of 12 bits
// if int8 would round any of them.
func (w *weights) shape(parts []source) (kind kernel.Weights, n, cols int) {
	kind, cols = kernel.Int8, parts[0].tensor.Cols
	for _, s := range parts {
		n += s.tensor.Rows
		if !isInt8(s.tensor.Type) {
			kind = kernel.Int12
		}
	}
	if w.precision == Float32 {
		kind = kernel.Float32
	}
	return kind, n, cols
}

// pack joins the rows of several tensors into one kernel matrix.
func (w *weights) pack(k *kernel.Kernel, p *Pool, parts ...source) *kernel.Matrix {
	kind, n, cols := w.shape(parts)
	m := k.NewMatrix(kind, n, cols)
	fill := task(func(_, panel int) {
		q, scales, row := make([]int16, cols), make([]float32, cols/kernel.Block), make([]float32, cols)
		for c := panel * kernel.Panel; c < min(n, (panel+1)*kernel.Panel); c++ {
			part, i := 0, c
			for i >= parts[part].tensor.Rows {
				i -= parts[part].tensor.Rows
				part++
			}
			s := parts[part]
			if kind == kernel.Int8 {
				integers(s.tensor, s.order(i), q, scales)
				k.PackRow(m, c, q, scales)
				continue
			}
			s.tensor.Row(row, s.order(i))
			for b := range scales {
				k.PackBlock(m, c, b, row[b*kernel.Block:(b+1)*kernel.Block])
			}
		}
	})
	p.run(m.Panels(), &fill)
	return m
}

// isInt8 says whether a type's blocks are int8 with one scale per 32 values.
func isInt8(t gguf.Type) bool { return t == gguf.Q8_0 || t == gguf.Q4_0 }

// integers reads row i of a type whose blocks are int8: its integers and scales
// as they are.
func integers(t checkpoint.Tensor, i int, q []int16, scales []float32) {
	size := t.Type.RowSize(t.Cols)
	data := t.Data[i*size : (i+1)*size]
	for b := range scales {
		block := q[b*kernel.Block : (b+1)*kernel.Block]
		if t.Type == gguf.Q8_0 {
			scales[b] = blockQ8(block, data[b*34:])
		} else {
			scales[b] = blockQ4(block, data[b*18:])
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

func vector(t checkpoint.Tensor) []float32 {
	v := make([]float32, t.Cols)
	t.Row(v, 0)
	return v
}
