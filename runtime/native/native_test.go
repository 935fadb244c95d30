package native

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
	"cubby/runtime/native/kernel"
)

// tolerance of a level against float64, as total variation distance over the
// vocabulary of the suite's random models: measured with int8 activations at
// most 0.02, with int16 ones and fine weights 0.0003.
func tolerance(l kernel.Level) float64 {
	if l == kernel.AVX512VNNI {
		return 0.04
	}
	return 0.001
}

func open(t testing.TB, m enginetest.Model, opt Options) *Engine {
	t.Helper()
	e, err := New(m.Checkpoint(t), enginetest.Tokens{}, opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConformance(t *testing.T) {
	for _, level := range kernel.Levels() {
		for _, threads := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s, %d threads", level, threads), func(t *testing.T) {
				enginetest.Suite{
					Open: func(t *testing.T, m enginetest.Model) engine.Engine {
						return open(t, m, Options{CPU: string(level), Threads: threads})
					},
					Tolerance: tolerance(level),
					Exact:     true,
				}.Run(t)
			})
		}
	}
}

// Threads share rows and columns out, never a sum: the bits stay.
func TestThreadsChangeNoBit(t *testing.T) {
	m := enginetest.NewModel(11)
	rnd := rand.New(rand.NewPCG(1, 1))
	trees := make([]engine.Tree, 9)
	for i := range trees {
		tokens := make([]labels.Token, 1+rnd.IntN(60))
		for j := range tokens {
			tokens[j] = labels.Token(rnd.IntN(200))
		}
		trees[i] = engine.Chain(tokens)
		trees[i].Wants = []engine.Want{{Node: len(tokens) - 1, Columns: []labels.Token{1, 2, 3, 4}, Normalizer: true}}
	}
	var want []engine.Output
	for _, threads := range []int{1, 2, 5} {
		e := open(t, m, Options{Threads: threads})
		pre, err := e.Prefix(t.Context(), []labels.Token{5, 6, 7})
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Eval(t.Context(), pre, trees)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		for i := range got {
			for j, v := range got[i].Logits[0] {
				if math.Float32bits(v) != math.Float32bits(want[i].Logits[0][j]) || got[i].LogZ[0] != want[i].LogZ[0] {
					t.Fatalf("%d threads: tree %d differs from one thread", threads, i)
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPoolCarriesPanics(t *testing.T) {
	p := newPool(3)
	defer p.close()
	p.begin()
	defer p.end()
	defer func() {
		if v := recover(); v != "broken" {
			t.Errorf("run ended with %v, want the worker's panic", v)
		}
	}()
	p.run(100, func(worker, _ int) {
		if worker > 0 {
			panic("broken")
		}
		for p.open.Load().failure.Load() == nil {
			pause(yieldAfter - 1)
		}
	})
}

func TestRefusesWhatItCannotRun(t *testing.T) {
	m := enginetest.NewModel(12)
	for name, opt := range map[string]Options{
		"unknown kernel":   {CPU: "mmx"},
		"negative threads": {Threads: -1},
		"many threads":     {Threads: 5000},
	} {
		if e, err := New(m.Checkpoint(t), enginetest.Tokens{}, opt); err == nil {
			e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
