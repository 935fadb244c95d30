package native

import (
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// A pass allocates its answers and what checks its trees, and nothing that grows
// with the model: the ceiling is a few a tree.
func TestPassesAllocateOnlyAnswers(t *testing.T) {
	const trees, ceiling = 16, 5
	for _, threads := range []int{1, 2} {
		e := open(t, enginetest.NewModel("llama", 40), Options{Threads: threads})
		defer e.Close()
		pre, err := e.Prefix(t.Context(), make([]labels.Token, 40))
		if err != nil {
			t.Fatal(err)
		}
		pass := make([]engine.Tree, trees)
		for i := range pass {
			pass[i] = engine.Chain(make([]labels.Token, 20))
			pass[i].Wants = []engine.Want{{Node: 19, Columns: []labels.Token{1, 2, 3}}}
		}
		n := testing.AllocsPerRun(20, func() {
			if _, err := e.Eval(t.Context(), pre, pass); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%d threads: %v allocations a pass of %d trees", threads, n, trees)
		if n > ceiling*trees {
			t.Errorf("%d threads: %v allocations a pass of %d trees, more than %d a tree", threads, n, trees, ceiling)
		}
	}
}
