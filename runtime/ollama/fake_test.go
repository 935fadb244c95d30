package ollama

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ollama/ollama/api"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/remote"
	"cubby/runtime/remote/remotetest"
)

// fakeOllama answers as Ollama 0.32.14 does, with remotetest's model.
type fakeOllama struct {
	*httptest.Server
	generation, tags *remotetest.Faults

	mu       sync.Mutex
	have     map[string]string // digest of each model
	blobs    map[string]bool
	created  api.CreateRequest
	pulls    int
	show     api.ShowResponse
	addsBOS  bool
	silent   bool   // it knows no logprobs
	says     string // what it generates where it is held to a schema
	missized int    // added to the tokens it says that it read
	asked    []api.GenerateRequest
}

func newFake(t *testing.T) *fakeOllama {
	t.Helper()
	f := &fakeOllama{
		generation: remotetest.On("/api/generate"), tags: remotetest.On("/api/tags"),
		have: map[string]string{}, blobs: map[string]bool{},
		show: api.ShowResponse{ModelInfo: map[string]any{
			"general.architecture": "llama", "llama.block_count": 30, "llama.embedding_length": 576, "llama.context_length": 1000,
			"tokenizer.ggml.bos_token_id": remotetest.Start,
		}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) { say(w, 200, map[string]string{"version": "0.32.14"}) })
	mux.HandleFunc("GET /api/tags", f.list)
	mux.HandleFunc("GET /api/ps", f.ps)
	mux.HandleFunc("POST /api/show", f.shown)
	mux.HandleFunc("POST /api/blobs/{digest}", f.blob)
	mux.HandleFunc("POST /api/create", f.create)
	mux.HandleFunc("POST /api/pull", f.pull)
	mux.HandleFunc("POST /api/generate", f.generate)
	f.Server = httptest.NewServer(f.tags.Before(f.generation.Before(mux)))
	t.Cleanup(f.Close)
	return f
}

func say(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	say(w, status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

func (f *fakeOllama) list(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out api.ListResponse
	for name, digest := range f.have {
		out.Models = append(out.Models, api.ListModelResponse{Name: name, Model: name, Digest: digest})
	}
	say(w, 200, out)
}

func (f *fakeOllama) ps(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out api.ProcessResponse
	for name := range f.have {
		out.Models = append(out.Models, api.ProcessModelResponse{Name: name, Size: 100})
	}
	say(w, 200, out)
}

func (f *fakeOllama) shown(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	say(w, 200, f.show)
}

func (f *fakeOllama) blob(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	io.Copy(sum, r.Body)
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != r.PathValue("digest") {
		refuse(w, 400, "digest mismatch, expected %q, got %q", r.PathValue("digest"), got)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[r.PathValue("digest")] = true
	w.WriteHeader(201)
}

func (f *fakeOllama) create(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&f.created); err != nil {
		refuse(w, 400, "%v", err)
		return
	}
	for _, digest := range f.created.Files {
		if !f.blobs[digest] {
			refuse(w, 400, "blob %s not found", digest)
			return
		}
	}
	f.have[f.created.Model] = "digest of " + f.created.Model
	say(w, 200, api.ProgressResponse{Status: "success"})
}

func (f *fakeOllama) pull(w http.ResponseWriter, r *http.Request) {
	var in api.PullRequest
	json.NewDecoder(r.Body).Decode(&in)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pulls++
	if !strings.HasPrefix(in.Model, "known") {
		refuse(w, 500, "pull model manifest: file does not exist")
		return
	}
	f.have[in.Model] = "pulled"
	say(w, 200, api.ProgressResponse{Status: "success"})
}

func (f *fakeOllama) generate(w http.ResponseWriter, r *http.Request) {
	var in api.GenerateRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, "%v", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, in)
	if f.have[in.Model] == "" {
		refuse(w, 404, "model '%s' not found", in.Model)
		return
	}
	if in.TopLogprobs > 20 {
		refuse(w, 400, "top_logprobs must be between 0 and 20")
		return
	}
	sequence := remotetest.Tokenizer{}.EncodeSpecial(in.Prompt)
	if f.addsBOS {
		sequence = append([]labels.Token{remotetest.Start}, sequence...)
	}
	if numCtx, _ := in.Options["num_ctx"].(float64); len(sequence) >= int(numCtx) {
		refuse(w, 400, `{"error":{"code":400,"message":"request (%d tokens) exceeds the available context size"}}`, len(sequence))
		return
	}
	out := api.GenerateResponse{Model: in.Model, Done: true, DoneReason: "length", Metrics: api.Metrics{PromptEvalCount: len(sequence) + f.missized, EvalCount: 1}}
	logp := remotetest.LogP(sequence)
	// Held to a schema it says a quotation mark first; else its first choice, and
	// where that has no text no log probabilities either.
	out.Response = remotetest.Piece(remotetest.Top(logp, 1)[0], false)
	if in.Format != nil {
		out.Response = `"`
	}
	if in.Logprobs && !f.silent && out.Response != "" {
		l := api.Logprob{TokenLogprob: api.TokenLogprob{Token: out.Response}}
		for _, id := range remotetest.Top(logp, in.TopLogprobs) {
			l.TopLogprobs = append(l.TopLogprobs, api.TokenLogprob{Token: strings.ToValidUTF8(remotetest.Piece(id, false), "\ufffd"), Logprob: logp[id]})
		}
		out.Logprobs = []api.Logprob{l}
	}
	if predict, _ := in.Options["num_predict"].(float64); predict > 1 {
		out.Response = f.says
	}
	say(w, 200, out)
}

func (f *fakeOllama) questions() []api.GenerateRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.asked
	f.asked = nil
	return q
}

// set changes the fake.
func (f *fakeOllama) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// manifest is of a model with remotetest's vocabulary.
var manifest = models.Manifest{
	Name:    "tiny",
	Labels:  []labels.Label{{Name: "cash"}, {Name: "card"}, {Name: "other"}},
	Prompt:  models.Prompt{Prefix: "<|start|>say the team {{ .Prompt }} in {\n", Suffix: "<|end|><|start|>\n"},
	Answer:  models.Answer{Form: models.Bare, End: "<|end|>"},
	Scoring: models.Constrained,
}

var digest = models.DigestOf([]byte("tiny")).String()

func (f *fakeOllama) options(t *testing.T) Options {
	t.Helper()
	gguf := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(gguf, []byte("GGUF and weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{URL: f.URL, Tokenizer: remotetest.Tokenizer{}, Manifest: manifest, Digest: digest, GGUF: gguf}
}

func (f *fakeOllama) open(t *testing.T) *remote.Engine {
	t.Helper()
	e, err := Open(t.Context(), f.options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	f.questions()
	return e
}

func (f *fakeOllama) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for name := range f.have {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
