package llamaserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/remote"
	"cubby/runtime/remote/remotetest"
)

// fakeServer answers as llama-server b1-7e4c0a9 does, with remotetest's model.
type fakeServer struct {
	*httptest.Server
	completion, properties *remotetest.Faults
	key                    string

	mu      sync.Mutex
	model   string
	context int
	shift   labels.Token // added to the ids that /tokenize tells: another vocabulary
	asked   []question
}

func newFake(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{completion: remotetest.On("/completion"), properties: remotetest.On("/props"), model: "/models/m.gguf", context: 200}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /props", f.props)
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"m","meta":{"n_vocab":259,"n_embd":576}}]}`)
	})
	mux.HandleFunc("POST /tokenize", f.tokenize)
	mux.HandleFunc("POST /completion", f.complete)
	f.Server = httptest.NewServer(f.guard(f.properties.Before(f.completion.Before(mux))))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.key != "" && r.Header.Get("Authorization") != "Bearer "+f.key {
			fail(w, 401, "Invalid API Key", "authentication_error")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func fail(w http.ResponseWriter, code int, message, kind string) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "type": kind}})
}

func (f *fakeServer) props(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{
		"default_generation_settings": map[string]any{"n_ctx": f.context, "params": map[string]any{"n_probs": 0}},
		"total_slots":                 3, "model_path": f.model, "model_alias": "m", "build_info": "b1-7e4c0a9",
	})
}

func (f *fakeServer) tokenize(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Content      string `json:"content"`
		AddSpecial   bool   `json:"add_special"`
		ParseSpecial bool   `json:"parse_special"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.AddSpecial || !in.ParseSpecial {
		fail(w, 400, "bad question", "invalid_request_error")
		return
	}
	tokens := remotetest.Tokenizer{}.EncodeSpecial(in.Content)
	for i := range tokens {
		tokens[i] += f.shift
	}
	json.NewEncoder(w).Encode(map[string]any{"tokens": tokens})
}

func (f *fakeServer) complete(w http.ResponseWriter, r *http.Request) {
	var in question
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, 400, err.Error(), "invalid_request_error")
		return
	}
	f.mu.Lock()
	f.asked = append(f.asked, in)
	f.mu.Unlock()
	if len(in.Prompt) >= f.context {
		fail(w, 400, fmt.Sprintf("request (%d tokens) exceeds the available context size (%d tokens), try increasing it", len(in.Prompt), f.context), "exceed_context_size_error")
		return
	}
	logp := remotetest.LogP(in.Prompt)
	type told struct {
		ID    labels.Token `json:"id"`
		Token string       `json:"token"`
		Bytes []byte       `json:"-"`
		LogP  float64      `json:"logprob"`
		Top   []told       `json:"top_logprobs,omitempty"`
	}
	var top []told
	for _, id := range remotetest.Top(logp, in.Probs) {
		top = append(top, told{ID: id, Token: strings.ToValidUTF8(remotetest.Piece(id, false), "\ufffd"), LogP: logp[id]})
	}
	first := top[0]
	first.Top = top
	json.NewEncoder(w).Encode(map[string]any{"completion_probabilities": []told{first}, "tokens_evaluated": len(in.Prompt), "truncated": len(in.Prompt) == f.context-1})
}

func (f *fakeServer) questions() []question {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.asked
	f.asked = nil
	return q
}

// manifest is of a model with remotetest's vocabulary.
var manifest = models.Manifest{
	Name:    "tiny",
	Labels:  []labels.Label{{Name: "cash"}, {Name: "card"}, {Name: "other"}},
	Prompt:  models.Prompt{Prefix: "<|start|>say the team\n", Suffix: "<|end|><|start|>"},
	Answer:  models.Answer{Form: models.Bare, End: "<|end|>"},
	Scoring: models.Constrained,
}

func (f *fakeServer) options() Options {
	return Options{URL: f.URL, Tokenizer: remotetest.Tokenizer{}, Manifest: manifest, Key: f.key}
}

func (f *fakeServer) open(t *testing.T) *remote.Engine {
	t.Helper()
	e, err := Open(t.Context(), f.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}
