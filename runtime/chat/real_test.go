package chat_test

import (
	"strings"
	"testing"

	"cubby/internal/realserver"
	"cubby/runtime"
	"cubby/runtime/chat"
	"cubby/runtime/ollama"
)

func options(s *realserver.Student, url string) chat.Options {
	return chat.Options{
		URL: url, Task: "Sort tickets of a bank's customers to teams.", Labels: s.Model.Labels(), KeyFrom: "the variable CHAT_KEY",
		Shots: []chat.Shot{{Text: "I was charged twice for one coffee", Label: s.Model.Labels().Name(0)}},
	}
}

func open(t *testing.T, opt chat.Options) *chat.Backend {
	t.Helper()
	b, err := chat.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	t.Logf("%+v", b.Info())
	return b
}

// judge requires of each text a label with a distribution out of the server's log
// probabilities. The student was not trained on these messages, so which label it says
// is not judged.
func judge(t *testing.T, b *chat.Backend, texts []string) {
	t.Helper()
	results, err := b.Score(t.Context(), runtime.Request{Texts: texts})
	if err != nil {
		t.Fatal(err)
	}
	spread := false
	for i, r := range results {
		if r.Err != nil {
			t.Errorf("row %d: %v", i, r.Err)
			continue
		}
		if err := r.Distribution.Check(); err != nil || r.Unresolved > 0.5 {
			t.Errorf("row %d: %v, unresolved %v", i, err, r.Unresolved)
		}
		_, p := r.Distribution.Best()
		spread = spread || p < 0.999
		t.Logf("row %d: best %.4f, unresolved %.6f", i, p, r.Unresolved)
	}
	if !spread || b.Info().Engine.LabelOnly {
		t.Error("no answer has probabilities of its own")
	}
}

func TestRealLlamaServer(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	s := realserver.OpenStudent(t, 6)
	srv := realserver.LlamaServer(t, s.GGUF, "--api-key", "secret", "--ctx-size", "8192")
	opt := options(s, srv.URL)
	if _, err := chat.Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "CHAT_KEY") {
		t.Errorf("no key: %v", err)
	}
	opt.Key = "secret"
	b := open(t, opt)
	if i := b.Info(); !strings.HasPrefix(i.Engine.Kernel, "llamacpp b") || i.Choice != "asked for json_schema, top_logprobs 20, max_tokens, temperature 0" {
		t.Errorf("info %+v", i)
	}
	if err := b.CheckCanary(t.Context()); err != nil {
		t.Error(err)
	}
	judge(t, b, s.Texts)
	results, err := b.Score(t.Context(), runtime.Request{Texts: []string{strings.Repeat("my card ", 5000)}})
	if err != nil || results[0].Err == nil || results[0].Err.Code != runtime.CodeTextTooLong {
		t.Errorf("a text beyond the context: %v %+v", err, results)
	}
	if u := b.Usage(); u.Answers != 8 || u.Untold != 0 || u.PromptTokens < u.CompletionTokens || u.CompletionTokens == 0 {
		t.Errorf("usage %+v", u)
	}
	srv.Kill(t)
	if err := b.Probe(t.Context()); err == nil {
		t.Error("the probe says that a killed server is there")
	}
	srv.Restart(t)
	judge(t, b, s.Texts[:3])
}

func TestRealOllama(t *testing.T) {
	realserver.Require(t, realserver.OllamaVariable)
	s := realserver.OpenStudent(t, 4)
	srv := realserver.Ollama(t)
	e, err := ollama.Open(t.Context(), ollama.Options{URL: srv.URL, Tokenizer: s.Tokenizer(t), Manifest: s.Model.Manifest, Digest: s.Model.Digest, GGUF: s.GGUF, Context: 2048})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	opt := options(s, srv.URL+"/v1") // the only model that it has is the one just created
	judge(t, open(t, opt), s.Texts)
	opt.Model = "nobody/has:this"
	if _, err := chat.Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "does not have the model") {
		t.Errorf("a model that is not there: %v", err)
	}
}
