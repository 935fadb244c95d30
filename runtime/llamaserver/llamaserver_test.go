package llamaserver

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
	"cubby/runtime/remote"
	"cubby/runtime/remote/remotetest"
)

// one is a tree that wants columns behind a text.
func one(text string, columns ...labels.Token) engine.Tree {
	t := engine.Chain(remotetest.Tokenizer{}.Encode(text))
	t.Wants = []engine.Want{{Node: len(t.Tokens) - 1, Columns: columns}}
	return t
}

// eval evaluates one tree behind the prompt's prefix.
func eval(t *testing.T, e *remote.Engine, tree engine.Tree) engine.Output {
	t.Helper()
	p, err := e.Prefix(t.Context(), e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix))
	if err != nil {
		t.Fatal(err)
	}
	return evalBehind(t, e, p, tree)
}

func evalBehind(t *testing.T, e *remote.Engine, p engine.Prefix, tree engine.Tree) engine.Output {
	t.Helper()
	out, err := e.Eval(t.Context(), p, []engine.Tree{tree})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestOpenReadsWhatTheServerRuns(t *testing.T) {
	f := newFake(t)
	info := f.open(t).Info()
	if info.Engine != "llamaserver" || info.Context != 199 || info.Vocab != 259 || info.Width != 576 || info.Device != "server" ||
		!info.NodeByNode || info.LabelOnly || info.Classes != 0 || !strings.Contains(info.Kernel, "b1-7e4c0a9") {
		t.Errorf("%+v", info)
	}
}

// The columns get the model's log probabilities, by id: control tokens and bytes that
// are no text included.
func TestColumnsAreFoundById(t *testing.T) {
	f := newFake(t)
	e := f.open(t)
	columns := []labels.Token{'c', 'o', remotetest.End, remotetest.Th, 0xff}
	out := eval(t, e, one("text<|end|>", columns...))
	logp := remotetest.LogP(e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix + "text"))
	want := remotetest.LogP(append(e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix), e.Tokenizer().Encode("text<|end|>")...))
	for i, c := range columns {
		if got := out.Logits[0][i]; math.Abs(float64(got)-want[c]) > 1e-6 {
			t.Errorf("column %d: %v, want %v", c, got, want[c])
		}
	}
	if want[columns[0]] == logp[columns[0]] {
		t.Error("the test's model does not tell plain characters from control tokens")
	}
	if q := f.questions(); q[0].Predict != 1 || !q[0].CachePrompt || q[0].Temperature != 0 || q[0].Stream {
		t.Errorf("%+v", q[0])
	}
}

// More tokens are asked for only while columns that matter are missing.
func TestDepthGrowsWhereItMatters(t *testing.T) {
	f := newFake(t)
	e := f.open(t)
	seq := append(e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix), e.Tokenizer().Encode("text")...)
	order := remotetest.Top(remotetest.LogP(seq), 259)
	p, err := e.Prefix(t.Context(), e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix))
	if err != nil {
		t.Fatal(err)
	}
	f.questions()
	for name, c := range map[string]struct {
		columns   []labels.Token
		questions int
		unseen    bool
	}{
		"all among the likeliest":  {order[:4], 1, false},
		"one that does not matter": {[]labels.Token{order[0], order[258]}, 1, true},
		"none that is likely":      {[]labels.Token{order[200], order[250]}, 2, false},
	} {
		out := evalBehind(t, e, p, one("text", c.columns...))
		if n := len(f.questions()); n != c.questions || (out.Unseen != nil) != c.unseen || out.Err != nil {
			t.Errorf("%s: %d questions, %+v", name, n, out)
		}
	}
}

// The longest sequence that Info allows is one that the server takes.
func TestTheWholeContextIsUsed(t *testing.T) {
	f := newFake(t)
	e := f.open(t)
	room := e.Info().Context - len(e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix))
	if out := eval(t, e, one(strings.Repeat("x", room), 'a')); out.Err != nil {
		t.Error(out.Err)
	}
}

func TestOpenRefuses(t *testing.T) {
	f := newFake(t)
	head, other := f.options(), f.options()
	head.Manifest.Scoring = models.Head
	other.URL = "localhost:8080"
	for name, c := range map[string]struct {
		opt  Options
		says string
	}{
		"a classification head":  {head, "classification head"},
		"no address":             {other, "http://127.0.0.1:8080"},
		"no tokeniser":           {Options{URL: f.URL}, "tokeniser"},
		"slots below zero":       {Options{URL: f.URL, Tokenizer: remotetest.Tokenizer{}, Slots: -1}, "negative"},
		"an address with a user": {Options{URL: "http://a:b@h", Tokenizer: remotetest.Tokenizer{}}, "API key has its own option"},
	} {
		if _, err := Open(t.Context(), c.opt); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenRefusesAnotherModel(t *testing.T) {
	f := newFake(t)
	f.shift = 1
	_, err := Open(t.Context(), f.options())
	if err == nil || !strings.Contains(err.Error(), `serves another model than "tiny"`) {
		t.Error(err)
	}
}

func TestOpenFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		props http.HandlerFunc
		fault remote.Fault
		says  string
	}{
		"another program": {remotetest.Say(404, "404 page not found"), remote.Unreadable, "another program"},
		"a web page":      {remotetest.Say(200, "<html>hello</html>"), remote.Unreadable, "JSON"},
		"no context":      {remotetest.Say(200, "{}"), remote.Unreadable, "n_ctx"},
		"a wrong key":     {remotetest.Say(401, `{"error":{"message":"Invalid API Key"}}`), remote.Denied, "the key that it was started with"},
		"loading":         {remotetest.Say(503, `{"error":{"message":"Loading model"}}`), remote.Busy, "Loading model"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.properties.Always(c.props)
			opt := f.options()
			opt.Timeout = 300 * time.Millisecond
			_, err := Open(t.Context(), opt)
			if e := remote.As(err, ""); e.Fault != c.fault || !strings.Contains(err.Error(), c.says) {
				t.Errorf("fault %d: %v", e.Fault, err)
			}
		})
	}
	f := newFake(t)
	f.Close()
	if _, err := Open(t.Context(), f.options()); remote.As(err, "").Fault != remote.Unreachable {
		t.Errorf("down: %v", err)
	}
}

func TestOpenWaitsWhileTheServerLoads(t *testing.T) {
	f := newFake(t)
	loading := remotetest.Say(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`)
	f.properties.Next(loading, loading)
	f.open(t)
}

func TestKeyIsSent(t *testing.T) {
	f := newFake(t)
	f.key = "secret"
	e := f.open(t)
	if out := eval(t, e, one("text", 'a')); out.Err != nil {
		t.Error(out.Err)
	}
	opt := f.options()
	opt.Key = "other"
	if _, err := Open(t.Context(), opt); remote.As(err, "").Fault != remote.Denied || strings.Contains(err.Error(), "other") {
		t.Error(err)
	}
}

// Faults in mid-service: what passes is tried again, what does not is the tree's own
// clear error.
func TestEvalFindsFaults(t *testing.T) {
	busy := remotetest.Say(503, `{"error":{"message":"Loading model"}}`, "Retry-After", "0")
	for name, c := range map[string]struct {
		faults []http.HandlerFunc
		asked  int
		fault  remote.Fault // 0 where there is an answer in the end
		says   string
	}{
		"busy, then well":      {[]http.HandlerFunc{busy, busy}, 3, 0, ""},
		"cut, then well":       {[]http.HandlerFunc{remotetest.Cut}, 2, 0, ""},
		"failed, then well":    {[]http.HandlerFunc{remotetest.Say(500, "oops")}, 2, 0, ""},
		"out of memory":        {[]http.HandlerFunc{remotetest.Say(500, `{"error":{"message":"failed to allocate compute buffer: out of memory"}}`)}, 1, remote.Memory, "less context or fewer slots"},
		"refused":              {[]http.HandlerFunc{remotetest.Say(400, `{"error":{"message":"Prompt contains invalid tokens"}}`)}, 1, remote.Refused, "invalid tokens"},
		"garbage":              {[]http.HandlerFunc{remotetest.Say(200, `{"completion_probabilities":[{{`)}, 1, remote.Unreadable, "JSON"},
		"no log probabilities": {[]http.HandlerFunc{remotetest.Say(200, `{"content":"x","tokens_evaluated":17}`)}, 1, remote.Unreadable, "no log probabilities"},
		"truncated":            {[]http.HandlerFunc{remotetest.Say(200, `{"tokens_evaluated":3,"completion_probabilities":[{"top_logprobs":[{"id":1,"logprob":-1}]}]}`)}, 1, remote.Unreadable, "read 3 tokens of a sequence of 17"},
		"null":                 {[]http.HandlerFunc{remotetest.Say(200, `{"tokens_evaluated":17,"completion_probabilities":[{"top_logprobs":[{"id":1,"logprob":null}]}]}`)}, 1, remote.Unreadable, "no id or no value"},
		"more than certain":    {[]http.HandlerFunc{remotetest.Say(200, `{"tokens_evaluated":17,"completion_probabilities":[{"top_logprobs":[{"id":97,"logprob":3}]}]}`)}, 1, remote.Unreadable, "no log probabilities"},
		"endless":              {[]http.HandlerFunc{remotetest.Endless}, 1, remote.Unreadable, "16 MiB"},
		"slow":                 {[]http.HandlerFunc{remotetest.Hang}, 1, remote.Slow, "longer timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			opt := f.options()
			opt.Timeout = time.Minute
			if c.fault == remote.Slow {
				opt.Timeout = time.Second
			}
			e, err := Open(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			p, err := e.Prefix(t.Context(), e.Tokenizer().EncodeSpecial(manifest.Prompt.Prefix))
			if err != nil {
				t.Fatal(err)
			}
			f.completion.Asked()
			f.completion.Next(c.faults...)
			out := evalBehind(t, e, p, one("text", 'a', 'b'))
			if n := f.completion.Asked(); n != c.asked {
				t.Errorf("%d questions", n)
			}
			if c.fault == 0 {
				if out.Err != nil || len(out.Logits[0]) != 2 {
					t.Errorf("%+v", out)
				}
				return
			}
			var why *remote.Error
			if !errors.As(out.Err, &why) || why.Fault != c.fault || !strings.Contains(out.Err.Error(), c.says) || !strings.Contains(out.Err.Error(), f.URL) {
				t.Errorf("%v", out.Err)
			}
			if out := evalBehind(t, e, p, one("text", 'a')); out.Err != nil {
				t.Errorf("the next pass: %v", out.Err)
			}
		})
	}
}

func TestProbeSeesAnotherModel(t *testing.T) {
	for name, change := range map[string]func(*fakeServer){
		"another file":         func(f *fakeServer) { f.model = "/models/other.gguf" },
		"a smaller context":    func(f *fakeServer) { f.context = 100 },
		"nobody there anymore": func(f *fakeServer) { f.Server.Close() },
	} {
		f := newFake(t)
		e := f.open(t)
		if err := e.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name == "nobody there anymore" {
			change(f)
		} else {
			f.mu.Lock()
			change(f)
			f.mu.Unlock()
		}
		testenv.Until(t, name, func() bool { return errors.As(e.Probe(t.Context()), new(*engine.UnavailableError)) })
	}
}
