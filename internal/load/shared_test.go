package load_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
)

var stormTexts = []string{
	"where is my cash", "I was charged twice for one coffee", "the machine kept my card", "the fee is wrong",
	strings.Repeat("nobody answers the phone and my transfer is still pending ", 3), "école 日本", "?",
}

// served is one model of a process and the answers it gives alone.
type served struct {
	*runtime.Model
	alone map[string]runtime.Result
	kv    int64 // bytes of its prefix
}

// serve opens a model by itself for its answers, and again among others.
func serve(t *testing.T, shared *load.Shared, opt load.Options, ref string) *served {
	t.Helper()
	opt.Threads = 2
	m, err := load.Model(ref, opt)
	if err != nil {
		t.Fatal(err)
	}
	results, err := m.Score(t.Context(), runtime.Request{Texts: stormTexts})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	s := &served{alone: map[string]runtime.Result{}}
	for i, r := range results {
		s.alone[stormTexts[i]] = r
	}
	opt.Shared = shared
	if s.Model, err = load.Model(ref, opt); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckCanary(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.kv = s.Info().Engine.Memory.KV
	return s
}

// holds requires that the models keep to the budget, and counts their loads.
// They are asked one after the other: where one was loaded meanwhile, the sum is
// of no single moment and says nothing.
func holds(t *testing.T, list []*served, budget int64) int {
	t.Helper()
	count := func() (held int64, loads int) {
		for _, s := range list {
			m := s.Info().Engine.Memory
			loads += m.Loads
			held += m.KV
			if m.Loaded {
				held += m.Weights
			}
		}
		return held, loads
	}
	_, before := count()
	held, _ := count()
	if _, after := count(); before == after && held > budget {
		t.Errorf("%d bytes are held, budget %d", held, budget)
	}
	return before
}

// storm lets callers ask any model at any time and requires the right answers.
func storm(t *testing.T, list []*served, budget int64, rounds int) {
	t.Helper()
	before := holds(t, list, budget)
	var callers sync.WaitGroup
	for caller := range 6 {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(caller), 5))
			for range rounds {
				s := list[rng.IntN(len(list))]
				req := runtime.Request{Bulk: caller%3 == 0}
				for range 1 + rng.IntN(4) {
					req.Texts = append(req.Texts, stormTexts[rng.IntN(len(stormTexts))])
				}
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(10) == 0 {
					cancel()
				}
				got, err := s.Score(ctx, req)
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s refused: %v", s.Info().Model, err)
				}
				cancel()
				for i, r := range got {
					want := s.alone[req.Texts[i]]
					if r.Err != nil || !slices.Equal(r.Distribution, want.Distribution) || r.Tokens != want.Tokens {
						t.Errorf("%s: %+v among others, %+v alone", s.Info().Model, r, want)
					}
				}
				holds(t, list, budget)
			}
		})
	}
	callers.Wait()
	t.Logf("%d loads", holds(t, list, budget)-before)
	if budget < total(list) && holds(t, list, budget) == before {
		t.Error("the models do not fit together, and none was loaded again")
	}
	for _, s := range list {
		st := s.Stats()
		if st.InFlight != 0 || st.Failed != 0 || st.Admitted != st.Answered+st.Cancelled {
			t.Errorf("%s: %+v", s.Info().Model, st)
		}
		if kv := s.Info().Engine.Memory.KV; kv != s.kv {
			t.Errorf("%s holds %d bytes of its prefix, at first %d", s.Info().Model, kv, s.kv)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func total(list []*served) (n int64) {
	for _, s := range list {
		m := s.Info().Engine.Memory
		n += m.Weights + m.KV
	}
	return n
}

func share(t *testing.T, memory, cache int64) *load.Shared {
	t.Helper()
	s, err := load.Share(2, memory, cache)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Three models of which one or two fit: each answer is the one of the model
// alone, bit for bit, with the weights coming and going.
func TestModelsShareMemory(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for _, budget := range []int64{48e6, 80e6} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			shared := share(t, budget, 0)
			var list []*served
			for _, name := range []string{"first", "second", "third"} {
				list = append(list, serve(t, shared, load.Options{Home: t.TempDir(), Name: name}, "demo"))
			}
			storm(t, list, budget, rounds)
		})
	}
}

func TestModelsShareThreadsAndCache(t *testing.T) {
	shared := share(t, 0, 1<<20)
	home := t.TempDir()
	list := []*served{
		serve(t, shared, load.Options{Home: home, Name: "first"}, "demo"),
		serve(t, shared, load.Options{Home: home, Name: "second"}, "demo"),
	}
	storm(t, list, 1<<40, 20)
	// One artefact: what either was asked, both know.
	if st := shared.Cache().Stats(); st.Entries != len(stormTexts) || st.Hits == 0 {
		t.Errorf("stats %+v", st)
	}
}

// Real students of several families beside the demo, with room for one of the
// large ones at a time.
func TestPackagesShareMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("imports three packages: not in short mode")
	}
	packages := testenv.Packages(t)
	store := models.NewStore(t.TempDir())
	const budget = 320e6
	shared := share(t, budget, 0)
	list := []*served{serve(t, shared, load.Options{Home: store.Root()}, "demo")}
	for name, path := range map[string]string{"banking": "banking-routing/gguf.tar", "shop": "ecommerce/gguf.tar", "classifier": "banking-routing/seqcls.tar"} {
		_, err := importer.Import(t.Context(), store, importer.Options{Path: filepath.Join(packages, path), Name: name})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, serve(t, shared, load.Options{Home: store.Root()}, name))
	}
	for _, s := range list {
		t.Logf("%s: %+v", s.Info().Model, s.Info().Engine.Memory)
	}
	storm(t, list, budget, 12)
}
