// Package llamaserver is the engine that asks a running llama-server, the HTTP
// server of llama.cpp. The wire protocol is that of its tools/server/README.md:
// POST /completion with the prompt as token ids and n_probs, GET /props,
// GET /v1/models and POST /tokenize.
//
// Ids go out and come back, so the server's tokeniser never touches a text; but it
// tells whether the server has the same vocabulary, which is checked when the
// engine is opened. That it also has the same weights only a canary shows.
package llamaserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
	"cubby/runtime/remote"
)

// Options say which server to ask about which model. Zero values choose the
// defaults.
type Options struct {
	// URL is the server's address: http://127.0.0.1:8080.
	URL string
	// Key is the API key that the server was started with; empty for none.
	Key string
	// Tokenizer and Manifest are those of the model that the server must run.
	Tokenizer engine.Tokenizer
	Manifest  models.Manifest
	// Slots is the most questions at once; 0 for as many as the server has slots.
	Slots int
	// Timeout is how long one try of a question may take, and how long a server may
	// be loading its model when it is opened; 0 for remote.DefaultTimeout.
	Timeout time.Duration
	// HTTP is the client through whose transport questions go; nil for a transport
	// with connections of its own.
	HTTP *http.Client
}

const (
	// spoken is the room in its context that the server keeps for the token that it
	// says, which nobody wants.
	spoken = 1
)

// Open finds out what the server runs and whether it is this model.
func Open(ctx context.Context, opt Options) (*remote.Engine, error) {
	switch {
	case opt.Manifest.Scoring == models.Head:
		return nil, errors.New("this model cannot run on llama-server: it answers with a classification head, and the server tells only what text comes next; use the native engine")
	case opt.Tokenizer == nil:
		return nil, errors.New("llamaserver needs the model's tokeniser")
	case opt.Slots < 0 || opt.Timeout < 0:
		return nil, fmt.Errorf("slots %d and timeout %v must not be negative", opt.Slots, opt.Timeout)
	}
	if opt.Timeout == 0 {
		opt.Timeout = remote.DefaultTimeout
	}
	s, err := newServer(opt)
	if err != nil {
		return nil, err
	}
	e, err := open(ctx, s, opt)
	if err != nil {
		s.transport.CloseIdle()
	}
	return e, err
}

func open(ctx context.Context, s *server, opt Options) (*remote.Engine, error) {
	p, err := s.loaded(ctx, opt.Timeout)
	if err != nil {
		return nil, err
	}
	s.opened = p
	if err := s.sameVocabulary(ctx, opt); err != nil {
		return nil, err
	}
	if opt.Slots == 0 {
		opt.Slots = p.Slots
	}
	info := engine.Info{Engine: "llamaserver", Kernel: "llama.cpp " + p.Build, Device: "server", Vocab: opt.Tokenizer.Len(), Context: p.Settings.Context - spoken}
	info.Width = s.width(ctx)
	return remote.New(s, remote.Config{
		Server: s.transport.Server, Info: info, Tokenizer: opt.Tokenizer,
		Slots: opt.Slots, Timeout: opt.Timeout, Close: s.transport.CloseIdle,
	})
}

// loaded returns what the server runs, and waits while it is loading that.
func (s *server) loaded(ctx context.Context, patience time.Duration) (props, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		p, err := s.props(ctx)
		if err == nil || remote.As(err, s.transport.Server).Fault != remote.Busy {
			return p, err
		}
		select {
		case <-ctx.Done():
			return p, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sameVocabulary compares tokens of the prompt and of answers.
func (s *server) sameVocabulary(ctx context.Context, opt Options) error {
	m := opt.Manifest
	texts := []string{m.Prompt.Prefix, remote.OddText, m.Prompt.Suffix}
	for _, l := range m.Labels[:min(len(m.Labels), remote.CheckedLabels)] {
		texts = append(texts, m.Answer.Text(l.Name)+m.Answer.End)
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		theirs, err := s.tokenize(ctx, text)
		if err != nil {
			return err
		}
		if ours := opt.Tokenizer.EncodeSpecial(text); !slices.Equal(ours, theirs) {
			return fmt.Errorf("%s serves another model than %q: where this model has the tokens %s, it has %s; start it with this model's weights",
				s.transport.Server, m.Name, excerpt(ours, theirs), excerpt(theirs, ours))
		}
	}
	return nil
}

// excerpt shows the first tokens of a that differ from b's.
func excerpt(a, b []labels.Token) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return fmt.Sprint(a[n:min(len(a), n+4)])
}
