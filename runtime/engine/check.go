package engine

import (
	"fmt"

	"cubby/labels"
)

// Chain returns the tree of one text: each token follows the one before.
// Nothing is wanted of it yet.
func Chain(tokens []labels.Token) Tree {
	t := Tree{Tokens: tokens, Parents: make([]int32, len(tokens)), Pooled: -1}
	for i := range tokens {
		t.Parents[i] = int32(i) - 1
	}
	return t
}

// Check verifies every tree of a pass against the engine's limits, so that no
// shape an engine cannot take ever reaches its kernels.
func Check(info Info, prefix int, trees []Tree) error {
	total := 0
	for i := range trees {
		if err := checkTree(info, prefix, &trees[i]); err != nil {
			return fmt.Errorf("tree %d: %w", i, err)
		}
		total += len(trees[i].Tokens)
	}
	if total > info.MaxPass {
		return fmt.Errorf("the pass has %d tokens: the limit is %d", total, info.MaxPass)
	}
	return nil
}

// CheckPrefix verifies the tokens of a prefix against the engine's limits.
func CheckPrefix(info Info, tokens []labels.Token) error {
	if len(tokens) > info.Context {
		return fmt.Errorf("the prefix has %d tokens, but the context of the model is %d", len(tokens), info.Context)
	}
	for i, t := range tokens {
		if t < 0 || int(t) >= info.Vocab {
			return fmt.Errorf("token %d of the prefix is %d, outside the vocabulary of %d", i, t, info.Vocab)
		}
	}
	return nil
}

func checkTree(info Info, prefix int, t *Tree) error {
	n := len(t.Tokens)
	switch {
	case n == 0:
		return fmt.Errorf("no tokens")
	case len(t.Parents) != n:
		return fmt.Errorf("%d tokens but %d parents", n, len(t.Parents))
	case t.Back < 0 || t.Back > prefix:
		return fmt.Errorf("leaves out %d tokens of a prefix of %d", t.Back, prefix)
	case t.Pooled < -1 || t.Pooled >= n:
		return fmt.Errorf("pooled node %d is outside its %d nodes", t.Pooled, n)
	case t.Pooled >= 0 && info.Classes == 0:
		return fmt.Errorf("asks for class scores, but the model has no classification head")
	}
	if err := checkNodes(info, prefix-t.Back, t); err != nil {
		return err
	}
	for i, w := range t.Wants {
		if w.Node < 0 || w.Node >= n {
			return fmt.Errorf("want %d: node %d is outside its %d nodes", i, w.Node, n)
		}
		for _, c := range w.Columns {
			if c < 0 || int(c) >= info.Vocab {
				return fmt.Errorf("want %d: column %d is outside the vocabulary of %d", i, c, info.Vocab)
			}
		}
	}
	return nil
}

func checkNodes(info Info, start int, t *Tree) error {
	position := make([]int, len(t.Tokens))
	for i, tok := range t.Tokens {
		if tok < 0 || int(tok) >= info.Vocab {
			return fmt.Errorf("token %d of node %d is outside the vocabulary of %d", tok, i, info.Vocab)
		}
		p := t.Parents[i]
		if p < -1 || int(p) >= i {
			return fmt.Errorf("node %d has parent %d, which does not come before it", i, p)
		}
		position[i] = start
		if p >= 0 {
			position[i] = position[p] + 1
		}
		if position[i] >= info.Context {
			return fmt.Errorf("node %d is at position %d: the context of the model is %d", i, position[i], info.Context)
		}
	}
	return nil
}
