package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
)

// fakeBackend answers every text with the same distribution, unless score says
// otherwise.
type fakeBackend struct {
	score  func(ctx context.Context, req runtime.Request) ([]runtime.Result, error)
	canary error
	away   error // what computes is not there
	failed chan struct{}
	name   string // empty: bank

	mu     sync.Mutex
	last   runtime.Request
	closed bool
}

func newFake() *fakeBackend { return &fakeBackend{failed: make(chan struct{})} }

func (b *fakeBackend) Score(ctx context.Context, req runtime.Request) ([]runtime.Result, error) {
	b.mu.Lock()
	b.last = req
	b.mu.Unlock()
	if b.score != nil {
		return b.score(ctx, req)
	}
	results := make([]runtime.Result, len(req.Texts))
	for i, text := range req.Texts {
		results[i] = result(text)
	}
	return results, nil
}

func result(text string) runtime.Result {
	if text == "" {
		return runtime.Result{Err: &runtime.Error{Code: runtime.CodeEmptyText, Message: "the text is empty"}}
	}
	return runtime.Result{
		Distribution: labels.Distribution{0.25, 0.625, 0.125}, Tokens: len(text), Truncated: 2, Review: true,
		Queue: 1500 * time.Microsecond, Compute: 20 * time.Millisecond,
	}
}

func (b *fakeBackend) Info() runtime.Info {
	set, err := labels.NewSet([]labels.Label{{Name: "cash"}, {Name: "card", Description: "plastic"}, {Name: "loan <small>"}})
	if err != nil {
		panic(err)
	}
	return runtime.Info{
		Model: cmp.Or(b.name, "bank"), Artifact: "sha256:ab12", Labels: set, Scoring: models.Constrained, Calibrated: true,
		Source: models.Source{Kind: models.GGUF, From: "bank.tar"}, MaxTextTokens: 1900, Choice: "asked for",
		Engine: engine.Info{Engine: "native", Device: "cpu", Kernel: "portable", Precision: "int8", Architecture: "llama", Threads: 2, Context: 2048,
			Memory: engine.Memory{Loaded: true, Weights: 4000, KV: 50, Loads: 2}, Devices: []engine.Device{{Name: "CUDA0", Free: 7, Total: 9}}},
	}
}

func (b *fakeBackend) CheckCanary(context.Context) error { return b.canary }
func (b *fakeBackend) Probe(context.Context) error       { return b.away }
func (b *fakeBackend) Failed() <-chan struct{}           { return b.failed }
func (b *fakeBackend) Stats() runtime.Stats {
	return runtime.Stats{Admitted: 7, Answered: 4, Cancelled: 2, Failed: 1}
}

func (b *fakeBackend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.New("closed twice")
	}
	b.closed = true
	return nil
}

// failing is a backend that answers every request with an error.
func failing(err error) *fakeBackend {
	b := newFake()
	b.score = func(context.Context, runtime.Request) ([]runtime.Result, error) { return nil, err }
	return b
}

// syncBuffer collects a log.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func testLog(w *syncBuffer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// readyServer is a local server with the backend behind it.
func readyServer(b Backend, opt Options) *Server {
	s := New(opt, true)
	s.Ready(b)
	return s
}

// ask sends one request to the handler, without a network.
func ask(s *Server, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

func post(s *Server, body string, headers ...string) *httptest.ResponseRecorder {
	return ask(s, http.MethodPost, "/v1/classify", body, headers...)
}

// want requires a status and, for failures, an error object of the code.
func want(t *testing.T, w *httptest.ResponseRecorder, status int, code runtime.Code) failure {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if got := w.Header().Get("Content-Type"); code != "" && got != "application/json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	var body errorBody
	if code != "" {
		decode(t, w, &body)
	}
	if body.Error.Code != code || (code != "" && body.Error.Message == "") {
		t.Fatalf("error %+v, want code %q", body.Error, code)
	}
	return body.Error
}
