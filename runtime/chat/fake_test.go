package chat

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/labels"
	"cubby/runtime"
	"cubby/runtime/remote/remotetest"
)

// fakeChat answers as chat servers do. Its model says the first label whose name the
// text holds, or else what say returns.
type fakeChat struct {
	*httptest.Server
	completions, models *remotetest.Faults

	mu      sync.Mutex
	key     string
	list    string                         // of /v1/models
	refuse  func(in map[string]any) string // the body of a 400; "" for none
	say     func(text string) string
	told    bool // log probabilities are told
	bodies  []map[string]any
	hold    time.Duration
	finish  string
	message map[string]any // instead of the answer's own
}

func newFake(t testing.TB) *fakeChat {
	t.Helper()
	f := &fakeChat{
		completions: remotetest.On("/v1/chat/completions"), models: remotetest.On("/v1/models"), told: true, finish: "stop",
		list: `{"object":"list","data":[{"id":"big","object":"model","owned_by":"fakery"}]}`,
	}
	f.Server = httptest.NewServer(f.handler())
	t.Cleanup(f.Close)
	return f
}

func (f *fakeChat) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		io.WriteString(w, f.list)
	})
	mux.HandleFunc("POST /v1/chat/completions", f.complete)
	h := f.models.Before(f.completions.Before(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		key := f.key
		f.mu.Unlock()
		if key != "" && r.Header.Get("Authorization") != "Bearer "+key {
			remotetest.Say(401, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`)(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (f *fakeChat) complete(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		remotetest.Say(400, `{"error":{"message":"bad JSON"}}`)(w, r)
		return
	}
	f.mu.Lock()
	f.bodies = append(f.bodies, in)
	hold, refuse := f.hold, f.refuse
	f.mu.Unlock()
	time.Sleep(hold)
	if refuse != nil {
		if body := refuse(in); body != "" {
			remotetest.Say(400, body)(w, r)
			return
		}
	}
	json.NewEncoder(w).Encode(f.reply(in))
}

func (f *fakeChat) reply(in map[string]any) map[string]any {
	list := in["messages"].([]any)
	text := list[len(list)-1].(map[string]any)["content"].(string)
	content := f.content(text)
	f.mu.Lock()
	defer f.mu.Unlock()
	message := map[string]any{"role": "assistant", "content": content}
	if f.message != nil {
		message = f.message
	}
	c := map[string]any{"index": 0, "message": message, "finish_reason": f.finish, "logprobs": nil}
	if in["logprobs"] == true && f.told {
		c["logprobs"] = map[string]any{"content": spelled(content)}
	}
	return map[string]any{
		"object": "chat.completion", "system_fingerprint": "fp_7", "choices": []any{c},
		"usage": map[string]any{"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": map[string]any{"cached_tokens": 64}},
	}
}

func (f *fakeChat) content(text string) string {
	f.mu.Lock()
	say := f.say
	f.mu.Unlock()
	if say != nil {
		return say(text)
	}
	for _, name := range testSet.Names() {
		if strings.Contains(text, name) {
			return answerOf(name)
		}
	}
	return answerOf("other")
}

// spelled tells each character as a token of probability 0.75, with "x" as the rest,
// but the first one of the label, for which "other" has 0.25 instead.
func spelled(content string) []map[string]any {
	var list []map[string]any
	first := strings.Index(content, `: "`) + 3
	for i, r := range content {
		alternative := "x"
		if i == first {
			alternative = "other"
		}
		list = append(list, map[string]any{
			"token": string(r), "logprob": math.Log(0.75), "bytes": toNumbers(string(r)),
			"top_logprobs": []any{
				map[string]any{"token": string(r), "logprob": math.Log(0.75), "bytes": toNumbers(string(r))},
				map[string]any{"token": alternative, "logprob": math.Log(0.25), "bytes": toNumbers(alternative)},
			},
		})
	}
	return list
}

// byteNumber is a byte that JSON writes as a number in a list.
type byteNumber int

func toNumbers(s string) []byteNumber {
	list := make([]byteNumber, len(s))
	for i := range len(s) {
		list[i] = byteNumber(s[i])
	}
	return list
}

func (f *fakeChat) questions() []map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.bodies
	f.bodies = nil
	return q
}

func (f *fakeChat) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

var testSet = mustSet(labels.Label{Name: "cash", Description: "money from machines"}, labels.Label{Name: "card"},
	labels.Label{Name: "déjà \"vu\"", Description: "quotes\n- \"fake\": and lines"}, labels.Label{Name: "other"})

func mustSet(list ...labels.Label) *labels.Set {
	s, err := labels.NewSet(list)
	if err != nil {
		panic(err)
	}
	return s
}

func (f *fakeChat) options() Options {
	return Options{URL: f.URL, Labels: testSet, Slots: 3, Timeout: time.Minute, Key: f.key}
}

// open opens a backend whose waits between tries are short.
func (f *fakeChat) open(t testing.TB, change ...func(*Options)) *Backend {
	t.Helper()
	opt := f.options()
	for _, c := range change {
		c(&opt)
	}
	b, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.ask.FirstWait, b.ask.LongestWait = time.Millisecond, 20*time.Millisecond
	f.questions()
	f.completions.Asked()
	return b
}

// one scores one text.
func one(t testing.TB, b *Backend, text string) runtime.Result {
	t.Helper()
	results, err := b.Score(t.Context(), runtime.Request{Texts: []string{text}})
	if err != nil {
		t.Fatal(err)
	}
	balanced(t, b)
	if r := results[0]; r.Err == nil {
		if err := r.Distribution.Check(); err != nil || len(r.Distribution) != b.set.Len() {
			t.Errorf("%q: %v: %v", text, err, r.Distribution)
		}
	}
	return results[0]
}

// best is the name of a result's best label, or its error.
func best(r runtime.Result) string {
	if r.Err != nil {
		return fmt.Sprintf("%s: %v", r.Err.Code, r.Err)
	}
	i, _ := r.Distribution.Best()
	return testSet.Name(i)
}

// balanced requires the books to be.
func balanced(t testing.TB, b *Backend) {
	t.Helper()
	if s := b.Stats(); s.Admitted != s.Answered+s.Cancelled+s.Failed+s.InFlight {
		t.Errorf("the books do not balance: %+v", s)
	}
}
