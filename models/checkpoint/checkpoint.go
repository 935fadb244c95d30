// Package checkpoint shows the weights of a model under one vocabulary of
// names (those of GGUF: "blk.0.attn_q.weight"), whichever file holds them.
package checkpoint

import "cubby/models/gguf"

// Checkpoint is a set of weights. Its tensors' bytes are those it was made of:
// they stay valid as long as whoever mapped them keeps them mapped.
type Checkpoint interface {
	Config() Config
	// Tensor returns the tensor of that GGUF name.
	Tensor(name string) (Tensor, bool)
}

// Config holds the shapes and constants of a decoder.
type Config struct {
	Architecture string // GGUF name: "llama", "qwen2", "qwen3", "gemma3"
	Layers       int
	Width        int // hidden size
	FeedForward  int // intermediate size
	Heads        int
	KVHeads      int
	HeadDim      int
	Vocab        int
	Context      int // longest trained sequence
	RopeBase     float64
	// RopeInterleaved: rotated pairs are (2i, 2i+1), as llama-family GGUF files
	// store q and k; otherwise (i, i+HeadDim/2), as Hugging Face does.
	RopeInterleaved bool
	// RopeScaling is empty or the scaling's name, which an engine may not know.
	// Those called "llama3" and "linear" are the divisors in "rope_freqs.weight".
	RopeScaling string
	NormEpsilon float64
	// QueryScale is the factor of the products of queries and keys.
	QueryScale float64
	// EmbeddingScale is the factor of a token's embedding.
	EmbeddingScale float64
	// GELU says that the feed-forward gate is GELU in its tanh approximation
	// (Hendrycks & Gimpel 2016), not SiLU.
	GELU bool
	// Window is how many positions a token of a local layer attends to, itself
	// and those before it. Local has one value a layer; it is nil, and Window 0,
	// where every layer attends to all positions.
	Window int
	Local  []bool
	// LocalRopeBase is the rotary base of local layers, without scaling; 0 where
	// they rotate as the others do.
	LocalRopeBase float64
	// Classes names the outputs of a sequence-classification head, in row
	// order of "cls.output.weight"; empty for a causal model.
	Classes []string
}

// Tensor is a matrix (or a vector: one row) of weights as stored.
type Tensor struct {
	Type gguf.Type
	Rows int
	Cols int
	Data []byte // Rows × Type.RowSize(Cols) bytes
}

// Row writes row i, dequantised, to dst, which holds Cols values.
func (t Tensor) Row(dst []float32, i int) {
	n := t.Type.RowSize(t.Cols)
	gguf.Dequantize(dst[:t.Cols], t.Data[i*n:(i+1)*n], t.Type)
}
