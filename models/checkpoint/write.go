package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"cubby/models/gguf"
)

// headTensor holds the rows of a classification head.
const headTensor = "cls.output.weight"

// WriteGGUF writes the weights as llama.cpp reads them, without a tokenizer: for
// engines that are given token ids. Matrices keep their type. What the format
// cannot say of a model is an error.
//
// llama.cpp has no classification head for decoders. With headAsTokens its rows
// stand behind those of the output matrix, as entries of the vocabulary that no
// text has: the logits of those are the class scores.
func WriteGGUF(w io.Writer, ck Checkpoint, headAsTokens bool) error {
	g := ggufWriter{ck: ck, cfg: ck.Config(), headAsTokens: headAsTokens, tokenizer: []gguf.Meta{{Key: "tokenizer.ggml.model", Value: "none"}}}
	return g.write(w)
}

// WriteGGUFModel is WriteGGUF with the metadata of a tokenizer.
func WriteGGUFModel(w io.Writer, ck Checkpoint, tokenizer []gguf.Meta) error {
	g := ggufWriter{ck: ck, cfg: ck.Config(), tokenizer: tokenizer}
	return g.write(w)
}

func (g *ggufWriter) write(w io.Writer) error {
	if err := g.describe(); err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	for _, name := range g.names() {
		if t, ok := g.ck.Tensor(name); ok {
			g.tensors = append(g.tensors, g.tensor(name, t))
		}
	}
	return gguf.Write(w, g.meta, g.tensors)
}

type ggufWriter struct {
	ck           Checkpoint
	cfg          Config
	headAsTokens bool
	tokenizer    []gguf.Meta
	meta         []gguf.Meta
	tensors      []gguf.Content
}

func (g *ggufWriter) set(key string, value any) {
	g.meta = append(g.meta, gguf.Meta{Key: g.cfg.Architecture + "." + key, Value: value})
}

func (g *ggufWriter) describe() error {
	c := &g.cfg
	g.meta = []gguf.Meta{{Key: "general.architecture", Value: c.Architecture}}
	vocab := c.Vocab
	if g.headAsTokens {
		vocab += len(c.Classes)
	} else if len(c.Classes) > 0 {
		g.set("classifier.output_labels", c.Classes)
	}
	for key, n := range map[string]int{
		"vocab_size": vocab, "block_count": c.Layers, "context_length": c.Context, "embedding_length": c.Width, "feed_forward_length": c.FeedForward,
		"attention.head_count": c.Heads, "attention.head_count_kv": c.KVHeads, "attention.key_length": c.HeadDim, "attention.value_length": c.HeadDim,
		"rope.dimension_count": c.HeadDim,
	} {
		g.set(key, uint32(n))
	}
	g.set("attention.layer_norm_rms_epsilon", float32(c.NormEpsilon))
	g.set("rope.freq_base", float32(c.RopeBase))
	slices.SortFunc(g.meta[1:], func(a, b gguf.Meta) int { return strings.Compare(a.Key, b.Key) }) // the same bytes each time
	g.meta = append(g.meta, g.tokenizer...)
	if err := g.window(); err != nil {
		return err
	}
	scale := 1 / math.Sqrt(float64(c.HeadDim))
	if c.Architecture == gemma3 && c.Layers == gemma27B {
		scale = 1 / rootOf(c.Width/max(1, c.Heads))
	}
	if math.Abs(c.QueryScale-scale) > 1e-12 {
		return fmt.Errorf("queries are scaled by %g, and the format knows %g only", c.QueryScale, scale)
	}
	switch c.RopeScaling {
	case "", "llama3": // the latter by its factors
	case "linear":
		factors, ok := g.ck.Tensor(ropeFactors)
		if !ok {
			return fmt.Errorf("rotary scaling %q without factors", c.RopeScaling)
		}
		row := make([]float32, factors.Cols)
		factors.Row(row, 0)
		g.set("rope.scaling.type", "linear")
		g.set("rope.scaling.factor", row[0])
	default:
		return fmt.Errorf("rotary scaling %q cannot be written", c.RopeScaling)
	}
	return nil
}

func (g *ggufWriter) window() error {
	c := &g.cfg
	if c.Window == 0 {
		return nil
	}
	switch c.Architecture {
	case gemma3:
		g.set("rope.freq_base_swa", float32(c.LocalRopeBase))
		g.set("attention.sliding_window_pattern", c.Local)
	case llama:
		if slices.Contains(c.Local, false) {
			return fmt.Errorf("a sliding window in some layers of %s only cannot be written", c.Architecture)
		}
	default:
		return fmt.Errorf("a sliding window of %s cannot be written", c.Architecture)
	}
	g.set("attention.sliding_window", uint32(c.Window))
	return nil
}

// names lists what a model may have.
func (g *ggufWriter) names() []string {
	names := []string{"token_embd.weight", "output_norm.weight", "output.weight"}
	if len(g.cfg.Classes) > 0 {
		if !g.headAsTokens {
			names = append(names, headTensor)
		} else if _, own := g.ck.Tensor("output.weight"); !own {
			g.tensors = append(g.tensors, g.extended("output.weight", g.must("token_embd.weight"), g.must(headTensor)))
		}
	}
	if g.cfg.RopeScaling == "llama3" {
		names = append(names, ropeFactors)
	}
	for i := range g.cfg.Layers {
		for _, part := range []string{"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm",
			"post_attention_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm"} {
			names = append(names, fmt.Sprintf("blk.%d.%s.weight", i, part), fmt.Sprintf("blk.%d.%s.bias", i, part))
		}
	}
	return names
}

func (g *ggufWriter) must(name string) Tensor {
	t, _ := g.ck.Tensor(name) // assemble has checked that it is there
	return t
}

// tensor writes vectors in float32, as llama.cpp wants them, and matrices as they are.
func (g *ggufWriter) tensor(name string, t Tensor) gguf.Content {
	if g.headAsTokens && len(g.cfg.Classes) > 0 {
		switch name {
		case "token_embd.weight":
			return g.extended(name, t, Tensor{Type: t.Type, Rows: len(g.cfg.Classes), Cols: t.Cols})
		case "output.weight":
			return g.extended(name, t, g.must(headTensor))
		}
	}
	if t.Rows == 1 {
		return content(name, gguf.F32, []uint64{uint64(t.Cols)}, 1, func(i int) []byte { return t.float32s(i) })
	}
	order := func(i int) int { return i }
	if g.interleaves(name) {
		d := g.cfg.HeadDim
		order = func(i int) int { return InterleavedRow(i, d) }
	}
	size := t.Type.RowSize(t.Cols)
	return content(name, t.Type, []uint64{uint64(t.Cols), uint64(t.Rows)}, t.Rows, func(i int) []byte {
		row := order(i)
		return t.Data[row*size : (row+1)*size]
	})
}

// interleaves says whether the rows of a projection are in the order of Hugging
// Face, and llama.cpp wants rotated pairs side by side.
func (g *ggufWriter) interleaves(name string) bool {
	return !g.cfg.RopeInterleaved && Interleaved(g.cfg.Architecture, name)
}

// Interleaved reports whether the rows of a GGUF file's projection are ordered so
// that rotated pairs stand side by side, and not, as transformers has them, half a
// head apart.
func Interleaved(architecture, name string) bool {
	return architecture == llama && (strings.HasSuffix(name, "attn_q.weight") || strings.HasSuffix(name, "attn_k.weight"))
}

// InterleavedRow is the row of transformers that stands at i in that order, of heads
// that are so wide.
func InterleavedRow(i, headDim int) int {
	return i/headDim*headDim + i%2*(headDim/2) + i%headDim/2
}

// extended writes the rows of b, zeros where it has no data, behind those of a. If
// their types differ, both are rounded to float16.
func (g *ggufWriter) extended(name string, a, b Tensor) gguf.Content {
	if b.Data == nil {
		b.Data = make([]byte, b.Rows*b.Type.RowSize(b.Cols))
	}
	row := func(t Tensor, i int) []byte {
		n := t.Type.RowSize(t.Cols)
		return t.Data[i*n : (i+1)*n]
	}
	typ := a.Type
	if b.Type != a.Type {
		typ, row = gguf.F16, Tensor.float16s
	}
	return content(name, typ, []uint64{uint64(a.Cols), uint64(a.Rows + b.Rows)}, a.Rows+b.Rows, func(i int) []byte {
		if i < a.Rows {
			return row(a, i)
		}
		return row(b, i-a.Rows)
	})
}

// content is a tensor that is given row by row.
func content(name string, typ gguf.Type, shape []uint64, rows int, row func(int) []byte) gguf.Content {
	return gguf.Content{Name: name, Type: typ, Shape: shape, Size: int64(rows) * int64(typ.RowSize(int(shape[0]))), Write: func(w io.Writer) error {
		for i := range rows {
			if _, err := w.Write(row(i)); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (t Tensor) float32s(i int) []byte {
	row := make([]float32, t.Cols)
	t.Row(row, i)
	out := make([]byte, 0, 4*len(row))
	for _, v := range row {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

func (t Tensor) float16s(i int) []byte {
	row := make([]float32, t.Cols)
	t.Row(row, i)
	out := make([]byte, 0, 2*len(row))
	for _, v := range row {
		out = binary.LittleEndian.AppendUint16(out, gguf.ToFloat16(v))
	}
	return out
}
