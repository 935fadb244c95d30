package residency_test

import (
	"context"
	"testing"

	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
	"cubby/runtime/native"
	"cubby/runtime/residency"
)

// evicted is an engine that a rival pushes out before every pass.
type evicted struct {
	*residency.Engine
	t     *testing.T
	rival *residency.Engine
}

func (e evicted) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if err := e.rival.Wake(e.t.Context()); err != nil && e.t.Context().Err() == nil {
		e.t.Error(err)
	}
	if e.Info().Memory.Loaded {
		e.t.Error("the engine was not evicted")
	}
	return e.Engine.Eval(ctx, p, trees)
}

// An engine whose weights come and go before every pass keeps every promise of
// one whose weights stay, to the bit.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("every pass waits for an idle rival: not in short mode")
	}
	for _, keeps := range []bool{true, false} {
		artifact := map[bool]string{true: "sha256:a"}[keeps]
		open := func(t *testing.T, b *residency.Budget, m enginetest.Model, size int64) *residency.Engine {
			e, err := b.Open(t.Context(), residency.Source{Estimate: size, KeepsPrefixes: keeps, Load: func() (engine.Engine, error) {
				return native.New(m.Checkpoint(t), enginetest.Tokens{}, native.Options{Threads: 2, Precision: native.Float32, Artifact: artifact})
			}})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		enginetest.Suite{
			Open: func(t *testing.T, m enginetest.Model) engine.Engine {
				alone, err := native.New(m.Checkpoint(t), enginetest.Tokens{}, native.Options{Threads: 1, Precision: native.Float32})
				if err != nil {
					t.Fatal(err)
				}
				size := alone.Info().Memory.Weights
				if err := alone.Close(); err != nil {
					t.Fatal(err)
				}
				b := residency.NewBudget(2*size - 1)
				e := evicted{open(t, b, m, size), t, open(t, b, enginetest.NewModel("llama", 99), size)}
				t.Cleanup(func() { e.rival.Close() })
				return e
			},
			Tolerance: 2e-6, // of the inner engine in float32
			Exact:     true,
			Families:  []string{"llama"},
		}.Run(t)
	}
}
