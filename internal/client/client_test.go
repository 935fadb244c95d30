package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/wait"
)

// call is what the fake server saw of one request.
type call struct {
	Model    string
	Input    []string
	Scoring  string
	Truncate *bool
}

// fake answers every text with its own length as tokens, until then refuses.
type fake struct {
	t       *testing.T
	calls   []call
	maxBody int64                                                   // 0: none
	refuse  func(n int, w http.ResponseWriter, texts []string) bool // n counts from 0
	n       int
	auth    string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.auth = r.Header.Get("Authorization")
	n := f.n
	f.n++
	if f.maxBody > 0 && r.ContentLength > f.maxBody {
		f.fail(w, http.StatusRequestEntityTooLarge, "body_too_large")
		return
	}
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		f.t.Error(err)
	}
	if f.refuse != nil && f.refuse(n, w, c.Input) {
		return
	}
	f.calls = append(f.calls, c)
	type result = map[string]any
	var results []result
	for i, text := range c.Input {
		if text == "" {
			results = append(results, result{"index": i, "error": result{"code": "empty_text", "message": "the text is empty"}})
			continue
		}
		results = append(results, result{"index": i, "label": "a", "probability": 1, "tokens": len(text), "scores": []result{{"label": "a", "probability": 1}}})
	}
	json.NewEncoder(w).Encode(result{"model": "m", "artifact": "sha256:1", "results": results})
}

func (f *fake) fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":"no","hint":"try less"}}`, code)
}

// start serves f; waits are recorded and not slept.
func start(t *testing.T, f http.Handler) (*Client, *[]time.Duration) {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var waits []time.Duration
	c.wait = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	return c, &waits
}

// check walks what must hold for every response: one result a text, in order,
// each for its own text.
func check(t *testing.T, resp *Response, texts []string) {
	t.Helper()
	if len(resp.Results) != len(texts) {
		t.Fatalf("%d results to %d texts", len(resp.Results), len(texts))
	}
	for i, r := range resp.Results {
		if r.Index != i {
			t.Errorf("result %d has the index %d", i, r.Index)
		}
		if r.Error == nil && r.Tokens != len(texts[i]) {
			t.Errorf("result %d answers another text: %+v", i, r)
		}
	}
}

func texts(n, length int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strings.Repeat("x", length+i%7)
	}
	return list
}

func TestClassify(t *testing.T) {
	f := &fake{t: t}
	c, _ := start(t, f)
	in := []string{"one", "", "three\n<&>", "caf\xe9", "five"}
	resp, err := c.Classify(t.Context(), Request{Model: "m", Texts: in, Scoring: "likelihood", NoTruncate: true})
	if err != nil {
		t.Fatal(err)
	}
	check(t, resp, in)
	for i, code := range map[int]string{1: "empty_text", 3: "invalid_utf8"} {
		if e := resp.Results[i].Error; e == nil || e.Code != code {
			t.Errorf("text %d: %v, want %s", i, e, code)
		}
	}
	sent := f.calls[0]
	if len(f.calls) != 1 || len(sent.Input) != 4 || sent.Input[2] != in[2] || sent.Model != "m" || sent.Scoring != "likelihood" || sent.Truncate == nil || *sent.Truncate {
		t.Errorf("sent %+v", f.calls)
	}
	if resp.Model != "m" || resp.Artifact != "sha256:1" || f.auth != "Bearer secret" {
		t.Errorf("model %q, artifact %q, authorization %q", resp.Model, resp.Artifact, f.auth)
	}
}

func TestChunks(t *testing.T) {
	for _, tt := range []struct{ n, length, calls int }{
		{0, 0, 0}, {1, 10, 1}, {chunkTexts, 10, 1}, {chunkTexts + 1, 10, 2}, {10, chunkBytes / 4, 4}, {3, 2 * chunkBytes, 3},
	} {
		f := &fake{t: t}
		c, _ := start(t, f)
		in := texts(tt.n, tt.length)
		resp, err := c.Classify(t.Context(), Request{Texts: in})
		if err != nil {
			t.Fatal(err)
		}
		check(t, resp, in)
		if len(f.calls) != tt.calls {
			t.Errorf("%d texts of %d bytes: %d calls, want %d", tt.n, tt.length, len(f.calls), tt.calls)
		}
	}
}

// TestTooMuch: a smaller body limit, or work that takes too long, only makes
// more requests; the one text that is too large by itself fails alone.
func TestTooMuch(t *testing.T) {
	f := &fake{t: t, maxBody: 3000}
	c, _ := start(t, f)
	in := append(texts(50, 200), strings.Repeat("y", 4000), "last")
	resp, err := c.Classify(t.Context(), Request{Texts: in})
	if err != nil {
		t.Fatal(err)
	}
	check(t, resp, in)
	for i, r := range resp.Results {
		if (r.Error != nil) != (i == 50) {
			t.Errorf("text %d: %v", i, r.Error)
		}
	}

	f = &fake{t: t}
	f.refuse = func(_ int, w http.ResponseWriter, texts []string) bool {
		if len(texts) > 3 {
			f.fail(w, http.StatusGatewayTimeout, "deadline")
		}
		return len(texts) > 3
	}
	c, _ = start(t, f)
	in = texts(20, 10)
	if resp, err = c.Classify(t.Context(), Request{Texts: in}); err != nil {
		t.Fatal(err)
	}
	check(t, resp, in)
}

func TestRetry(t *testing.T) {
	f := &fake{t: t}
	f.refuse = func(n int, w http.ResponseWriter, _ []string) bool {
		switch n {
		case 0:
			w.Header().Set("Retry-After", "7")
			f.fail(w, http.StatusServiceUnavailable, "overloaded")
		case 1:
			w.Header().Set("Retry-After", "99999999999999999999")
			f.fail(w, http.StatusServiceUnavailable, "overloaded")
		case 2:
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			return false
		}
		return true
	}
	c, waits := start(t, f)
	in := texts(2, 3)
	resp, err := c.Classify(t.Context(), Request{Texts: in})
	if err != nil {
		t.Fatal(err)
	}
	check(t, resp, in)
	if got := fmt.Sprint(*waits); got != "[7s 500ms 1m0s 2s]" {
		t.Errorf("waited %s", got)
	}
}

func TestRetryEnds(t *testing.T) {
	f := &fake{t: t, refuse: func(_ int, w http.ResponseWriter, _ []string) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}}
	c, waits := start(t, f)
	_, err := c.Classify(t.Context(), Request{Texts: []string{"a"}})
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 || f.n != maxTries || len(*waits) != maxTries-1 {
		t.Errorf("%v after %d requests and %d waits", err, f.n, len(*waits))
	}
	// The real wait gives way to the caller.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c.wait = wait.For
	if _, err := c.Classify(ctx, Request{Texts: []string{"a"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the caller's own deadline", err)
	}
}

// TestServerErrors: whatever else a server answers ends the call with what it
// said, and is not asked again.
func TestServerErrors(t *testing.T) {
	tests := []struct {
		name string
		do   http.HandlerFunc
		want string
	}{
		{"error object", func(w http.ResponseWriter, _ *http.Request) { (&fake{}).fail(w, 404, "unknown_model") }, "no: try less"},
		{"no object", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, "the server answered 502 Bad Gateway"},
		{"no key", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "set CUBBY_API_KEY"},
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "does not answer like a classify-server"},
		{"too few results", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"results":[]}`) }, "gave 0 results to 1 texts"},
		{"wrong index", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"results":[{"index":5}]}`) }, "result 0 has the index 5"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{`)
		}, "reading the server's answer"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/v1/classify", http.StatusTemporaryRedirect)
		}, "the server redirects to https://elsewhere.example"},
		{"in circles", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, "redirects in circles"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, waits := start(t, tt.do)
			_, err := c.Classify(t.Context(), Request{Texts: []string{"a"}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
			if len(*waits) > 0 {
				t.Errorf("asked again %d times", len(*waits))
			}
		})
	}
}

func TestArtifactChanges(t *testing.T) {
	var n atomic.Int32
	c, _ := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"artifact":"sha256:%d","results":[{"index":0}]}`, n.Add(1))
	}))
	_, err := c.Classify(t.Context(), Request{Texts: texts(2, 2*chunkBytes)})
	if err == nil || !strings.Contains(err.Error(), "changed its model under way") {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c, err := New(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Models(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot reach the server") {
		t.Errorf("got %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "localhost:8080", "ftp://host", "http://", "http://user:pw@host", "http://host?x=1", "http://host#x", "http://ho st", "://"} {
		if c, err := New(base, ""); err == nil {
			t.Errorf("%q gave a client of %s", base, c.base)
		}
	}
}

func TestModels(t *testing.T) {
	c, _ := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v1/models" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		fmt.Fprint(w, `{"models":[{"name":"first","artifact":"sha256:1","scoring":"constrained","labels":[{"name":"a"},{"name":"b","description":"d"}]},{"name":"second","artifact":"sha256:2"}]}`)
	}))
	for ask, want := range map[string]string{"": "first", "first": "first", "second": "second", "sha256:2": "second"} {
		m, err := c.Model(t.Context(), ask)
		if err != nil || m.Name != want {
			t.Errorf("model %q: %+v, %v", ask, m, err)
		}
	}
	if m, _ := c.Model(t.Context(), ""); len(m.Labels) != 2 || m.Labels[1].Description != "d" {
		t.Errorf("labels %+v", m.Labels)
	}
	if _, err := c.Model(t.Context(), "third"); err == nil || !strings.Contains(err.Error(), `no model "third"; it has ["first" "second"]`) {
		t.Errorf("got %v", err)
	}
	c, _ = start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{}`) }))
	if _, err := c.Model(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "lists no models") {
		t.Errorf("got %v", err)
	}
}
