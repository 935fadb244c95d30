package chat_test

import (
	"strings"
	"testing"

	"cubby/internal/realserver"
	"cubby/runtime"
	"cubby/runtime/chat"
)

// The student was not trained on these messages, so what it answers is not judged: only
// that it is a label, with a distribution out of the server's log probabilities.
func TestRealServer(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	s := realserver.OpenStudent(t, 6)
	srv := realserver.LlamaServer(t, s.GGUF, "--api-key", "secret", "--ctx-size", "8192")
	opt := chat.Options{
		URL: srv.URL, Key: "secret", Task: "Sort tickets of a bank's customers to teams.", Labels: s.Model.Labels(),
		Shots: []chat.Shot{{Text: "I was charged twice for one coffee", Label: s.Model.Labels().Name(0)}},
	}
	b, err := chat.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	info := b.Info()
	t.Logf("%+v", info)
	if info.Engine.LabelOnly || !strings.HasPrefix(info.Engine.Kernel, "llamacpp b") || !strings.HasPrefix(info.Artifact, "sha256:") {
		t.Errorf("info %+v", info)
	}
	if err := b.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.CheckCanary(t.Context()); err != nil {
		t.Error(err)
	}
	results, err := b.Score(t.Context(), runtime.Request{Texts: append(s.Texts, strings.Repeat("my card ", 5000))})
	if err != nil {
		t.Fatal(err)
	}
	spread := false
	for i, r := range results[:len(s.Texts)] {
		if r.Err != nil {
			t.Errorf("row %d: %v", i, r.Err)
			continue
		}
		if err := r.Distribution.Check(); err != nil {
			t.Errorf("row %d: %v", i, err)
		}
		_, p := r.Distribution.Best()
		spread = spread || p < 0.999
		t.Logf("row %d: best %.4f, unresolved %.4f, %v", i, p, r.Unresolved, r.Distribution)
	}
	if !spread {
		t.Error("no answer has a probability from log probabilities")
	}
	if err := results[len(s.Texts)].Err; err == nil || err.Code != runtime.CodeTextTooLong {
		t.Errorf("a text beyond the context: %v", err)
	}
	if u := b.Usage(); u.Answers < 8 || u.PromptTokens < u.CompletionTokens || u.CompletionTokens == 0 {
		t.Errorf("usage %+v", u)
	}
	opt.Key, opt.KeyFrom = "wrong", "the variable CUBBY_CHAT_KEY"
	if _, err := chat.Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "CUBBY_CHAT_KEY") {
		t.Errorf("a wrong key: %v", err)
	}
	killed(t, srv, b, s.Texts[:2])
}

// killed has the server away, and back.
func killed(t *testing.T, srv *realserver.Server, b *chat.Backend, texts []string) {
	t.Helper()
	srv.Kill(t)
	if err := b.Probe(t.Context()); err == nil {
		t.Error("the probe says that a killed server is there")
	}
	srv.Restart(t)
	results, err := b.Score(t.Context(), runtime.Request{Texts: texts})
	if err != nil || results[0].Err != nil || results[1].Err != nil {
		t.Errorf("after it came back: %v %+v", err, results)
	}
}
