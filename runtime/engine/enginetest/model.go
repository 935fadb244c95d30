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
// are no multiple of 64.
const (
	layers, width, feedForward = 2, 96, 160
	heads, kvHeads, headDim    = 6, 2, 32
	vocab, longest             = 211, 512
)

// Model is a small random model as the bytes of a GGUF file.
type Model struct{ GGUF []byte }

// NewModel makes a llama-family model from a seed; with classes it has a
// sequence-classification head too.
func NewModel(seed uint64, classes ...string) Model {
	rnd := rand.New(rand.NewPCG(seed, 1))
	meta := []gguftest.Meta{
		{Key: "general.architecture", Value: "llama"}, {Key: "llama.block_count", Value: uint32(layers)},
		{Key: "llama.embedding_length", Value: uint32(width)}, {Key: "llama.feed_forward_length", Value: uint32(feedForward)},
		{Key: "llama.attention.head_count", Value: uint32(heads)}, {Key: "llama.attention.head_count_kv", Value: uint32(kvHeads)},
		{Key: "llama.attention.key_length", Value: uint32(headDim)}, {Key: "llama.attention.value_length", Value: uint32(headDim)},
		{Key: "llama.rope.dimension_count", Value: uint32(headDim)}, {Key: "llama.context_length", Value: uint32(longest)},
		{Key: "llama.rope.freq_base", Value: float32(10000)}, {Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)},
		{Key: "llama.vocab_size", Value: uint32(vocab)},
	}
	if len(classes) > 0 {
		meta = append(meta, gguftest.Meta{Key: "llama.classifier.output_labels", Value: classes})
	}
	var tensors []gguftest.Tensor
	put := func(name string, rows, cols int, mean, spread float64) {
		tensors = append(tensors, random(rnd, name, rows, cols, mean, spread))
	}
	matrix := func(name string, rows, cols int) { put(name, rows, cols, 0, 1/math.Sqrt(float64(cols))) }
	norm := func(name string) { put(name, 1, width, 1, 0.1) }
	put("token_embd.weight", vocab, width, 0, 1)
	norm("output_norm.weight")
	put("rope_freqs.weight", 1, headDim/2, 3, 1)
	matrix("output.weight", vocab, width)
	for i := range layers {
		blk := fmt.Sprintf("blk.%d.", i)
		norm(blk + "attn_norm.weight")
		norm(blk + "ffn_norm.weight")
		matrix(blk+"attn_q.weight", heads*headDim, width)
		matrix(blk+"attn_k.weight", kvHeads*headDim, width)
		matrix(blk+"attn_v.weight", kvHeads*headDim, width)
		matrix(blk+"attn_output.weight", width, heads*headDim)
		matrix(blk+"ffn_gate.weight", feedForward, width)
		matrix(blk+"ffn_up.weight", feedForward, width)
		matrix(blk+"ffn_down.weight", width, feedForward)
	}
	if len(classes) > 0 {
		matrix("cls.output.weight", len(classes), width)
	}
	return Model{gguftest.Encode(meta, tensors)}
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
