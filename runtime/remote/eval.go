package remote

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"cubby/labels"
	"cubby/runtime/engine"
)

// question is one Want of a pass.
type question struct {
	tree, want int
	sequence   []labels.Token
	told       Told
}

// Eval asks one question for each Want, several at once. Logits are log
// probabilities, so LogZ is 0. A tree whose questions fail has its own error; Eval
// fails only where the pass is invalid, the engine closed or the context done.
func (e *Engine) Eval(ctx context.Context, pre engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if err := e.usable(ctx); err != nil {
		return nil, err
	}
	p, ok := pre.(*prefix)
	if !ok || p.of != e {
		return nil, errors.New("the prefix is not of this engine")
	}
	if err := engine.Check(e.info, p.Len(), trees); err != nil {
		return nil, err
	}
	asked := questions(p.tokens, trees)
	failed := make([]error, len(trees))
	if err := e.heal(ctx); err != nil {
		for i := range failed {
			failed[i] = err
		}
	} else {
		e.askAll(ctx, trees, asked, failed)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return outputs(trees, asked, failed), nil
}

// questions lists the wants that have columns, in order.
func questions(prefix []labels.Token, trees []engine.Tree) []question {
	var list []question
	for i := range trees {
		for j, w := range trees[i].Wants {
			if len(w.Columns) > 0 {
				list = append(list, question{tree: i, want: j, sequence: sequence(prefix, &trees[i], w.Node)})
			}
		}
	}
	return list
}

// sequence is the tokens up to a node: those of the prefix that the tree keeps, then
// the way from its root.
func sequence(prefix []labels.Token, t *engine.Tree, node int) []labels.Token {
	var path []labels.Token
	for n := int32(node); n >= 0; n = t.Parents[n] {
		path = append(path, t.Tokens[n])
	}
	slices.Reverse(path)
	return append(slices.Clone(prefix[:len(prefix)-t.Back]), path...)
}

// askAll asks the questions from as many goroutines as there are slots, in order.
// Those of a tree that has failed are left out.
func (e *Engine) askAll(ctx context.Context, trees []engine.Tree, asked []question, failed []error) {
	var (
		next atomic.Int64
		mu   sync.Mutex // guards failed
		wg   sync.WaitGroup
	)
	one := func(q *question) {
		mu.Lock()
		skip := failed[q.tree] != nil
		mu.Unlock()
		if skip || ctx.Err() != nil {
			return
		}
		var err error
		if q.told, err = e.ask(ctx, q.sequence, trees[q.tree].Wants[q.want].Columns); err != nil {
			mu.Lock()
			failed[q.tree] = err
			mu.Unlock()
		}
	}
	parts := share(asked, e.slots)
	for range min(e.slots, len(parts)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
				for j := range parts[i] {
					one(&parts[i][j])
				}
			}
		})
	}
	wg.Wait()
}

// share parts the questions into what is asked one after the other. A tree's own stay
// together: the server has its text computed after the first, in the slot where that
// was. With less trees than slots each question goes alone, for the time it takes.
func share(asked []question, slots int) [][]question {
	var parts [][]question
	for from, i := 0, 1; i <= len(asked); i++ {
		if i == len(asked) || asked[i].tree != asked[from].tree {
			parts = append(parts, asked[from:i])
			from = i
		}
	}
	if len(parts) >= slots {
		return parts
	}
	parts = parts[:0]
	for i := range asked {
		parts = append(parts, asked[i:i+1])
	}
	return parts
}

// outputs sorts the answers into the trees.
func outputs(trees []engine.Tree, asked []question, failed []error) []engine.Output {
	out := make([]engine.Output, len(trees))
	for i := range trees {
		if out[i].Err = contracted(failed[i]); out[i].Err == nil {
			out[i].Logits = make([][]float32, len(trees[i].Wants))
			out[i].LogZ = make([]float64, len(trees[i].Wants))
		}
	}
	for i := range asked {
		q := &asked[i]
		o := &out[q.tree]
		if o.Err != nil {
			continue
		}
		row, share := q.told.row()
		o.Logits[q.want] = row
		if share > 0 {
			if o.Unseen == nil {
				o.Unseen = make([]float64, len(o.Logits))
			}
			o.Unseen[q.want] = share
		}
	}
	return out
}
