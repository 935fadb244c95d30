package ollama

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	gotemplate "text/template"
	"time"

	"cubby/models"
	"cubby/runtime/remote"
	"cubby/runtime/remote/remotetest"
)

func TestOpenCreatesTheModelOnce(t *testing.T) {
	f := newFake(t)
	info := f.open(t).Info()
	name := "cubby-tiny:" + strings.TrimPrefix(digest, "sha256:")[:12]
	if got := f.names(); !slices.Equal(got, []string{name}) {
		t.Fatalf("the server has %v", got)
	}
	if info.Engine != "ollama" || info.Kernel != "ollama 0.32.14" || info.Device != "cpu" || info.Architecture != "llama" || info.Layers != 30 ||
		info.Width != 576 || info.Vocab != 259 || info.Context != 999 || !info.NodeByNode || info.LabelOnly || info.Classes != 0 {
		t.Errorf("%+v", info)
	}
	p := f.created.Parameters
	if fmt.Sprint(p["num_ctx"], p["temperature"], p["stop"]) != "4096 0 [<|end|>]" {
		t.Errorf("parameters %v", p)
	}
	tmpl, err := gotemplate.New("").Parse(f.created.Template)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, map[string]string{"Prompt": "TEXT"}); err != nil || b.String() != manifest.Prompt.Prefix+"TEXT"+manifest.Prompt.Suffix {
		t.Errorf("the template %q renders %q, %v", f.created.Template, b.String(), err)
	}
	f.created.Model = ""
	f.open(t)
	if f.created.Model != "" {
		t.Error("it was created again")
	}
}

func TestLiteralsStayAsTheyAre(t *testing.T) {
	for _, text := range []string{"", "{", "{{", "{{{", "a{b}c", "{{ .System }}", "{{/* x */}}", "}}", "{ {", "{\"label\": \"{{x}}\"}", "{{- \"\\n\" -}}", "`\"\\{"} {
		tmpl, err := gotemplate.New("").Parse(literal(text) + "{{ .Prompt }}" + literal(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, map[string]string{"Prompt": "|"}); err != nil || b.String() != text+"|"+text {
			t.Errorf("%q renders as %q, %v", text, b.String(), err)
		}
	}
}

func TestOpenUsesANamedModel(t *testing.T) {
	f := newFake(t)
	f.have["mine:latest"] = "d"
	f.show.Parameters = "num_ctx                        300\nstop                           \"<|end|>\""
	opt := f.options(t)
	opt.Model, opt.Slots, opt.KeepAlive = "Mine", 2, -1
	e, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if e.Info().Context != 299 || len(f.blobs) != 0 || f.pulls != 0 {
		t.Errorf("context %d, %d uploads, %d pulls", e.Info().Context, len(f.blobs), f.pulls)
	}
	q := f.questions()[0]
	if q.KeepAlive == nil || q.KeepAlive.Duration < 1e6*time.Hour || q.Options["num_ctx"] != 300.0 || !q.Raw || *q.Truncate || *q.Shift {
		t.Errorf("%+v", q)
	}
}

func TestOpenPullsOnlyIfAllowed(t *testing.T) {
	f := newFake(t)
	opt := f.options(t)
	opt.Model = "known/model:tag"
	if _, err := Open(t.Context(), opt); remote.As(err, "").Fault != remote.Missing || !strings.Contains(err.Error(), "`ollama pull known/model:tag`") || f.pulls != 0 {
		t.Errorf("%d pulls, %v", f.pulls, err)
	}
	opt.Pull = true
	if _, err := Open(t.Context(), opt); err != nil || f.pulls != 1 {
		t.Errorf("%d pulls, %v", f.pulls, err)
	}
	opt.Model = "nobody/has:this"
	if _, err := Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "pull nobody/has:this") {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeOllama, *Options)
		says   string
	}{
		"a classification head":  {func(_ *fakeOllama, o *Options) { o.Manifest.Scoring = models.Head }, "classification head"},
		"no address":             {func(_ *fakeOllama, o *Options) { o.URL = "localhost:11434" }, "write it as http://"},
		"no tokeniser":           {func(_ *fakeOllama, o *Options) { o.Tokenizer = nil }, "tokeniser"},
		"a negative context":     {func(_ *fakeOllama, o *Options) { o.Context = -1 }, "negative"},
		"nothing to pull":        {func(_ *fakeOllama, o *Options) { o.Pull = true }, "name the model"},
		"no digest":              {func(_ *fakeOllama, o *Options) { o.Digest = "" }, "digest"},
		"no weights":             {func(_ *fakeOllama, o *Options) { o.GGUF = "" }, "import it as GGUF"},
		"no such weights":        {func(_ *fakeOllama, o *Options) { o.GGUF = "/nowhere.gguf" }, "no such file"},
		"too small a context":    {func(_ *fakeOllama, o *Options) { o.Context = 50 }, "allow at least"},
		"another tokeniser":      {func(f *fakeOllama, _ *Options) { f.missized = 7 }, `serves another model than "tiny"`},
		"a cloud model":          {func(f *fakeOllama, _ *Options) { f.show.RemoteHost = "https://ollama.com" }, "texts would leave"},
		"a token before prompts": {func(f *fakeOllama, _ *Options) { f.addsBOS = true; f.show.ModelInfo["tokenizer.ggml.bos_token_id"] = 7 }, "not trained with"},
		"out of memory": {func(f *fakeOllama, _ *Options) {
			f.generation.Always(remotetest.Say(500, `{"error":"model requires more system memory (3.1 GiB) than is available (1.0 GiB)"}`))
		}, "less context or fewer slots"},
		"a list without digests": {func(f *fakeOllama, _ *Options) {
			f.tags.Always(remotetest.Say(200, `{"models":[{"name":"cubby-tiny:`+strings.TrimPrefix(digest, "sha256:")[:12]+`"}]}`))
		}, "no digests"},
		"a web page":      {func(f *fakeOllama, _ *Options) { f.tags.Always(remotetest.Say(200, "<html>secret</html>")) }, "JSON"},
		"another program": {func(f *fakeOllama, _ *Options) { f.tags.Always(remotetest.Say(418, "teapot")) }, "teapot"},
		"nobody there":    {func(f *fakeOllama, _ *Options) { f.Server.Close() }, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			opt := f.options(t)
			c.change(f, &opt)
			_, err := Open(t.Context(), opt)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Error(err)
			}
		})
	}
}

func TestProbeLooksForTheModel(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeOllama)
		says   string
	}{
		"there":    {func(*fakeOllama) {}, ""},
		"deleted":  {func(f *fakeOllama) { clear(f.have) }, "does not have the model"},
		"replaced": {func(f *fakeOllama) { f.have[f.created.Model] = "another" }, "another one than it was"},
	} {
		f := newFake(t)
		e := f.open(t)
		f.set(func() { c.change(f) })
		switch err := e.Probe(t.Context()); {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFake(t)
	e := f.open(t)
	f.tags.Always(remotetest.Hang)
	if err := e.Probe(t.Context()); remote.As(err, "").Fault != remote.Slow {
		t.Errorf("%v", err)
	}
}
