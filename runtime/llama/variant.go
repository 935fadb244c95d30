package llama

import (
	"cmp"
	"context"
	"slices"

	"cubby/runtime/llama/libllama"
)

// variant is a computed beginning of the prefix, in a sequence of its own. Keys
// and values can be shared up to any position, and one variant, the whole prefix,
// serves all trees. The state of a recurrent model cannot be taken back: trees
// that leave out other numbers of the prefix's last tokens have variants of their
// own.
type variant struct {
	seq  int32
	seen int // tokens
	last int // when it was used, by Engine.uses
}

// maxVariants is how many beginnings of one prefix are kept of a recurrent model:
// texts merge with no more than a few of a prompt's last tokens.
const maxVariants = 4

// variants is how many sequences are kept for them.
func (e *Engine) variants() int32 {
	if e.facts.Recurrent {
		return maxVariants
	}
	return 1
}

// sequences is how many there are, with those of the variants.
func (e *Engine) sequences() int {
	if e.facts.Recurrent {
		return recurrentSequences
	}
	return sequences
}

// begin returns the sequence of the prefix without its last back tokens, and
// computes it where it is not there.
func (e *Engine) begin(ctx context.Context, p *prefix, back int) (int32, error) {
	if err := e.reserve(p); err != nil {
		return 0, err
	}
	if e.shared != p {
		e.ctx.Clear()
		e.shared, e.variant = p, nil
	}
	seen := p.Len()
	if e.facts.Recurrent {
		seen -= back
	}
	e.uses++
	for _, v := range e.variant {
		if v.seen == seen {
			v.last = e.uses
			return v.seq, nil
		}
	}
	v := e.claim()
	v.seen, v.last = seen, e.uses
	e.ctx.Forget(v.seq)
	if err := e.fill(ctx, v, p); err != nil {
		e.shared = nil // whatever is there is computed again
		return 0, err
	}
	return v.seq, nil
}

// claim returns a variant to fill: a new one, or the one that was not used for the
// longest time. A group of trees uses maxVariants at most, so none of its own.
func (e *Engine) claim() *variant {
	if n := int32(len(e.variant)); n < e.variants() {
		e.variant = append(e.variant, &variant{seq: n})
		return e.variant[n]
	}
	return slices.MinFunc(e.variant, func(a, b *variant) int { return cmp.Compare(a.last, b.last) })
}

// fill computes a beginning of the prefix, in passes.
func (e *Engine) fill(ctx context.Context, v *variant, p *prefix) error {
	seq := []int32{v.seq}
	for at := 0; at < v.seen; {
		e.ctx.Begin()
		for ; at < v.seen && e.ctx.Len() < e.opt.Pass; at++ {
			e.ctx.Add(p.tokens[at], at, seq, at == v.seen-1)
		}
		if err := e.ctx.Decode(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reserve makes a context that holds the prefix, its variants and a pass.
func (e *Engine) reserve(p *prefix) error {
	cells := p.Len()*int(e.variants()) + e.opt.Pass
	if e.ctx != nil && e.cells >= cells {
		return nil
	}
	if e.ctx != nil {
		e.ctx.Close()
		e.ctx, e.shared = nil, nil
	}
	ctx, err := e.model.NewContext(libllama.ContextOptions{
		Tokens: cells, Pass: e.opt.Pass, Micro: micro, Sequences: e.sequences(), Outputs: outputs, Threads: e.opt.Threads,
	})
	if err != nil {
		return err
	}
	e.ctx, e.cells = ctx, cells
	return nil
}
