package runtime

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"cubby/labels"
	"cubby/models"
)

// check walks the cache: the bytes counted are those held, and within bounds.
func (c *Cache) check(t rapid.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := int64(0)
	for _, r := range c.lru.Values() {
		sum += r.size()
	}
	if sum != c.stats.Bytes || sum > c.stats.Limit {
		t.Fatalf("%d bytes are held, counted %d, limit %d", sum, c.stats.Bytes, c.stats.Limit)
	}
}

// Any sequence of questions: what is found was put there, the least recently
// used goes first, and the books balance after every step.
func TestCacheAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "labels")
		size := remembered{dist: make(labels.Distribution, n)}.size()
		room := rapid.IntRange(0, 6).Draw(t, "entries")
		c := NewCache(int64(room)*size + rapid.Int64Range(0, size-1).Draw(t, "slack"))
		var order []string // least recently used first
		var want CacheStats
		for step := range rapid.IntRange(0, 60).Draw(t, "steps") {
			text := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "text"))
			q := c.question("a", models.Constrained, text)
			got, ok := c.get(q, false)
			if held := slices.Contains(order, text); held != ok {
				t.Fatalf("step %d: text %s held %v, found %v", step, text, held, ok)
			}
			order = slices.DeleteFunc(order, func(o string) bool { return o == text })
			if ok {
				want.Hits++
				if fmt.Sprint(int(got.dist[0])) != text {
					t.Fatalf("text %s got the answer of %v", text, got.dist)
				}
				got.dist[0] = -1 // a caller's own
			} else {
				want.Misses++
				dist := make(labels.Distribution, n)
				fmt.Sscan(text, &dist[0])
				c.put(q, remembered{dist: dist})
				dist[0] = -1
			}
			if order = append(order, text); len(order) > room {
				order = order[1:]
				if room > 0 {
					want.Evictions++
				}
			}
			c.check(t)
		}
		st := c.Stats()
		if st.Hits != want.Hits || st.Misses != want.Misses || st.Evictions != want.Evictions || st.Entries != len(order) {
			t.Fatalf("stats %+v, want %+v and %d entries", st, want, len(order))
		}
	})
}

// No two different questions meet, however their parts are cut.
func TestCacheQuestionsKeepTheirPartsApart(t *testing.T) {
	c, other := NewCache(1<<20), NewCache(1<<20)
	seen := map[question]string{}
	for _, parts := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "", "bc"}, {"a", "b", "c "}, {"a", "b", "C"}, {"", "", "abc"}} {
		q := c.question(parts[0], models.Scoring(parts[1]), parts[2])
		if before, ok := seen[q]; ok {
			t.Errorf("%q is taken for %s", parts, before)
		}
		seen[q] = fmt.Sprint(parts)
		if q == other.question(parts[0], models.Scoring(parts[1]), parts[2]) {
			t.Error("digests do not depend on the process's key")
		}
	}
}

// The bytes counted are about those that an answer takes.
func TestCacheCountsWhatItHolds(t *testing.T) {
	const entries, n = 20000, 77
	held := func() uint64 {
		var m goruntime.MemStats
		goruntime.GC()
		goruntime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	c := NewCache(1 << 30)
	for i := range entries {
		c.put(c.question("a", models.Constrained, fmt.Sprint(i)), remembered{dist: make(labels.Distribution, n)})
	}
	got, counted := held()-before, uint64(c.Stats().Bytes)
	if got > counted || counted > 2*got {
		t.Errorf("%d bytes are held, %d counted", got, counted)
	}
	goruntime.KeepAlive(c)
}

func openCached(t *testing.T, limit int64, change func(*models.Manifest)) (*Model, *Cache) {
	c := NewCache(limit)
	return openModel(t, change, Options{Cache: c, BatchTokens: 64, QueueTokens: 1 << 20}), c
}

func TestCachedAnswersAreTheSameBits(t *testing.T) {
	plain := openModel(t, nil, Options{})
	m, c := openCached(t, 1<<20, nil)
	texts := []string{"one", "two", "", "one", "tree \xff"}
	for round, cached := range []bool{false, true} {
		for i, r := range scoreAll(t, m, texts...) {
			want := scoreAll(t, plain, texts[i])[0]
			if !slices.Equal(r.Distribution, want.Distribution) || r.Tokens != want.Tokens || (r.Err == nil) != (want.Err == nil) {
				t.Errorf("round %d, text %d: %+v, want %+v", round, i, r, want)
			}
			if r.Cached != (cached && r.Err == nil) || r.Cached && r.Compute+r.Queue != 0 {
				t.Errorf("round %d, text %d: %+v", round, i, r)
			}
		}
		c.check(t)
	}
	// Two different texts; errors are not kept.
	if st := c.Stats(); st.Entries != 2 || st.Hits != 2 || st.Misses != 6 {
		t.Errorf("stats %+v", st)
	}
	if st := m.Stats(); st.Admitted != 3 || st.Answered != 3 {
		t.Errorf("a hit went through the queue: %+v", st)
	}
}

func TestCacheTellsMethodsAndModelsApart(t *testing.T) {
	m, c := openCached(t, 1<<20, nil)
	other := openModel(t, func(m *models.Manifest) { m.Name = "other" }, Options{Cache: c})
	ask := func(m *Model, method models.Scoring) Result {
		t.Helper()
		r, err := m.Score(t.Context(), Request{Texts: []string{"text"}, Scoring: method})
		if err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
		return r[0]
	}
	for _, first := range []Result{ask(m, models.Constrained), ask(m, models.Likelihood), ask(other, "")} {
		if first.Cached {
			t.Error("an answer of another method or model was given")
		}
	}
	for _, again := range []Result{ask(m, ""), ask(m, models.Constrained), ask(m, models.Likelihood), ask(other, models.Constrained)} {
		if !again.Cached {
			t.Error("an answer was not found")
		}
	}
}

// Calibration and policy are applied to what is held, not held.
func TestCachedAnswersAreJudgedAnew(t *testing.T) {
	m, _ := openCached(t, 1<<20, func(m *models.Manifest) {
		m.Calibration, m.Policy = &labels.Calibration{Temperature: 3}, &labels.Policy{Threshold: 0.99}
	})
	first, again := scoreAll(t, m, "text")[0], scoreAll(t, m, "text")[0]
	if !again.Cached || !slices.Equal(first.Distribution, again.Distribution) || !again.Review {
		t.Errorf("first %+v, again %+v", first, again)
	}
	m.model.Manifest.Calibration, m.model.Manifest.Policy = &labels.Calibration{Temperature: 1}, nil
	changed := scoreAll(t, m, "text")[0]
	if !changed.Cached || changed.Review || slices.Equal(changed.Distribution, first.Distribution) {
		t.Errorf("a change of calibration and policy did not show: %+v", changed)
	}
}

func TestCutAnswersAreNotGivenWhereCuttingIsRefused(t *testing.T) {
	m, _ := openCached(t, 1<<20, nil)
	long := strings.Repeat("five ", 2000)
	if r := scoreAll(t, m, long)[0]; r.Truncated == 0 {
		t.Fatalf("not cut: %+v", r)
	}
	if r := scoreAll(t, m, long)[0]; !r.Cached || r.Truncated == 0 {
		t.Errorf("got %+v", r)
	}
	r, err := m.Score(t.Context(), Request{Texts: []string{long}, NoTruncate: true})
	if err != nil || r[0].Err == nil || r[0].Err.Code != CodeTextTooLong {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestClosedModelAnswersNothingFromItsCache(t *testing.T) {
	m, _ := openCached(t, 1<<20, nil)
	scoreAll(t, m, "text")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := m.Score(t.Context(), Request{Texts: []string{"text"}})
	if e, ok := err.(*Error); !ok || e.Code != CodeDraining {
		t.Errorf("got %v", err)
	}
	if st := m.Stats(); st.Refused != 1 {
		t.Errorf("stats %+v", st)
	}
}

// The cache holds no text in clear.
func TestCacheHoldsNoText(t *testing.T) {
	c := NewCache(1 << 20)
	q := c.question("artifact", models.Constrained, "my secret salary")
	c.put(q, remembered{dist: labels.Distribution{1}, tokens: 3})
	if dump := fmt.Appendf(nil, "%q %+v", q, c.lru.Values()); bytes.Contains(dump, []byte("secret")) {
		t.Errorf("%s", dump)
	}
}

// Texts that a request holds several times take one place in the queue, and
// each gets an answer that is its own.
func TestRepeatedTextsOfARequest(t *testing.T) {
	m := openModel(t, nil, Options{BatchTokens: 40})
	e := &ears{}
	counting := openModel(t, nil, Options{BatchTokens: 40, Observer: e})
	texts := slices.Repeat([]string{"one", "two", "", "three"}, 50)
	results := scoreAll(t, counting, texts...)
	for i, r := range results {
		want := scoreAll(t, m, texts[i])[0]
		if !slices.Equal(r.Distribution, want.Distribution) || r.Tokens != want.Tokens || (r.Err == nil) != (want.Err == nil) {
			t.Fatalf("text %d: %+v, want %+v", i, r, want)
		}
	}
	results[0].Distribution[0] = math.NaN()
	if math.IsNaN(results[4].Distribution[0]) {
		t.Error("two results share memory")
	}
	if st := counting.Stats(); st.Admitted != 150 || st.Answered != 150 {
		t.Errorf("stats %+v", st)
	}
	if err := counting.Close(); err != nil {
		t.Fatal(err)
	}
	if e.items != 3 {
		t.Errorf("%d texts were computed, want 3", e.items)
	}
}

// Many callers of few texts against a cache that is too small for them: each
// answer is right, under the race detector too.
func TestCacheUnderStorm(t *testing.T) {
	plain := openModel(t, nil, Options{})
	texts := make([]string, 12)
	for i := range texts {
		texts[i] = fmt.Sprintf("text number %d", i)
	}
	want := scoreAll(t, plain, texts...)
	m, c := openCached(t, 5*remembered{dist: make(labels.Distribution, len(threeLabels))}.size(), nil)
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(caller), 9))
			for range 60 {
				picks := make([]int, 1+rng.IntN(6))
				req := Request{Bulk: caller%3 == 0}
				for i := range picks {
					picks[i] = rng.IntN(len(texts))
					req.Texts = append(req.Texts, texts[picks[i]])
				}
				got, err := m.Score(t.Context(), req)
				if err != nil {
					t.Errorf("refused: %v", err)
					continue
				}
				for i, r := range got {
					if r.Err != nil || !slices.Equal(r.Distribution, want[picks[i]].Distribution) {
						t.Errorf("text %d: %+v", picks[i], r)
					}
				}
				c.check(t)
			}
		})
	}
	wg.Wait()
	st := c.Stats()
	if st.Hits == 0 || st.Evictions == 0 || st.Entries > 5 {
		t.Errorf("stats %+v", st)
	}
	if s := m.Stats(); s.Admitted != s.Answered {
		t.Errorf("stats %+v", s)
	}
}
