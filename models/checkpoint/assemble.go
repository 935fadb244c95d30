package checkpoint

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// ropeFactors is an optional vector of HeadDim/2 values by which the rotary
// frequencies are divided.
const ropeFactors = "rope_freqs.weight"

// Bounds on a configuration, well above any dense model, low enough
// that sizes computed from them fit an int.
const (
	maxLayers  = 1 << 10
	maxWidth   = 1 << 17
	maxForward = 1 << 20
	maxHeads   = 1 << 10
	maxHeadDim = 1 << 10
	maxVocab   = 1 << 22
	maxContext = 1 << 20
	maxClasses = 1 << 16
)

// weights is a Checkpoint over bytes that somebody else holds, so Close has
// nothing to release.
type weights struct {
	config  Config
	tensors map[string]Tensor
}

func (w *weights) Config() Config { return w.config }

func (w *weights) Tensor(name string) (Tensor, bool) {
	t, ok := w.tensors[name]
	return t, ok
}

// inventory is what a file holds, under its own names.
type inventory struct {
	tensors map[string]Tensor
	spell   func(gguf string) string // the file's name of a tensor
	tied    bool                     // the output matrix is not used even if it is there
}

// expected is a tensor that a configuration calls for.
type expected struct {
	name       string // GGUF's
	rows, cols int
	optional   bool
}

// assemble checks a file's tensors against a configuration and renames them. It
// fills in Vocab, and refuses tensors it does not know: a model that has more
// weights than are computed would answer, and wrongly.
func assemble(c Config, inv inventory) (*weights, error) {
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	embedding := inv.spell("token_embd.weight")
	t, ok := inv.tensors[embedding]
	if !ok {
		return nil, missing(embedding)
	}
	if err := bounded("vocabulary size", t.Rows, maxVocab); err != nil {
		return nil, err
	}
	c.Vocab = t.Rows
	w := &weights{config: c, tensors: make(map[string]Tensor, len(inv.tensors))}
	left := maps.Clone(inv.tensors)
	for _, e := range decoderTensors(c) {
		name := inv.spell(e.name)
		t, ok := left[name]
		delete(left, name)
		if e.name == "output.weight" && inv.tied || !ok && e.optional {
			continue
		}
		if !ok {
			return nil, missing(name)
		}
		if err := e.check(name, t); err != nil {
			return nil, err
		}
		w.tensors[e.name] = t
	}
	return w, refuse(left, c.Architecture)
}

// decoderTensors lists the tensors of a model.
func decoderTensors(c Config) []expected {
	list := []expected{
		{name: "token_embd.weight", rows: c.Vocab, cols: c.Width},
		{name: "output_norm.weight", rows: 1, cols: c.Width},
		{name: "output.weight", rows: c.Vocab, cols: c.Width, optional: true},
		{name: ropeFactors, rows: 1, cols: c.HeadDim / 2, optional: true},
	}
	if n := len(c.Classes); n > 0 {
		list = append(list, expected{name: "cls.output.weight", rows: n, cols: c.Width})
	}
	layer := layerTensors(c)
	for i := range c.Layers {
		for _, e := range layer {
			e.name = fmt.Sprintf("blk.%d.%s", i, e.name)
			list = append(list, e)
		}
	}
	return list
}

// layerTensors lists the tensors of one layer, without its number.
func layerTensors(c Config) []expected {
	q, kv, f := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, families[c.Architecture]
	list := []expected{
		{name: "attn_norm.weight", rows: 1, cols: c.Width},
		{name: "attn_q.weight", rows: q, cols: c.Width},
		{name: "attn_k.weight", rows: kv, cols: c.Width},
		{name: "attn_v.weight", rows: kv, cols: c.Width},
		{name: "attn_output.weight", rows: c.Width, cols: q},
		{name: "ffn_norm.weight", rows: 1, cols: c.Width},
		{name: "ffn_gate.weight", rows: c.FeedForward, cols: c.Width},
		{name: "ffn_up.weight", rows: c.FeedForward, cols: c.Width},
		{name: "ffn_down.weight", rows: c.Width, cols: c.FeedForward},
	}
	if f.biases {
		list = append(list, expected{name: "attn_q.bias", rows: 1, cols: q},
			expected{name: "attn_k.bias", rows: 1, cols: kv}, expected{name: "attn_v.bias", rows: 1, cols: kv})
	}
	if f.headNorms {
		list = append(list, expected{name: "attn_q_norm.weight", rows: 1, cols: c.HeadDim},
			expected{name: "attn_k_norm.weight", rows: 1, cols: c.HeadDim})
	}
	if f.postNorms {
		list = append(list, expected{name: "post_attention_norm.weight", rows: 1, cols: c.Width},
			expected{name: "post_ffw_norm.weight", rows: 1, cols: c.Width})
	}
	return list
}

func (e expected) check(name string, t Tensor) error {
	if t.Rows != e.rows || t.Cols != e.cols {
		return fmt.Errorf("tensor %q has %d rows of %d, the configuration calls for %d of %d", name, t.Rows, t.Cols, e.rows, e.cols)
	}
	if !t.Type.Known() {
		return cannot("tensor %q has type %s, which the native engine does not read; llama.cpp can run it", name, t.Type)
	}
	return nil
}

func missing(name string) error {
	return fmt.Errorf("tensor %q is missing: the file is incomplete or of another model than its configuration", name)
}

// refuse names the first of the tensors that nothing called for.
func refuse(left map[string]Tensor, architecture string) error {
	if len(left) == 0 {
		return nil
	}
	name := slices.Sorted(maps.Keys(left))[0]
	if strings.HasSuffix(name, ".bias") {
		return cannot("tensor %q: biases are not supported by the native engine; llama.cpp can run the model", name)
	}
	return cannot("tensor %q (%d such) has no place in the %s architecture as the native engine computes it", name, len(left), architecture)
}

// checkConfig checks everything but Vocab, which the tensors tell.
func checkConfig(c Config) error {
	for _, b := range []struct {
		what     string
		n, limit int
	}{
		{"number of layers", c.Layers, maxLayers},
		{"hidden size", c.Width, maxWidth},
		{"feed-forward size", c.FeedForward, maxForward},
		{"number of heads", c.Heads, maxHeads},
		{"number of key-value heads", c.KVHeads, maxHeads},
		{"head dimension", c.HeadDim, maxHeadDim},
		{"context length", c.Context, maxContext},
	} {
		if err := bounded(b.what, b.n, b.limit); err != nil {
			return err
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%d heads are not divisible among %d key-value heads", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head dimension %d is odd, so it has no rotary pairs", c.HeadDim)
	case !(c.RopeBase > 0) || math.IsInf(c.RopeBase, 0):
		return fmt.Errorf("rotary base %g is not a positive number", c.RopeBase)
	case !(c.NormEpsilon > 0 && c.NormEpsilon < 1):
		return fmt.Errorf("normalisation epsilon %g is not between 0 and 1", c.NormEpsilon)
	case c.LocalRopeBase < 0 || math.IsNaN(c.LocalRopeBase) || math.IsInf(c.LocalRopeBase, 0):
		return fmt.Errorf("rotary base of local layers %g is not a positive number", c.LocalRopeBase)
	case !(c.QueryScale > 0) || math.IsInf(c.QueryScale, 0):
		return fmt.Errorf("scale of the queries %g is not a positive number", c.QueryScale)
	case c.Window < 0 || c.Window > 0 != (len(c.Local) == c.Layers):
		return fmt.Errorf("sliding window of %d tokens over %d of %d layers", c.Window, len(c.Local), c.Layers)
	case len(c.Classes) > maxClasses:
		return fmt.Errorf("%d classes are more than %d", len(c.Classes), maxClasses)
	}
	return nil
}

func bounded(what string, n, limit int) error {
	if n < 1 || n > limit {
		return fmt.Errorf("%s is %d, not between 1 and %d", what, n, limit)
	}
	return nil
}
