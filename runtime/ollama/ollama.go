// Package ollama is the engine that asks a running Ollama. The wire protocol is that
// of Ollama's docs/api.md, spoken through its own client package: /api/generate with
// raw prompts and logprobs, /api/tags, /api/show, /api/ps, and /api/blobs,
// /api/create and /api/pull to bring the model there.
//
// Ollama takes text, not tokens, and tells the 20 likeliest tokens at most, as text.
// So a sequence is written out and must come apart into the same tokens again, and
// what lies on further columns is only bounded. A server that tells no log
// probabilities at all is asked for one of the answers instead (Info.LabelOnly).
package ollama

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ollama/ollama/api"

	"cubby/models"
	"cubby/runtime/engine"
	"cubby/runtime/remote"
)

const (
	// DefaultURL is where Ollama listens unless it is told otherwise.
	DefaultURL = "http://127.0.0.1:11434"
	// DefaultContext is the context of a model that is created here: the prompts of
	// classification models take some hundred tokens.
	DefaultContext = 4096
	// said is the room in its context that the server keeps for the token that it
	// says, which nobody wants.
	said = 1
	// digestDigits are those of the artefact's digest in a created model's name.
	digestDigits = 12
)

// Options say which server to ask about which model. Zero values choose the
// defaults.
type Options struct {
	// URL is the server's address; empty for DefaultURL.
	URL string
	// Tokenizer and Manifest are those of the model.
	Tokenizer engine.Tokenizer
	Manifest  models.Manifest
	// Digest is the artefact's, "sha256:…", for the name of a model that is created.
	Digest string
	// GGUF is the file of the model's weights, from which it is created where the
	// server does not have it; empty for none.
	GGUF string
	// Model names a model of the server's instead: "banking:latest". Nothing is
	// created then. Empty for cubby-NAME:DIGEST12.
	Model string
	// Pull lets the server download Model where it does not have it.
	Pull bool
	// Context is num_ctx, the tokens of one sequence; 0 for the model's own, or
	// DefaultContext where it has none.
	Context int
	// KeepAlive is how long the server keeps the model loaded after a question; 0
	// leaves that to the server, less than 0 is for ever.
	KeepAlive time.Duration
	// Slots is the most questions at once; 0 for remote.DefaultSlots. More than the
	// server's OLLAMA_NUM_PARALLEL only wait there.
	Slots int
	// Timeout is how long one try of a question may take; 0 for
	// remote.DefaultTimeout. Loading the model, when it is opened, may take longer.
	Timeout time.Duration
	// HTTP is the client through whose transport questions go; nil for a transport
	// with connections of its own.
	HTTP *http.Client
}

// Open finds the model on the server, or brings it there, has it loaded, and finds
// out what the server tells about it.
func Open(ctx context.Context, opt Options) (*remote.Engine, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	base, err := remote.ParseURL(cmp.Or(opt.URL, DefaultURL))
	if err != nil {
		return nil, fmt.Errorf("ollama: %w", err)
	}
	t := &remote.Transport{Base: remote.Base(opt.HTTP, opt.Slots), Server: "Ollama at " + base.String(), Missing: true}
	s := &server{
		name: t.Server, client: api.NewClient(base, t.Client()), model: opt.model(), keepAlive: opt.KeepAlive,
		tok: opt.Tokenizer, end: opt.Manifest.Answer.End, bos: -1,
	}
	e, err := open(ctx, s, t, opt)
	if err != nil {
		t.CloseIdle()
	}
	return e, err
}

func (o *Options) check() error {
	switch {
	case o.Manifest.Scoring == models.Head:
		return errors.New("this model cannot run on Ollama: it answers with a classification head, and the server tells only what text comes next; use the native engine")
	case o.Tokenizer == nil:
		return errors.New("ollama needs the model's tokeniser")
	case o.Slots < 0 || o.Timeout < 0 || o.Context < 0:
		return fmt.Errorf("slots %d, timeout %v and context %d must not be negative", o.Slots, o.Timeout, o.Context)
	case o.Pull && o.Model == "":
		return errors.New("there is nothing to pull: name the model on the server")
	case o.Model == "" && o.hexDigest() == "":
		return fmt.Errorf("the artefact's digest %q does not start a name: give it as sha256:… or name a model on the server", o.Digest)
	}
	return nil
}

func (o *Options) hexDigest() string {
	d, err := models.ParseDigest(o.Digest)
	if err != nil {
		return ""
	}
	return d.Hex()
}

// model is the full name on the server.
func (o *Options) model() string {
	name := o.Model
	if name == "" {
		return "cubby-" + o.Manifest.Name + ":" + o.hexDigest()[:digestDigits]
	}
	if !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		name += ":latest"
	}
	return name
}

func open(ctx context.Context, s *server, t *remote.Transport, opt Options) (*remote.Engine, error) {
	if err := s.provide(ctx, opt); err != nil {
		return nil, err
	}
	facts, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	if s.context = facts.contextFor(opt.Context); s.context < 2 {
		return nil, fmt.Errorf("%s: a context of %d tokens is too small", s.name, s.context)
	}
	exact, err := s.load(ctx, opt, facts)
	if err != nil {
		return nil, err
	}
	info := engine.Info{
		Engine: "ollama", Kernel: "ollama " + s.version(ctx), Device: s.device(ctx), Architecture: facts.architecture,
		Layers: facts.layers, Width: facts.width, Vocab: opt.Tokenizer.Len(), Context: s.context - said, LabelOnly: !exact,
	}
	c := remote.Config{Server: s.name, Info: info, Tokenizer: opt.Tokenizer, Slots: opt.Slots, Timeout: opt.Timeout, Close: t.CloseIdle}
	if exact {
		return remote.New(s, c)
	}
	chooser, err := newChooser(s, opt.Manifest)
	if err != nil {
		return nil, err
	}
	c.Info.Context = s.context - chooser.predict // the whole answer is said behind the text
	return remote.New(chooser, c)
}
