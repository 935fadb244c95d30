package native

import (
	"context"
	goruntime "runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

func newPool(t testing.TB, threads int) *Pool {
	t.Helper()
	p, err := NewPool(threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func wanted(tokens []labels.Token) []engine.Tree {
	tree := engine.Chain(tokens)
	tree.Wants = []engine.Want{{Node: len(tokens) - 1, Columns: []labels.Token{1, 2, 3}, Normalizer: true}}
	return []engine.Tree{tree}
}

// logits runs one pass behind a prefix of its own.
func logits(ctx context.Context, e *Engine, pre engine.Prefix, tokens []labels.Token) ([]float32, error) {
	out, err := e.Eval(ctx, pre, wanted(tokens))
	if err != nil {
		return nil, err
	}
	return append(out[0].Logits[0], float32(out[0].LogZ[0])), nil
}

// Engines on one pool, loading and computing at the same time, give the bits of
// an engine alone; and one that is closed leaves the others their threads.
func TestEnginesShareAPool(t *testing.T) {
	p := newPool(t, 3)
	tokens, start := []labels.Token{9, 8, 7, 6, 5}, []labels.Token{1, 2, 3}
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		m := enginetest.NewModel("llama", 20+seed)
		alone := open(t, m, Options{Threads: 1})
		defer alone.Close()
		pre, err := alone.Prefix(t.Context(), start)
		if err != nil {
			t.Fatal(err)
		}
		want, err := logits(t.Context(), alone, pre, tokens)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 10 {
				e, err := New(m.Checkpoint(t), enginetest.Tokens{}, Options{Pool: p})
				if err != nil {
					t.Error(err)
					return
				}
				if n := e.Info().Threads; n != 3 {
					t.Errorf("%d threads", n)
				}
				pre, err := e.Prefix(t.Context(), start)
				for range 5 {
					if err != nil {
						break
					}
					var got []float32
					if got, err = logits(t.Context(), e, pre, tokens); err == nil && !slices.Equal(got, want) {
						t.Errorf("seed %d: %v on a shared pool, %v alone", seed, got, want)
					}
				}
				if err != nil {
					t.Error(err)
				}
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Turns are taken in the order in which they were asked for.
func TestTurnsAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, 1)
		p.begin()
		var order []int // guarded by the turn
		for i := range 8 {
			go func() {
				for range 2 { // who asks again stands behind those who wait
					p.begin()
					work := task(func(int, int) { order = append(order, i) })
					p.run(1, &work)
					p.end()
				}
			}()
			synctest.Wait()
		}
		p.end()
		synctest.Wait()
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(order, want) {
			t.Errorf("turns were %v", order)
		}
	})
}

// An engine goes on with a closed pool: a process that stops while a model is
// being loaded must not crash.
func TestClosedPoolStillComputes(t *testing.T) {
	p := newPool(t, 3)
	e := open(t, enginetest.NewModel("llama", 30), Options{Pool: p})
	defer e.Close()
	pre, err := e.Prefix(t.Context(), []labels.Token{1})
	if err != nil {
		t.Fatal(err)
	}
	want, err := logits(t.Context(), e, pre, []labels.Token{4, 5})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Close()
	got, err := logits(t.Context(), e, pre, []labels.Token{4, 5})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// A prefix outlives its engine only where the next one is of the same artefact
// and level.
func TestPrefixIsKeptForTheSameArtifact(t *testing.T) {
	m := enginetest.NewModel("llama", 31)
	first := open(t, m, Options{Threads: 1, Artifact: "sha256:a"})
	pre, err := first.Prefix(t.Context(), []labels.Token{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if kv := first.Info().Memory.KV; kv == 0 || kv != pre.Bytes() {
		t.Errorf("KV of %d bytes, the prefix has %d", kv, pre.Bytes())
	}
	tokens := []labels.Token{4, 5}
	want, err := logits(t.Context(), first, pre, tokens)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		opt Options
		ok  bool
	}{
		"the same artefact": {Options{Threads: 2, Artifact: "sha256:a"}, true},
		"another artefact":  {Options{Threads: 1, Artifact: "sha256:b"}, false},
		"another level":     {Options{Threads: 1, Artifact: "sha256:a", CPU: "portable"}, first.Info().Kernel == "portable"},
		"no artefact":       {Options{Threads: 1}, false},
	} {
		e := open(t, m, tc.opt)
		got, err := logits(t.Context(), e, pre, tokens)
		if (err == nil) != tc.ok || tc.ok && !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	one, two := open(t, m, Options{Threads: 1}), open(t, m, Options{Threads: 1})
	defer one.Close()
	defer two.Close()
	if pre, err = one.Prefix(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := logits(t.Context(), two, pre, tokens); err == nil {
		t.Error("a prefix of another model was accepted")
	}
}

// The weights reported are about those that loading allocates, and closing an
// engine frees them, also where others hold the pool.
func TestMemoryIsReportedAndFreed(t *testing.T) {
	p := newPool(t, 2)
	held := func() int64 {
		var m goruntime.MemStats
		goruntime.GC()
		goruntime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	ck := student(t)
	before := held()
	e, err := New(ck, enginetest.Tokens{}, Options{Pool: p})
	if err != nil {
		t.Fatal(err)
	}
	loaded, told := held()-before, e.Info().Memory
	t.Logf("%d bytes are held, %d told", loaded, told.Weights)
	if diff := loaded - told.Weights; diff < -told.Weights/50 || diff > told.Weights/50 || !told.Loaded {
		t.Errorf("%d bytes are held, told %+v", loaded, told)
	}
	pre, err := e.Prefix(t.Context(), []labels.Token{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := logits(t.Context(), e, pre, []labels.Token{4}); err != nil {
		t.Fatal(err)
	}
	if now := e.Info().Memory; now.Weights <= told.Weights || now.KV == 0 {
		t.Errorf("the output matrix was packed and the prefix computed, told %+v before and %+v after", told, now)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "what Close frees is free", func() bool { return held()-before <= told.Weights/20 }) // once the workers are parked
	goruntime.KeepAlive(ck)
}
