package residency

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
)

const (
	loading = 300 * time.Millisecond
	passing = 20 * time.Millisecond
	kvToken = 1 // bytes of a fake prefix's token
)

// world is a budget with fake engines inside a synctest bubble. It knows what
// is really in memory.
type world struct {
	t *testing.T
	b *Budget

	mu      sync.Mutex
	memory  int64 // weights of the fakes that are open
	loading int
	most    int64
	log     []string // loads and evictions, in order
}

func newWorld(t *testing.T, limit int64) *world { return &world{t: t, b: NewBudget(limit)} }

// fake is an engine whose answer to a tree is its own name's length, the
// prefix's and the tree's.
type fake struct {
	w      *world
	name   string
	size   int64
	busy   bool
	closed bool
	grows  int64 // added to size by the first pass
}

type fakePrefix struct {
	name string
	n    int
}

func (p fakePrefix) Len() int     { return p.n }
func (p fakePrefix) Bytes() int64 { return int64(p.n) * kvToken }

func (f *fake) Info() engine.Info {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return engine.Info{Engine: f.name, Memory: engine.Memory{Loaded: true, Weights: f.size}}
}

func (f *fake) Tokenizer() engine.Tokenizer { return nil }

func (f *fake) Close() error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.busy || f.closed {
		f.w.t.Errorf("%s was closed in a pass, or twice", f.name)
	}
	f.closed = true
	f.w.memory -= f.size
	f.w.log = append(f.w.log, "-"+f.name)
	return nil
}

func (f *fake) enter() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.busy || f.closed {
		f.w.t.Errorf("%s runs twice at once, or closed", f.name)
	}
	f.busy = true
}

func (f *fake) leave() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.busy = false
	f.size += f.grows
	f.w.memory += f.grows
	f.grows = 0
}

func (f *fake) Prefix(_ context.Context, tokens []labels.Token) (engine.Prefix, error) {
	f.enter()
	defer f.leave()
	time.Sleep(passing)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.log = append(f.w.log, "~"+f.name)
	return fakePrefix{f.name, len(tokens)}, nil
}

func (f *fake) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	f.enter()
	defer f.leave()
	select {
	case <-time.After(passing):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.(fakePrefix).name != f.name {
		return nil, errors.New("a prefix of another engine")
	}
	return []engine.Output{{LogZ: []float64{answer(f.name, p.Len(), len(trees[0].Tokens))}}}, nil
}

func answer(name string, prefix, tree int) float64 {
	return float64(len(name)*10000 + prefix*100 + tree)
}

func (w *world) source(name string, size, estimate int64) Source {
	return Source{Estimate: estimate, KeepsPrefixes: true, Load: func() (engine.Engine, error) {
		w.mu.Lock()
		w.loading++
		if w.loading > 1 {
			w.t.Error("two engines are loaded at once")
		}
		w.mu.Unlock()
		time.Sleep(loading)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.loading--
		w.memory += size
		w.most = max(w.most, w.memory)
		w.log = append(w.log, "+"+name)
		return &fake{w: w, name: name, size: size}, nil
	}}
}

// unit is an opened engine with its prefix.
type unit struct {
	*Engine
	w    *world
	name string
	pre  engine.Prefix
}

func (w *world) open(name string, size int64, prefix int) *unit {
	w.t.Helper()
	e, err := w.b.Open(w.t.Context(), w.source(name, size, size))
	if err != nil {
		w.t.Fatal(err)
	}
	pre, err := e.Prefix(w.t.Context(), make([]labels.Token, prefix))
	if err != nil {
		w.t.Fatal(err)
	}
	w.check()
	return &unit{e, w, name, pre}
}

// pass runs one and requires its answer.
func (u *unit) pass(ctx context.Context, n int) error {
	out, err := u.Eval(ctx, u.pre, []engine.Tree{engine.Chain(make([]labels.Token, n))})
	if err == nil && out[0].LogZ[0] != answer(u.name, u.pre.Len(), n) {
		u.w.t.Errorf("%s answered %v", u.name, out[0].LogZ)
	}
	u.w.check()
	return err
}

// check requires that the budget counts what is there, and keeps to it.
func (w *world) check() {
	w.t.Helper()
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if used := w.b.used(); used > w.b.limit || w.memory > w.b.limit {
		w.t.Errorf("%d bytes are counted and %d in memory, budget %d", used, w.memory, w.b.limit)
	}
}

func (w *world) logged(want string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.log, " "); got != want {
		w.t.Errorf("what happened: %s, want %s", got, want)
	}
	w.log = nil
}

func (u *unit) must(n int) {
	u.w.t.Helper()
	if err := u.pass(u.w.t.Context(), n); err != nil {
		u.w.t.Errorf("%s: %v", u.name, err)
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 250)
		a, b := w.open("a", 100, 5), w.open("b", 100, 5)
		w.logged("+a ~a +b ~b")
		a.must(1)
		c := w.open("c", 100, 5) // b rested longest
		w.logged("-b +c ~c")
		a.must(1)
		b.must(1) // its prefix was kept
		w.logged("-c +b")
		for _, u := range []*unit{a, b, c} {
			m := u.Info().Memory
			if m.Loaded != (u != c) || m.Weights != 100 || m.KV != 5 {
				t.Errorf("%s: %+v", u.name, m)
			}
		}
		if n := b.Info().Memory.Loads; n != 2 {
			t.Errorf("b was loaded %d times", n)
		}
	})
}

func TestAllFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 210)
		a, b := w.open("a", 100, 5), w.open("b", 100, 5)
		for range 5 {
			a.must(1)
			b.must(2)
		}
		w.logged("+a ~a +b ~b")
	})
}

// Prefixes of engines that are not loaded give way when weights alone do not
// make room, and are computed again.
func TestPrefixesGoLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 130)
		a, b := w.open("a", 100, 20), w.open("b", 100, 20)
		w.logged("+a ~a -a +b ~b")
		if a.Info().Memory.KV != 0 || b.Info().Memory.KV != 20 {
			t.Errorf("a holds %+v, b %+v", a.Info().Memory, b.Info().Memory)
		}
		a.must(1)
		w.logged("-b +a ~a")
	})
}

func TestTooLargeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100)
		small := w.open("small", 50, 5)
		for _, estimate := range []int64{10, 101, 1000} {
			_, err := w.b.Open(t.Context(), w.source("large", 101, estimate))
			if err == nil || !strings.Contains(err.Error(), "takes 101 bytes") || !strings.Contains(err.Error(), "budget of 100") {
				t.Errorf("estimated at %d: %v", estimate, err)
			}
			w.check()
		}
		e, err := w.b.Open(t.Context(), w.source("prompt", 90, 90))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Prefix(t.Context(), make([]labels.Token, 11)); err == nil || !strings.Contains(err.Error(), "11 for its prompt") {
			t.Errorf("a prompt that does not fit: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		small.must(1)
	})
}

// Whatever is estimated, what is counted in the end is what there is.
func TestWrongEstimates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 250)
		a := w.open("a", 100, 5)
		for name, estimate := range map[string]int64{"low": 1, "high": 10000} {
			e, err := w.b.Open(t.Context(), w.source(name, 200, estimate))
			if err != nil {
				t.Fatal(err)
			}
			w.check()
			a.must(1)
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Weights that grow in a pass push out an idle engine before the next one.
func TestWeightsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 220)
		a, b := w.open("a", 100, 5), w.open("b", 100, 5)
		a.inner.(*fake).grows = 50
		if err := a.pass2(t); err != nil {
			t.Error(err)
		}
		time.Sleep(settling)
		a.must(1)
		if b.Info().Memory.Loaded {
			t.Error("b is still loaded")
		}
	})
}

// pass2 runs a pass whose end may be over the budget.
func (u *unit) pass2(t *testing.T) error {
	_, err := u.Eval(t.Context(), u.pre, []engine.Tree{engine.Chain(make([]labels.Token, 1))})
	return err
}

// An engine that always has work leaves when its turn is over, and comes back.
func TestBusyEnginesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		units := []*unit{w.open("a", 100, 5), w.open("b", 100, 5)}
		var wg sync.WaitGroup
		passes := make([]int, len(units))
		for i, u := range units {
			wg.Go(func() {
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); passes[i]++ {
					u.must(1)
				}
			})
		}
		wg.Wait()
		loads := units[0].Info().Memory.Loads + units[1].Info().Memory.Loads
		// A turn is four loads long: 1.2 s, and 0.3 s of loading behind it.
		if loads < 15 || loads > 26 || passes[0] < 500 || passes[1] < 500 {
			t.Errorf("%d loads, %d and %d passes", loads, passes[0], passes[1])
		}
	})
}

// An engine between two passes of waiting work is not taken for an idle one.
func TestWorkInFlightIsNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		b := w.open("b", 100, 5)
		a := w.open("a", 100, 5)
		w.logged("+b ~b -b +a ~a")
		done := make(chan time.Time, 1)
		start := time.Now()
		go func() { b.must(1); done <- time.Now() }()
		for time.Since(start) < 500*time.Millisecond { // within its turn
			a.must(1)
		}
		w.logged("")
		if took := (<-done).Sub(start); took > time.Second {
			t.Errorf("b waited %v", took)
		}
		w.logged("-a +b")
	})
}

func TestWaitingCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		b, a := w.open("b", 100, 5), w.open("a", 100, 5)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					a.must(1)
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := b.Wake(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		w.b.mu.Lock()
		if len(w.b.claims) != 0 || w.b.short {
			t.Error("a claim that was given up is still there")
		}
		w.b.mu.Unlock()
		close(stop)
		b.must(1)
	})
}

func TestLoadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		a := w.open("a", 100, 5)
		b := w.open("b", 100, 5)
		good, broken := a.source.Load, errors.New("the disk is gone")
		a.source.Load = func() (engine.Engine, error) { return nil, broken }
		if err := a.pass(t.Context(), 1); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		b.must(1)
		a.source.Load = good
		a.must(1)
	})
}

// A load that panics leaves the budget to the others.
func TestLoadPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		a, b := w.open("a", 100, 5), w.open("b", 100, 5)
		a.source.Load = func() (engine.Engine, error) { panic("not what it seems") }
		func() {
			defer func() {
				if v := recover(); v != "not what it seems" {
					t.Errorf("recovered %v", v)
				}
			}()
			a.pass(t.Context(), 1)
		}()
		b.must(1)
		if w.b.reserved != 0 || len(w.b.claims) != 0 {
			t.Errorf("%d bytes are reserved, %d claims", w.b.reserved, len(w.b.claims))
		}
	})
}

func TestClosedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		a := w.open("a", 100, 5)
		for range 2 {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := a.pass(t.Context(), 1); !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
		w.b.mu.Lock()
		defer w.b.mu.Unlock()
		if w.b.used() != 0 || w.memory != 0 {
			t.Errorf("%d bytes are counted, %d in memory", w.b.used(), w.memory)
		}
	})
}

func TestForeignPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 250)
		a, b := w.open("a", 100, 5), w.open("b", 100, 5)
		if _, err := a.Eval(t.Context(), b.pre, nil); err == nil {
			t.Error("a prefix of another engine was accepted")
		}
	})
}

// Engines whose prefixes die with them compute them again.
func TestPrefixesThatDieWithTheirEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 150)
		a := w.open("a", 100, 5)
		a.source.KeepsPrefixes = false
		w.open("b", 100, 5)
		if kv := a.Info().Memory.KV; kv != 0 {
			t.Errorf("%d bytes of a dead prefix", kv)
		}
		a.must(1)
		w.logged("+a ~a -a +b ~b -b +a ~a")
	})
}

// Any mix of engines and of work: nobody is evicted in a pass, the budget holds
// after every step, each answer is right and nobody waits for ever.
func TestStorm(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t, 300)
			var wg sync.WaitGroup
			for i := range 2 + rng.IntN(4) {
				u := w.open(strings.Repeat("x", i+1), 60+rng.Int64N(200), rng.IntN(20))
				own := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() {
					for range 40 {
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						if own.IntN(8) == 0 {
							ctx, cancel = context.WithTimeout(t.Context(), time.Duration(own.IntN(800))*time.Millisecond)
						}
						_, bounded := ctx.Deadline()
						err := u.pass(ctx, 1+own.IntN(9))
						if err != nil && (!errors.Is(err, context.DeadlineExceeded) || !bounded) {
							t.Errorf("seed %d, %s: %v", seed, u.name, err)
						}
						if left := time.Until(deadline(ctx)); err != nil && left > 0 {
							t.Errorf("seed %d, %s: given up %v early: %v", seed, u.name, left, err)
						}
						cancel()
						if own.IntN(3) == 0 {
							time.Sleep(time.Duration(own.IntN(2000)) * time.Millisecond)
						}
					}
					if err := u.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			w.b.mu.Lock()
			defer w.b.mu.Unlock()
			if w.memory != 0 || w.b.used() != 0 || len(w.b.claims) != 0 {
				t.Errorf("seed %d: %d bytes in memory, %d counted, %d claims", seed, w.memory, w.b.used(), len(w.b.claims))
			}
		})
	}
}

func deadline(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}
