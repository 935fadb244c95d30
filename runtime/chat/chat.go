// Package chat classifies with a chat model behind a server that speaks OpenAI's chat
// protocol: POST /v1/chat/completions with messages, response_format and logprobs, and
// GET /v1/models. llama-server, vLLM, LM Studio, Ollama under /v1 and OpenAI itself do.
// It is there to compare a large language model with a small one on the same rows, and
// for those whose model runs behind such a server.
//
// A text is the last user message, unchanged, behind a system message that describes
// the task and names the labels, and behind examples as turns. The server is asked to
// keep to a JSON schema whose only answers are the labels, and to tell the log
// probabilities of other tokens, from which the distribution over all labels is read.
// Servers that refuse one of these are asked without it, from then on. An answer that
// is not exactly one label is an error, never a guess.
//
// The texts leave this machine where the server is another one.
package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
	"cubby/runtime/remote"
)

// Options say which model of which server to ask, and what. Zero values choose the
// defaults, but URL and Labels are needed.
type Options struct {
	// URL is the server's address, http://127.0.0.1:8080, or that of its API where the
	// path says the version: https://api.openai.com/v1.
	URL string
	// Key is sent as Authorization: Bearer; empty for none.
	Key string
	// KeyFrom is where a person sets Key, for errors: "the variable OPENAI_API_KEY".
	KeyFrom string
	// Model is the server's name of the model; empty for the only one that it has.
	Model string
	// Name is what the model is called here; empty for Model.
	Name string
	// Task describes what is classified, for the model to read.
	Task   string
	Labels *labels.Set
	Shots  []Shot // examples, in the order in which they are shown
	// Slots is the most questions at once; 0 for DefaultSlots.
	Slots int
	// Queue is the most texts admitted at once, waiting and asked; 0 for DefaultQueue.
	Queue int
	// Timeout is how long one try of a question may take; 0 for remote.DefaultTimeout.
	Timeout time.Duration
	// MaxAttempts is how often a question is asked at most while the server is busy or
	// away; 0 for DefaultMaxAttempts.
	MaxAttempts int
	// MaxTokens is the most that the model may say; 0 for what the longest label takes.
	// A model that thinks before it answers needs more.
	MaxTokens int
	// HTTP is the client through whose transport questions go; nil for a transport
	// with connections of its own.
	HTTP *http.Client
}

// Shot is an example: a text and its label.
type Shot struct{ Text, Label string }

const (
	// DefaultSlots is how many questions are asked at once: what servers run side by
	// side without being told to do more.
	DefaultSlots = remote.DefaultSlots
	// DefaultQueue is the most texts admitted at once. More would only be answered
	// after their callers left.
	DefaultQueue = 512
	// DefaultMaxAttempts is how often a question is asked at most: with the waits
	// between them some fifteen seconds, or longer where the server asks for that.
	DefaultMaxAttempts = 6
	// firstWait is the wait after the first try; each further one is twice as long.
	firstWait = 500 * time.Millisecond
	// longestWait caps what a server may ask for with Retry-After: the rate limits of
	// hosted models are counted by the minute.
	longestWait = 30 * time.Second
)

// canaryText is asked when a backend is opened, and to find out whether it answers.
const canaryText = "Could you please look into this for me and tell me what went wrong?"

// Backend is a runtime.Backend on a chat server. It is safe for concurrent use.
type Backend struct {
	set      *labels.Set
	messages []message // before the text's own
	server   *server
	ask      remote.Asker
	probe    remote.Probe
	terms    agreed
	door     *door
	spent    spent
	failed   chan struct{} // never closed: the server's end is not this process's
	info     runtime.Info
	closing  sync.Once
}

var _ runtime.Backend = (*Backend)(nil)

// Open finds the model and asks it one question, so that a wrong address, key or name
// shows at once, and so that what the server refuses is known before the first text.
func Open(ctx context.Context, opt Options) (*Backend, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := newServer(opt)
	if err != nil {
		return nil, err
	}
	if err := s.find(ctx); err != nil {
		s.transport.CloseIdle()
		return nil, err
	}
	b := newBackend(opt, s)
	if err := b.greet(ctx); err != nil {
		s.transport.CloseIdle()
		return nil, err
	}
	return b, nil
}

func newBackend(opt Options, s *server) *Backend {
	b := &Backend{
		set: opt.Labels, messages: opening(opt), server: s, failed: make(chan struct{}),
		ask: remote.Asker{
			Server: s.transport.Server, Slots: opt.Slots, Timeout: opt.Timeout,
			Tries: opt.MaxAttempts, FirstWait: firstWait, LongestWait: longestWait,
		},
		probe: remote.NewProbe(),
		door:  newDoor(opt.Slots, opt.Queue),
	}
	b.info = runtime.Info{
		Model: cmp.Or(opt.Name, shown(s.model), s.base.Host), Artifact: digest(s, opt, b.messages),
		Source:  models.Source{From: s.base.String(), Note: "a chat model of another server, which may change behind its name"},
		Labels:  opt.Labels,
		Scoring: models.Constrained,
		Engine:  engine.Info{Engine: "chat", Device: "server", Memory: engine.Memory{Loaded: true}},
	}
	return b
}

// shown is a server's name of a model, of which llama-server makes the path of its
// file on that machine.
func shown(model string) string {
	if strings.HasPrefix(model, "/") {
		return path.Base(model)
	}
	return model
}

// withDefaults fills what was left zero and checks the rest.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Labels == nil:
		return o, errors.New("chat needs the labels to choose from")
	case o.Slots < 0 || o.Queue < 0 || o.Timeout < 0 || o.MaxAttempts < 0 || o.MaxTokens < 0:
		return o, fmt.Errorf("slots %d, queue %d, timeout %v, attempts %d and tokens %d must not be negative", o.Slots, o.Queue, o.Timeout, o.MaxAttempts, o.MaxTokens)
	case !utf8.ValidString(o.Task):
		return o, errors.New("the description of the task is not valid UTF-8")
	case strings.ContainsAny(o.Key, "\r\n"):
		return o, errors.New("the API key has a line break in it: give the key alone")
	}
	for i, s := range o.Shots {
		if _, ok := o.Labels.Index(s.Label); !ok {
			return o, fmt.Errorf("example %d has the label %q, which is none of the labels", i, s.Label)
		}
		if !utf8.ValidString(s.Text) || strings.TrimSpace(s.Text) == "" {
			return o, fmt.Errorf("example %d has no text that can be sent: it is empty, or not valid UTF-8", i)
		}
	}
	o.Slots = cmp.Or(o.Slots, DefaultSlots)
	o.Queue = cmp.Or(o.Queue, DefaultQueue)
	o.Timeout = cmp.Or(o.Timeout, remote.DefaultTimeout)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, DefaultMaxAttempts)
	o.KeyFrom = cmp.Or(o.KeyFrom, "the option Key")
	return o, nil
}

// Info describes the model. Whether it tells probabilities (Engine.LabelOnly) is what
// the server's answers until now have shown.
func (b *Backend) Info() runtime.Info {
	info, t := b.info, b.terms.now()
	info.Engine.Kernel = b.server.program()
	info.Engine.LabelOnly = t.alternatives() == 0
	info.Choice = t.String()
	return info
}

// Stats counts the texts that came to the door.
func (b *Backend) Stats() runtime.Stats { return b.door.count() }

// Failed is never closed: a server that is away may come back, and Probe tells.
func (b *Backend) Failed() <-chan struct{} { return b.failed }

// Probe says whether the server is there and still has the model: GET /v1/models, which
// computes nothing. It takes a second at most; a result is told again for about a second.
func (b *Backend) Probe(ctx context.Context) error {
	if b.door.closed() {
		return errors.New("the backend is closed")
	}
	return b.probe.Within(ctx, b.server.look, probeKept)
}

const (
	probeKept = time.Second
	// healKept is how old a probe's result may be that ends an outage: those who wait
	// for it side by side share one.
	healKept = 200 * time.Millisecond
)

// greet asks the first question. What the model says to it does not matter.
func (b *Backend) greet(ctx context.Context) error {
	_, err := b.question(ctx, canaryText)
	if u, ok := errors.AsType[*unusable](err); ok && u.code != runtime.CodeTextTooLong {
		return nil
	}
	return err // also where the messages alone are too long
}

// CheckCanary asks about a text and fails when the answer is none of the labels. What
// the model answered before is not recorded, so a server that has changed its model
// behind the same name passes.
func (b *Backend) CheckCanary(ctx context.Context) error {
	results, err := b.Score(ctx, runtime.Request{Texts: []string{canaryText}})
	if err == nil && results[0].Err != nil {
		err = results[0].Err
	}
	if err != nil {
		return fmt.Errorf("canary: %w", err)
	}
	return nil
}

// Close stops admission, answers what was admitted, and lets go of the connections. The
// server runs on.
func (b *Backend) Close() error {
	b.door.close()
	b.closing.Do(b.server.transport.CloseIdle)
	return nil
}
