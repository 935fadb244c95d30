// Package engine is the token-level contract between the scorer and whatever
// computes a model: the native Go engine, llama.cpp, or a server that tells the
// log probabilities of next tokens. Package enginetest holds the conformance
// suite of those that compute.
package engine

import (
	"context"
	"strings"

	"cubby/labels"
)

// Engine computes packed passes of one loaded model. It is owned by one
// goroutine: no two methods run at the same time, except Info and Tokenizer.
type Engine interface {
	Info() Info
	Tokenizer() Tokenizer

	// Prefix computes a shared prompt prefix once and keeps its keys and
	// values. An empty prefix is allowed.
	Prefix(ctx context.Context, tokens []labels.Token) (Prefix, error)

	// Eval runs many token trees that hang off one prefix in one pass and
	// returns one Output a tree, in order. Limits are checked before any
	// computation; a tree's result does not depend on the trees around it.
	Eval(ctx context.Context, prefix Prefix, trees []Tree) ([]Output, error)

	Close() error
}

// Waker is an Engine whose weights are not always loaded. Eval and Prefix load
// them where they must; Wake does it ahead of a pass, so that what arrives in
// the meantime can join it and the time is not taken for the pass's own.
type Waker interface {
	Wake(ctx context.Context) error
}

// UnavailableError says that what computes for an engine, a process or a server,
// is not there at the moment: the same pass may succeed later.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// RefusedError says that a tree cannot be computed as it is, here, whatever is done:
// its text is at fault.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// Prober is an Engine that can lose what computes for it, a process or a server,
// and find it again. Probe says whether it would compute a pass now, and if not
// why; it is quick, and safe for concurrent use.
type Prober interface {
	Probe(ctx context.Context) error
}

// Tokenizer turns text into token ids. Implementations are safe for
// concurrent use.
type Tokenizer interface {
	// Encode never yields a special token: "<|im_end|>" is plain characters.
	Encode(text string) []labels.Token
	// EncodeSpecial parses the vocabulary's special tokens in text.
	EncodeSpecial(text string) []labels.Token
	// Decode joins the bytes of the tokens, which may cut a character.
	Decode(tokens []labels.Token) string
	// Special returns the id of a special token by its text.
	Special(piece string) (labels.Token, bool)
	// Len is the number of ids in the vocabulary.
	Len() int
}

// Prefix is a computed prompt prefix. It is valid for the engine that made it
// until that engine is closed; an engine that says so accepts it from another
// one that computes the same bits of the same artefact.
type Prefix interface {
	// Len is the number of tokens.
	Len() int
	// Bytes is the memory of its keys and values.
	Bytes() int64
}

// Info describes a loaded engine.
type Info struct {
	Engine       string // "native", "llama", "ollama", "llamaserver"
	Kernel       string // instruction set in use: "amxint8", "avx2", "portable"
	Precision    string // how finely a text's activations are rounded: "int8", "int16", "float32"
	Device       string // "cpu", or what the layers lie on: "CUDA0 (31 of 31 layers)"
	Architecture string // GGUF architecture name: "llama"
	Threads      int
	Layers       int
	Width        int // length of a hidden state
	Vocab        int
	Context      int // longest sequence, prefix included, in tokens
	MaxPass      int // most tokens Eval takes in one pass
	Classes      int // rows of the sequence-classification head; 0 without one
	// NodeByNode engines pay for each wanted node alone: label nodes are worth
	// asking for only where there is probability.
	NodeByNode bool
	// LabelOnly engines tell the best answer and no probabilities: its columns have
	// logit 0, the others -Inf.
	LabelOnly bool
	Memory    Memory
	Devices   []Device // GPUs that the engine computes on
}

// Setup names an engine with what the last digits of its answers depend on.
func (i Info) Setup() string {
	return strings.Join(strings.Fields(i.Engine+" "+i.Kernel+" "+i.Precision), " ")
}

// Device is a GPU with its memory at this moment, in bytes.
type Device struct {
	Name        string // "CUDA0"
	Description string
	Free, Total int64
}

// Memory is what an engine holds at this moment, in bytes, beyond the model's
// files themselves and the buffers of a pass.
type Memory struct {
	Loaded  bool  // the weights are there; if not, they are loaded when they are needed
	Weights int64 // packed weights; those of the last time while they are not loaded
	KV      int64 // keys and values of prefixes
	Loads   int   // how often the weights were loaded
}

// Tree is a set of tokens that share their beginnings. Node i follows node
// Parents[i], or the prefix where that is -1; a parent comes before its
// children. A text is a chain; the label tokens behind it branch.
type Tree struct {
	Tokens  []labels.Token
	Parents []int32
	// Back leaves the last Back tokens of the prefix out for this tree: its
	// roots follow token Prefix.Len()-Back.
	Back  int
	Wants []Want
	// Pooled asks for the class scores at this node; -1 for none.
	Pooled int
}

// Want asks for logits of some vocabulary entries behind one node.
type Want struct {
	Node    int
	Columns []labels.Token
	// Normalizer also asks for the log of the sum of exp over the vocabulary.
	Normalizer bool
}

// Output is what one tree asked for.
type Output struct {
	Logits [][]float32 // one row a Want, one value a column of it
	LogZ   []float64   // one value a Want, natural log; 0 where not asked
	Scores []float32   // class scores before softmax, where Pooled was asked
	// Unseen is, for each Want, an upper bound of the share of its columns'
	// probability that lies on columns whose logits the engine does not know. Their
	// logits share that bound out evenly. nil where all are known.
	Unseen []float64
	// Err is why this tree alone has no answer; the other fields are then empty.
	Err error
}
