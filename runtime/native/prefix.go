package native

import (
	"cubby/models/checkpoint"
	"cubby/runtime/native/kernel"
)

// prefix keeps the keys and values of a shared prompt prefix. Keys lie in
// panels of 32 positions, [panel][HeadDim][32], so that QKᵀ is the same product
// as PV; values lie in rows, [position][HeadDim].
type prefix struct {
	n      int // positions held
	padded int // n rounded up to a panel: length of a score row over the prefix
	heads  []headKV
	kv     int // heads a layer
	dim    int
}

type headKV struct{ keys, values []float32 }

func newPrefix(c *checkpoint.Config, capacity int) *prefix {
	p := &prefix{kv: c.KVHeads, dim: c.HeadDim, heads: make([]headKV, c.Layers*c.KVHeads)}
	size := roundUp(capacity, kernel.Panel) * c.HeadDim
	for i := range p.heads {
		p.heads[i] = headKV{make([]float32, size), make([]float32, size)}
	}
	return p
}

// Len implements engine.Prefix.
func (p *prefix) Len() int { return p.n }

func (p *prefix) head(layer, h int) *headKV { return &p.heads[layer*p.kv+h] }

// store writes position pos of one head; grow makes new positions visible.
func (h *headKV) store(dim, pos int, key, value []float32) {
	panel := h.keys[pos/kernel.Panel*kernel.Panel*dim:]
	for d, v := range key {
		panel[d*kernel.Panel+pos%kernel.Panel] = v
	}
	copy(h.values[pos*dim:], value)
}

func (p *prefix) grow(n int) {
	p.n += n
	p.padded = roundUp(p.n, kernel.Panel)
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
