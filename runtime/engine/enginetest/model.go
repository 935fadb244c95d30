// Package enginetest is the conformance suite of engine.Engine: small random
// models, a slow and obvious reference computation, and what must hold for
// every engine.
package enginetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

// Shape of the suite's models: small, with grouped query heads, and widths that
// are no multiple of 64. The window is shorter than most of the suite's texts,
// and no multiple of a panel.
const (
	layers, width, feedForward = 2, 96, 160
	heads, kvHeads, headDim    = 6, 2, 32
	vocab, longest             = 211, 512
	window                     = 37
)

// Families are the architectures of the suite's models, by their GGUF names.
// Mistral stands for llama with a sliding window in every layer.
var Families = []string{"llama", "mistral", "qwen2", "qwen3", "gemma3"}

// Model is a small random model as the bytes of a GGUF file.
type Model struct{ GGUF []byte }

// NewModel makes a model of one of Families from a seed; with classes it has a
// sequence-classification head too. Llama has a head of its own, and so has
// qwen2; the others are tied to the embedding.
func NewModel(family string, seed uint64, classes ...string) Model {
	return newModel(family, false, seed, classes...)
}

func newModel(family string, q8 bool, seed uint64, classes ...string) Model {
	architecture := family
	if family == "mistral" {
		architecture = "llama"
	}
	b := builder{rnd: rand.New(rand.NewPCG(seed, 1)), q8: q8, heads: heads, kvHeads: kvHeads}
	if family == "qwen2" { // has no size of a head of its own
		b.heads, b.kvHeads = width/headDim, 1
	}
	b.meta = []gguftest.Meta{{Key: "general.architecture", Value: architecture}, {Key: "tokenizer.ggml.model", Value: "none"}}
	set := func(key string, value any) {
		b.meta = append(b.meta, gguftest.Meta{Key: architecture + "." + key, Value: value})
	}
	set("block_count", uint32(layers))
	set("embedding_length", uint32(width))
	set("feed_forward_length", uint32(feedForward))
	set("attention.head_count", uint32(b.heads))
	set("attention.head_count_kv", uint32(b.kvHeads))
	set("attention.key_length", uint32(headDim))
	set("attention.value_length", uint32(headDim))
	set("rope.dimension_count", uint32(headDim))
	set("context_length", uint32(longest))
	set("rope.freq_base", float32(10000))
	set("attention.layer_norm_rms_epsilon", float32(1e-5))
	set("vocab_size", uint32(vocab))
	if len(classes) > 0 {
		set("classifier.output_labels", classes)
		b.matrix("cls.output.weight", len(classes), width)
	}
	b.put("token_embd.weight", vocab, width, 0, 0.2)
	b.norm("output_norm.weight", width)
	b.eachLayer(b.layer)
	switch family {
	case "llama":
		b.put("rope_freqs.weight", 1, headDim/2, 3, 1)
		b.matrix("output.weight", vocab, width)
	case "mistral":
		set("attention.sliding_window", uint32(window))
	case "qwen2":
		b.matrix("output.weight", vocab, width)
		b.eachLayer(func(blk string) {
			b.put(blk+"attn_q.bias", 1, b.heads*headDim, 0, 1)
			b.put(blk+"attn_k.bias", 1, b.kvHeads*headDim, 0, 1)
			b.put(blk+"attn_v.bias", 1, b.kvHeads*headDim, 0, 1)
		})
	case "qwen3":
		b.eachLayer(b.headNorms)
	case "gemma3":
		set("attention.sliding_window", uint32(window))
		set("attention.sliding_window_pattern", uint32(layers))
		set("rope.freq_base_swa", float32(100))
		set("rope.scaling.type", "linear")
		set("rope.scaling.factor", float32(8))
		b.eachLayer(b.headNorms)
		b.eachLayer(func(blk string) {
			b.norm(blk+"post_attention_norm.weight", width)
			b.norm(blk+"post_ffw_norm.weight", width)
		})
	default:
		panic("enginetest: no family " + family)
	}
	return Model{gguftest.Encode(b.meta, b.tensors)}
}

// builder collects a model's metadata and random tensors.
type builder struct {
	rnd     *rand.Rand
	q8      bool // matrices are Q8_0
	heads   int
	kvHeads int
	meta    []gguftest.Meta
	tensors []gguftest.Tensor
}

func (b *builder) put(name string, rows, cols int, mean, spread float64) {
	b.tensors = append(b.tensors, random(b.rnd, name, rows, cols, mean, spread))
}

func (b *builder) matrix(name string, rows, cols int) {
	b.put(name, rows, cols, 0, 1/math.Sqrt(float64(cols)))
	if t := &b.tensors[len(b.tensors)-1]; b.q8 {
		t.Type, t.Data = gguf.Q8_0, quantize(t.Data)
	}
}

// quantize turns float32 values into blocks of Q8_0: a float16 scale and 32 int8.
func quantize(data []byte) []byte {
	var out []byte
	for ; len(data) > 0; data = data[4*32:] {
		var x [32]float64
		top := 0.0
		for i := range x {
			x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
			top = max(top, math.Abs(x[i]))
		}
		bits := math.Float32bits(float32(top/127))&^(1<<13-1) + 1<<13 // rounded up: |q| stays within 127
		scale := float64(math.Float32frombits(bits))
		out = binary.LittleEndian.AppendUint16(out, uint16(bits>>13-(127-15)<<10))
		for _, v := range x {
			out = append(out, byte(int8(math.RoundToEven(v/scale))))
		}
	}
	return out
}

func (b *builder) norm(name string, n int) { b.put(name, 1, n, 1, 0.1) }

func (b *builder) eachLayer(do func(blk string)) {
	for i := range layers {
		do(fmt.Sprintf("blk.%d.", i))
	}
}

func (b *builder) headNorms(blk string) {
	b.norm(blk+"attn_q_norm.weight", headDim)
	b.norm(blk+"attn_k_norm.weight", headDim)
}

// layer puts what every family has.
func (b *builder) layer(blk string) {
	b.norm(blk+"attn_norm.weight", width)
	b.norm(blk+"ffn_norm.weight", width)
	b.matrix(blk+"attn_q.weight", b.heads*headDim, width)
	b.matrix(blk+"attn_k.weight", b.kvHeads*headDim, width)
	b.matrix(blk+"attn_v.weight", b.kvHeads*headDim, width)
	b.matrix(blk+"attn_output.weight", width, b.heads*headDim)
	b.matrix(blk+"ffn_gate.weight", feedForward, width)
	b.matrix(blk+"ffn_up.weight", feedForward, width)
	b.matrix(blk+"ffn_down.weight", width, feedForward)
}

func random(rnd *rand.Rand, name string, rows, cols int, mean, spread float64) gguftest.Tensor {
	t := gguftest.Tensor{Name: name, Type: gguf.F32, Shape: []uint64{uint64(cols), uint64(rows)}}
	if rows == 1 {
		t.Shape = t.Shape[:1]
	}
	for range rows * cols {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(mean+spread*rnd.NormFloat64())))
	}
	return t
}

// Checkpoint opens the model.
func (m Model) Checkpoint(t testing.TB) checkpoint.Checkpoint {
	t.Helper()
	f, err := gguf.Parse(m.GGUF)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return ck
}

// Tokens is a tokenizer of one token a byte, for models without a vocabulary.
type Tokens struct{}

// Encode returns the bytes of text as tokens.
func (Tokens) Encode(text string) []labels.Token {
	out := make([]labels.Token, len(text))
	for i := range out {
		out[i] = labels.Token(text[i]) % vocab
	}
	return out
}

// EncodeSpecial is Encode: there are no special tokens.
func (t Tokens) EncodeSpecial(text string) []labels.Token { return t.Encode(text) }

// Decode returns the tokens as bytes.
func (Tokens) Decode(tokens []labels.Token) string {
	out := make([]byte, len(tokens))
	for i, t := range tokens {
		out[i] = byte(t)
	}
	return string(out)
}

// Special knows none.
func (Tokens) Special(string) (labels.Token, bool) { return 0, false }

// Len is the size of the suite's vocabulary.
func (Tokens) Len() int { return vocab }
