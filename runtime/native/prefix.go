package native

import (
	"sync/atomic"

	"cubby/runtime/native/kernel"
)

// prefix keeps the keys and values of consecutive positions: of a shared prompt
// prefix, or of the beginning of a long text.
type prefix struct {
	owner owner
	n     int // positions held
	heads []headKV
	kv    int // heads a layer
}

// headKV holds one head's keys and values as matrices for the kernel, so that
// attention multiplies as the layers do: keys have a column a position, values a
// column a dimension and an input a position.
type headKV struct{ keys, values *kernel.Matrix }

func newPrefix(w *weights, k *kernel.Kernel, capacity int) *prefix {
	p, slots := emptyPrefix(w, capacity)
	for _, s := range slots {
		*s.to = k.NewMatrix(s.kind, s.n, s.cols)
	}
	return p
}

// emptyPrefix returns a prefix without its matrices, and where they belong.
func emptyPrefix(w *weights, capacity int) (*prefix, []slot) {
	c := &w.cfg
	p := &prefix{kv: c.KVHeads, heads: make([]headKV, c.Layers*c.KVHeads)}
	slots := make([]slot, 0, 2*len(p.heads))
	size := roundUp(capacity, kernel.Block)
	for i := range p.heads {
		h := &p.heads[i]
		slots = append(slots, slot{&h.keys, w.kvWeights(), size, c.HeadDim}, slot{&h.values, w.kvWeights(), c.HeadDim, size})
	}
	return p, slots
}

// kvWeights is how keys and values are held: in 12 bits their rounding does not
// show in a distribution.
func (w *weights) kvWeights() kernel.Weights {
	if w.precision == Float32 {
		return kernel.Float32
	}
	return kernel.Int12
}

// owner is who can use a prefix: engines that compute the same bits of the same
// artefact, or one engine alone where the artefact is not known.
type owner struct {
	artifact  string
	level     kernel.Level
	precision Precision
	chunk     int    // tokens that were computed in one pass
	serial    uint64 // 0 where the artefact is known
}

var serials atomic.Uint64

func newOwner(artifact string, level kernel.Level, precision Precision, chunk int) owner {
	o := owner{artifact: artifact, level: level, precision: precision, chunk: chunk}
	if artifact == "" {
		o.serial = serials.Add(1)
	}
	return o
}

// Len implements engine.Prefix.
func (p *prefix) Len() int { return p.n }

func (p *prefix) len() int {
	if p == nil {
		return 0
	}
	return p.n
}

// Bytes implements engine.Prefix.
func (p *prefix) Bytes() int64 {
	n := int64(0)
	for _, h := range p.heads {
		n += int64(h.keys.Bytes() + h.values.Bytes())
	}
	return n
}

func (p *prefix) head(layer, h int) *headKV { return &p.heads[layer*p.kv+h] }

func roundUp(n, to int) int { return (n + to - 1) / to * to }
