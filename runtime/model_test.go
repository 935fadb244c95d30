package runtime

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

var threeLabels = []string{"cash", "cash_advance", "card"}

// openModel puts a Model in front of the hashed engine.
func openModel(t *testing.T, change func(*models.Manifest), opt Options) *Model {
	t.Helper()
	m := testManifest(threeLabels, models.Constrained)
	m.Schema, m.Name = models.SchemaVersion, "test"
	m.Weights = "model.gguf"
	m.Files = []models.File{{Path: "model.gguf", SHA256: models.DigestOf(nil)}}
	m.Source = models.Source{Kind: models.GGUF, From: "test"}
	if change != nil {
		change(&m)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := models.OpenEmbedded(raw, map[string][]byte{"model.gguf": {}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(opened, &hashed{}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func scoreAll(t *testing.T, m *Model, texts ...string) []Result {
	t.Helper()
	results, err := m.Score(t.Context(), Request{Texts: texts})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestModelAnswersInOrder(t *testing.T) {
	m := openModel(t, nil, Options{BatchTokens: 40})
	texts := []string{"one", "", "three \xff", "four", strings.Repeat("five ", 300)}
	results := scoreAll(t, m, texts...)
	for i, code := range []Code{"", CodeEmptyText, CodeInvalidUTF8, "", ""} {
		r := results[i]
		if code != "" {
			if r.Err == nil || r.Err.Code != code || r.Distribution != nil {
				t.Errorf("text %d: %+v, want %s", i, r, code)
			}
			continue
		}
		if r.Err != nil || r.Distribution.Check() != nil || r.Tokens == 0 {
			t.Errorf("text %d: %+v", i, r)
		}
		alone := scoreAll(t, m, texts[i])[0]
		for j, p := range r.Distribution {
			if p != alone.Distribution[j] {
				t.Errorf("text %d: %v in company, %v alone", i, r.Distribution, alone.Distribution)
			}
		}
	}
	if st := m.Stats(); st.Admitted != 6 || st.Answered != 6 {
		t.Errorf("stats %+v", st)
	}
	if _, err := m.Score(t.Context(), Request{}); err != nil {
		t.Errorf("no texts: %v", err)
	}
}

func TestModelCalibratesAndReviews(t *testing.T) {
	plain := scoreAll(t, openModel(t, nil, Options{}), "text")[0]
	_, best := plain.Distribution.Best()
	calibration := labels.Calibration{Temperature: 3}
	want := calibration.Apply(plain.Distribution)
	_, softer := want.Best()
	for _, tc := range []struct {
		threshold float64
		review    bool
	}{{(best + softer) / 2, true}, {softer / 2, false}} {
		m := openModel(t, func(m *models.Manifest) {
			m.Calibration, m.Policy = &calibration, &labels.Policy{Threshold: tc.threshold}
		}, Options{})
		got := scoreAll(t, m, "text")[0]
		if got.Distribution.Distance(want) > 1e-12 || got.Review != tc.review || !m.Info().Calibrated {
			t.Errorf("got %v, review %v, want %v, %v", got.Distribution, got.Review, want, tc.review)
		}
	}
	if plain.Review {
		t.Error("review without a policy")
	}
}

func TestCanary(t *testing.T) {
	truth := scoreAll(t, openModel(t, nil, Options{}), "canary")[0].Distribution
	wrong := labels.Distribution{truth[1], truth[2], truth[0]}
	for name, tc := range map[string]struct {
		canary *models.Canary
		err    string
	}{
		"none":  {nil, ""},
		"same":  {&models.Canary{Text: "canary", Probabilities: truth, Tolerance: 1e-9}, ""},
		"other": {&models.Canary{Text: "canary", Probabilities: wrong, Tolerance: 0.01}, "away from those recorded"},
		"loose": {&models.Canary{Text: "canary", Probabilities: wrong, Tolerance: 0.999}, ""},
	} {
		m := openModel(t, func(m *models.Manifest) {
			m.Canary, m.Calibration = tc.canary, &labels.Calibration{Temperature: 2}
		}, Options{})
		err := m.CheckCanary(t.Context())
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d := (labels.Distribution{1}).Distance([]float64{0.5, 0.5}); !math.IsNaN(d) {
		t.Errorf("distributions of different lengths are %v apart", d)
	}
}

func TestModelCloses(t *testing.T) {
	m := openModel(t, nil, Options{})
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := m.Score(t.Context(), Request{Texts: []string{"late"}})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeDraining {
		t.Errorf("got %v", err)
	}
	if m.CheckCanary(t.Context()) != nil {
		t.Error("a model without a canary passes")
	}
}

func TestModelRefusesTheGone(t *testing.T) {
	m := openModel(t, nil, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Score(ctx, Request{Texts: []string{"text"}})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeCanceled {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	o, err := Options{}.withDefaults(engine.Info{MaxPass: 100})
	if err != nil || o.BatchTokens != 100 || o.QueueTokens != DefaultQueueTokens || o.Observer == nil {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range []Options{{BatchTokens: -1}, {QueueTokens: -1}} {
		if _, err := bad.withDefaults(engine.Info{}); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// ears is an observer that adds up what it hears.
type ears struct {
	mu                            sync.Mutex
	requests, passes, items, most int
	last                          int
}

func (e *ears) Tokenized(time.Duration) { e.add(func() { e.requests++ }) }
func (e *ears) Queued(tokens int)       { e.add(func() { e.last, e.most = tokens, max(e.most, tokens) }) }
func (e *ears) Pass(items, tokens int, took time.Duration) {
	e.add(func() { e.passes++; e.items += items })
}

func (e *ears) add(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func TestObserverHearsEverything(t *testing.T) {
	e := &ears{}
	m := openModel(t, nil, Options{BatchTokens: 60, Observer: e})
	texts := []string{"one", "two", "three", "four", "five"}
	cost := 0
	for _, r := range scoreAll(t, m, texts...) {
		cost += r.Tokens
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if e.requests != 1 || e.items != len(texts) || e.passes < 1 || e.last != 0 || e.most < cost {
		t.Errorf("heard %+v", e)
	}
}

// Many callers at once get what one gets, under the race detector too.
func TestModelIsSafeForConcurrentUse(t *testing.T) {
	m := openModel(t, nil, Options{BatchTokens: 64, QueueTokens: 1 << 20})
	want := scoreAll(t, m, "the same text")[0].Distribution
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			got, err := m.Score(t.Context(), Request{Texts: []string{"filler", "the same text"}, Bulk: i%2 == 0})
			if err != nil || got[1].Distribution.Distance(want) != 0 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	wg.Wait()
}
