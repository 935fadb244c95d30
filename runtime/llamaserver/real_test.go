package llamaserver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cubby/internal/realserver"
	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
	"cubby/runtime/llamaserver"
	"cubby/runtime/remote"
)

func open(t *testing.T, s *realserver.Student, srv *realserver.Server, key string) *remote.Engine {
	t.Helper()
	e, err := llamaserver.Open(t.Context(), llamaserver.Options{URL: srv.URL, Key: key, Tokenizer: s.Tokenizer(t), Manifest: s.Model.Manifest})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The server and the native engine compute the same file, but round activations to 8
// bits each in its own way, which moves probabilities by 0.01 to 0.02 on average
// (docs/performance.md, Q8_0) and more where two labels are close; so does what the
// server happens to compute together. Hugging Face computes the unrounded weights in
// float32: the best label must be its own, but where two are within that rounding.
func TestRealServerAnswersAsTheOthers(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	s := realserver.OpenStudent(t, 24)
	srv := realserver.LlamaServer(t, s.GGUF)
	m, native := s.Serve(t, open(t, s, srv, "")), s.Serve(t, s.Native(t))
	start := time.Now()
	got := s.Answers(t, m, models.Constrained)
	t.Logf("%d texts in %v", len(got), time.Since(start).Round(time.Millisecond))
	within(t, "native, constrained", realserver.Compare(got, s.Answers(t, native, models.Constrained)), len(got))
	within(t, "Hugging Face", realserver.Compare(got, s.Reference(t)), len(got))
	long(t, m)
	few := s.First(3) // each text costs some thirty questions then
	got = few.Answers(t, m, models.Likelihood)
	within(t, "native, likelihood", realserver.Compare(got, few.Answers(t, native, models.Likelihood)), len(got))
}

// long has a text cut to the whole context, which the server must take.
func long(t *testing.T, m *runtime.Model) {
	t.Helper()
	results, err := m.Score(t.Context(), runtime.Request{Texts: []string{strings.Repeat("my card was charged twice ", 2000)}})
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; r.Err != nil || r.Truncated == 0 {
		t.Errorf("a text of the whole context: %+v", r)
	}
}

func within(t *testing.T, what string, d realserver.Distance, rows int) {
	t.Helper()
	t.Logf("%s: %+v", what, d)
	if d.Agree != rows || d.Mean > 0.02 || d.Worst > 0.15 {
		t.Errorf("too far from %s: %+v", what, d)
	}
}

// repeat bounds how far two answers of the same server may be apart: which texts it
// computes together, and what a slot holds of the one before, changes its rounding.
func repeat(t *testing.T, what string, d realserver.Distance) {
	t.Helper()
	t.Logf("%s: %+v", what, d)
	if d.Mean > 0.02 || d.Worst > 0.15 {
		t.Errorf("%s: it answers otherwise than before: %+v", what, d)
	}
}

func TestRealServerKilledInMidAnswer(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	s := realserver.OpenStudent(t, 20)
	srv := realserver.LlamaServer(t, s.GGUF)
	e := open(t, s, srv, "")
	m := s.Serve(t, e)
	before := s.Answers(t, m, "")
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}

	results := s.ScoreKilled(t, m, srv)
	failed := 0
	for i, r := range results {
		if r.Err == nil {
			repeat(t, fmt.Sprintf("row %d", i), realserver.Compare(before[i:i+1], []labels.Distribution{r.Distribution}))
			continue
		}
		failed++
		if r.Err.Code != runtime.CodeUnavailable || !strings.Contains(r.Err.Cause.Error(), "cannot be reached") {
			t.Errorf("row %d: %v: %v", i, r.Err, r.Err.Cause)
		}
	}
	t.Logf("%d of %d texts failed", failed, len(results))

	testenv.Until(t, "a dead server is not ready", func() bool { return errors.As(e.Probe(t.Context()), new(*engine.UnavailableError)) })
	srv.Restart(t)
	testenv.Until(t, "it is back", func() bool { return e.Probe(t.Context()) == nil })
	repeat(t, "after the restart", realserver.Compare(before, s.Answers(t, m, "")))
}

func TestRealServerWithAKey(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	s := realserver.OpenStudent(t, 1)
	srv := realserver.LlamaServer(t, s.GGUF, "--api-key", "secret")
	s.Answers(t, s.Serve(t, open(t, s, srv, "secret")), "")
	_, err := llamaserver.Open(t.Context(), llamaserver.Options{URL: srv.URL, Key: "other", Tokenizer: s.Tokenizer(t), Manifest: s.Model.Manifest})
	if remote.As(err, "").Fault != remote.Denied {
		t.Error(err)
	}
}
