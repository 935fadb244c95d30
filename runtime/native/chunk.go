package native

import (
	"context"

	"cubby/labels"
	"cubby/runtime/engine"
)

// Chunk is the default of Options.Chunk.
const Chunk = 512

// extend computes the keys and values of tokens, which follow those that j.into
// holds, chunk by chunk.
func (e *Engine) extend(ctx context.Context, j job, tokens []labels.Token, back int) error {
	for len(tokens) > 0 {
		n := min(e.chunk, len(tokens))
		chunk := engine.Chain(tokens[:n])
		chunk.Back = back
		j.trees = []engine.Tree{chunk}
		if err := e.alone(ctx, j); err != nil {
			return err
		}
		tokens = tokens[n:]
	}
	return nil
}

// alone computes one chunk with all threads.
func (e *Engine) alone(ctx context.Context, j job) error {
	e.prepare(j)
	e.pool.begin()
	defer e.pool.end()
	return e.team.forward(ctx, j)
}

// cut computes the beginnings of long texts ahead of the pass, and returns what
// is left of the trees and what lies before each; nil if no text is long. Where a
// text is cut depends on it alone, and so do its bits.
func (e *Engine) cut(ctx context.Context, pre *prefix, trees []engine.Tree) ([]engine.Tree, []*prefix, error) {
	var rest []engine.Tree
	var before []*prefix
	for i := range trees {
		n := e.cutAt(&trees[i])
		if n == 0 {
			continue
		}
		if rest == nil {
			rest, before = append(rest, trees...), make([]*prefix, len(trees))
		}
		b := newPrefix(e.w, e.k, n)
		j := job{pre: pre, before: []*prefix{b}, into: b}
		if err := e.extend(ctx, j, trees[i].Tokens[:n], trees[i].Back); err != nil {
			return nil, nil, err
		}
		rest[i], before[i] = behind(&trees[i], n), b
	}
	if rest == nil {
		return trees, nil, nil
	}
	return rest, before, nil
}

// cutAt is how many of a tree's first nodes can be computed ahead, in whole
// chunks: a chain of which nothing is wanted and from whose last node alone the
// others go on.
func (e *Engine) cutAt(t *engine.Tree) int {
	n := 0
	for n < len(t.Tokens) && int(t.Parents[n]) == n-1 {
		n++
	}
	for i := n; i < len(t.Parents); i++ {
		n = min(n, int(t.Parents[i])+1)
	}
	for _, w := range t.Wants {
		n = min(n, w.Node)
	}
	if t.Pooled >= 0 {
		n = min(n, t.Pooled)
	}
	return max(0, n-1) / e.chunk * e.chunk
}

// behind is the tree without its first n nodes.
func behind(t *engine.Tree, n int) engine.Tree {
	rest := engine.Tree{Tokens: t.Tokens[n:], Back: t.Back, Pooled: -1}
	for _, p := range t.Parents[n:] {
		rest.Parents = append(rest.Parents, p-int32(n))
	}
	if t.Pooled >= 0 {
		rest.Pooled = t.Pooled - n
	}
	for _, w := range t.Wants {
		w.Node -= n
		rest.Wants = append(rest.Wants, w)
	}
	return rest
}
