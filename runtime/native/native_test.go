package native

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	goruntime "runtime"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
	"cubby/runtime/native/kernel"
)

// tolerance against float64, as total variation distance over the vocabulary of
// the suite's random models. Measured: 0.0014.
const tolerance = 0.002

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
		t.Run(string(level), func(t *testing.T) {
			enginetest.Suite{
				Open: func(t *testing.T, m enginetest.Model) engine.Engine {
					return open(t, m, Options{CPU: string(level), Threads: 3})
				},
				Tolerance: tolerance,
				Exact:     true,
			}.Run(t)
		})
	}
}

// A long text or prefix is computed in chunks, the last of which sees the others.
func TestConformanceInChunks(t *testing.T) {
	enginetest.Suite{
		Open: func(t *testing.T, m enginetest.Model) engine.Engine {
			return open(t, m, Options{Threads: 2, Chunk: kernel.Block})
		},
		Tolerance: tolerance,
		Exact:     true,
	}.Run(t)
}

// Int8 weights take activations of 8 or 16 bits. Measured: 0.0052 and 0.0002.
func TestConformanceOfInt8Weights(t *testing.T) {
	for _, level := range kernel.Levels() {
		for precision, tolerance := range map[Precision]float64{Int8: 0.02, Int16: 0.001} {
			t.Run(fmt.Sprintf("%s, %s", level, precision), func(t *testing.T) {
				enginetest.Suite{
					Open: func(t *testing.T, m enginetest.Model) engine.Engine {
						return open(t, m, Options{CPU: string(level), Threads: 2, Precision: precision})
					},
					Q8:        true,
					Tolerance: tolerance,
					Exact:     true,
				}.Run(t)
			})
		}
	}
}

// In float32 nothing is rounded but the sums.
func TestFloat32IsTheReference(t *testing.T) {
	for _, level := range kernel.Levels() {
		t.Run(string(level), func(t *testing.T) {
			enginetest.Suite{
				Open: func(t *testing.T, m enginetest.Model) engine.Engine {
					return open(t, m, Options{CPU: string(level), Precision: Float32})
				},
				Tolerance: 2e-6,
				Exact:     true,
			}.Run(t)
		})
	}
}

// Threads share rows and columns out, never a sum: the bits stay.
func TestThreadsChangeNoBit(t *testing.T) {
	m := enginetest.NewModel("llama", 11)
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
	p, err := NewPool(3)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.begin()
	defer p.end()
	defer func() {
		if v := recover(); v != "broken" {
			t.Errorf("run ended with %v, want the worker's panic", v)
		}
	}()
	work := task(func(worker, _ int) {
		if worker > 0 {
			panic("broken")
		}
		for p.open.failure.Load() == nil {
			pause(yieldAfter - 1)
		}
	})
	p.run(100, &work)
}

func TestRefusesWhatItCannotRun(t *testing.T) {
	m := enginetest.NewModel("llama", 12)
	for name, opt := range map[string]Options{
		"unknown kernel":   {CPU: "mmx"},
		"negative threads": {Threads: -1},
		"many threads":     {Threads: 5000},
		"ragged chunks":    {Chunk: 40},
		"unknown rounding": {Precision: "int4"},
	} {
		if e, err := New(m.Checkpoint(t), enginetest.Tokens{}, opt); err == nil {
			e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// A file may claim any context up to the reader's limit: memory follows what is
// asked, not what is claimed.
func TestClaimedContextCostsNothing(t *testing.T) {
	m := enginetest.NewModel("llama", 13)
	claim := binary.LittleEndian.AppendUint32(nil, 512)
	at := bytes.Index(m.GGUF, []byte("llama.context_length"))
	at += bytes.Index(m.GGUF[at:], claim)
	binary.LittleEndian.PutUint32(m.GGUF[at:], 1<<20)
	ck := m.Checkpoint(t)
	if n := ck.Config().Context; n != 1<<20 {
		t.Fatalf("the context is %d", n)
	}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	e, err := New(ck, enginetest.Tokens{}, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	goruntime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("loading allocated %d bytes", n)
	}
}
