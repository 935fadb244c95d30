package native

import (
	"context"

	"cubby/runtime/engine"
)

// groupRows is about how many tokens a thread computes through all layers by
// itself where a pass has enough for every thread: their activations stay in its
// second-level cache, no thread waits for another within a layer, and the weights,
// which every thread reads for itself, still serve enough rows to pay for the way
// from memory.
const groupRows = 384

// minGroupRows is the least that a thread should have to itself.
const minGroupRows = 48

// evaluate computes the trees and reads what they ask for into out. The bits do
// not depend on who computes what.
func (e *Engine) evaluate(ctx context.Context, j job, out []engine.Output) error {
	e.prepare(j)
	e.pool.begin()
	defer e.pool.end()
	groups := groupsOf(j.trees, e.pool.threads)
	if groups == nil {
		if err := e.team.forward(ctx, j); err != nil {
			return err
		}
		e.read(e.team, j.trees, out)
		return nil
	}
	failed := make([]error, len(groups))
	work := task(func(worker, i int) {
		part, p := j.part(groups[i]), e.solo[worker]
		if failed[i] = p.forward(ctx, part); failed[i] == nil {
			e.read(p, part.trees, out[groups[i].lo:groups[i].hi])
		}
	})
	e.pool.run(len(groups), &work)
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// group is a range of trees.
type group struct{ lo, hi int }

func (j job) part(g group) job {
	j.trees = j.trees[g.lo:g.hi]
	if j.before != nil {
		j.before = j.before[g.lo:g.hi]
	}
	return j
}

// groupsOf splits trees for threads that compute them on their own: nil where
// they had better compute each product together, because there is too little for
// each or it cannot be shared out evenly.
func groupsOf(trees []engine.Tree, threads int) []group {
	total := 0
	for i := range trees {
		total += len(trees[i].Tokens)
	}
	rounds := max(1, (total+threads*groupRows/2)/(threads*groupRows))
	n := threads * rounds
	if len(trees) < n || total < n*minGroupRows {
		return nil
	}
	groups := make([]group, 0, n)
	done, at, largest := 0, 0, 0
	for i := range n {
		g, rows := group{lo: at}, 0
		for goal := total * (i + 1) / n; at < len(trees) && (done < goal || i == n-1); at++ {
			if size := len(trees[at].Tokens); rows > 0 && i < n-1 && done+size-goal > goal-done {
				break
			} else {
				done, rows = done+size, rows+size
			}
		}
		if g.hi = at; g.hi > g.lo {
			groups = append(groups, g)
		}
		largest = max(largest, rows)
	}
	if 10*largest*n > 12*total {
		return nil
	}
	return groups
}
