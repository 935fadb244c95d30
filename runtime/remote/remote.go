// Package remote makes an engine of a server that runs the model elsewhere and
// tells, for a sequence of tokens, the log probabilities of the next one. Packages
// llamaserver and ollama say how such a server is asked; what they share is here:
// how a pass becomes questions, what is known of tokens that the server does not
// tell, and what happens when it does not answer.
//
// A server keeps its own keys and values, so a Prefix here only remembers its
// tokens, and each Want costs a question of its own: scorers should open the nodes
// that hold probability (Info.NodeByNode).
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
)

const (
	// DefaultSlots is how many questions are asked at once: what servers run side by
	// side without being told to do more. Further ones would only wait there.
	DefaultSlots = 4
	// DefaultTimeout is how long one try of a question may take. A text takes
	// milliseconds to seconds; what takes longer has stopped.
	DefaultTimeout = time.Minute
	// minPass is the least that Info.MaxPass is: some hundred short texts.
	minPass = 16384
)

// Server answers questions about one model. Its methods are called from many
// goroutines at once.
type Server interface {
	// Next tells what follows a sequence, which is never empty. Its errors are an
	// *Error where the server is to blame or the sequence cannot be asked.
	Next(ctx context.Context, sequence, columns []labels.Token) (Told, error)
	// Probe says whether the server is there and still has the model. It asks for
	// nothing that waits behind questions.
	Probe(ctx context.Context) error
}

// Told is what a server tells of the next token.
type Told struct {
	// LogP has one natural log probability a column; NaN where the server tells none.
	LogP []float64
	// Least is the log probability that no column without one can exceed.
	Least float64
	// Mass is the probability of all the tokens that were told, columns or not.
	Mass float64
}

// Config is what an Engine needs besides its server. Zero values choose the
// defaults.
type Config struct {
	// Server names it in errors: "llama-server at http://127.0.0.1:8080".
	Server string
	// Info says what the server runs. NodeByNode, Memory.Loaded and MaxPass are filled in.
	Info      engine.Info
	Tokenizer engine.Tokenizer
	Slots     int           // most questions at once
	Timeout   time.Duration // of one try
	// Close frees what the server's side holds here; nil for nothing.
	Close func()
}

// Engine is an engine.Engine and engine.Prober on top of a Server.
type Engine struct {
	server Server
	name   string
	tok    engine.Tokenizer
	info   engine.Info
	slots  int
	free   func()
	closed atomic.Bool
	asker  Asker
	probe  Probe
}

var (
	_ engine.Engine = (*Engine)(nil)
	_ engine.Prober = (*Engine)(nil)
)

// New puts an engine on top of a server that was found to run the model.
func New(server Server, c Config) (*Engine, error) {
	switch {
	case c.Slots < 0:
		return nil, fmt.Errorf("slots %d must not be negative", c.Slots)
	case c.Timeout < 0:
		return nil, fmt.Errorf("timeout %v must not be negative", c.Timeout)
	case c.Info.Context < 2 || c.Info.Vocab < 1:
		return nil, fmt.Errorf("the server's context of %d tokens or its vocabulary of %d is too small to answer anything", c.Info.Context, c.Info.Vocab)
	}
	e := &Engine{server: server, name: c.Server, tok: c.Tokenizer, info: c.Info, slots: c.Slots, free: c.Close, probe: NewProbe()}
	if e.slots == 0 {
		e.slots = DefaultSlots
	}
	e.asker = Asker{Server: e.name, Slots: e.slots, Timeout: cmp.Or(c.Timeout, DefaultTimeout)}
	e.info.NodeByNode = true
	e.info.Memory.Loaded = true
	e.info.MaxPass = max(minPass, 2*e.info.Context) // the longest text with its label nodes
	return e, nil
}

// Info describes the model as the server told when it was opened.
func (e *Engine) Info() engine.Info { return e.info }

// Tokenizer is the one that the server was found to agree with.
func (e *Engine) Tokenizer() engine.Tokenizer { return e.tok }

// prefix remembers its tokens: the server keeps what it computed of them.
type prefix struct {
	of     *Engine
	tokens []labels.Token
}

func (p *prefix) Len() int     { return len(p.tokens) }
func (p *prefix) Bytes() int64 { return 0 }

// Prefix remembers the tokens and asks the server about them once, so that it has
// them computed before the first text comes.
func (e *Engine) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	if err := e.usable(ctx); err != nil {
		return nil, err
	}
	if len(tokens) > 0 {
		if err := engine.Check(e.info, 0, []engine.Tree{engine.Chain(tokens)}); err != nil {
			return nil, fmt.Errorf("prefix: %w", err)
		}
		if err := e.heal(ctx); err != nil {
			return nil, contracted(err)
		}
		if _, err := e.ask(ctx, tokens, tokens[:1]); err != nil {
			return nil, contracted(err)
		}
	}
	return &prefix{of: e, tokens: append([]labels.Token(nil), tokens...)}, nil
}

func (e *Engine) usable(ctx context.Context) error {
	if e.closed.Load() {
		return errors.New("the engine is closed")
	}
	return ctx.Err()
}

// Close lets go of the connections. The server runs on.
func (e *Engine) Close() error {
	if !e.closed.Swap(true) && e.free != nil {
		e.free()
	}
	return nil
}
