// Package native is the engine in Go: decoder models of the llama family on
// the CPU, with integer products in SIMD kernels and no shared library.
//
// A row's result is the same bits alone or in a batch of any make-up, on any
// number of threads: every sum of a row runs in one fixed order, and threads
// split rows and columns, never a sum.
package native

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"

	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// MaxPass is the default limit of a pass in tokens. Buffers grow to the largest
// pass seen: about 30 KB a token for a model of 135 M parameters.
const MaxPass = 16384

// Options configure New; the zero value takes every default.
type Options struct {
	Threads int    // 0: one a processor
	CPU     string // kernel level; empty: the best this processor has
	MaxPass int    // most tokens in one pass; 0: MaxPass
}

// Engine implements engine.Engine.
type Engine struct {
	w     *weights
	k     *kernel.Kernel
	tok   engine.Tokenizer
	pool  *pool
	pass  *pass
	info  engine.Info
	shown map[labels.Token][]float32 // dequantised output rows that were asked for
}

// errClosed answers calls behind Close.
var errClosed = errors.New("the engine is closed")

// New packs the checkpoint's weights, and looks embeddings up in it later: it
// must stay open until the engine is closed.
func New(ck checkpoint.Checkpoint, tok engine.Tokenizer, opt Options) (*Engine, error) {
	k, err := kernel.New(opt.CPU)
	if err != nil {
		return nil, err
	}
	if opt.Threads < 0 || opt.Threads > 1024 {
		return nil, fmt.Errorf("threads is %d: want 1 to 1024, or 0 for one a processor", opt.Threads)
	}
	if opt.Threads == 0 {
		opt.Threads = goruntime.GOMAXPROCS(0)
	}
	if opt.MaxPass == 0 {
		opt.MaxPass = MaxPass
	}
	p := newPool(opt.Threads)
	w, err := loadWeights(ck, k, p)
	if err != nil {
		p.close()
		return nil, err
	}
	if tok.Len() > w.cfg.Vocab {
		p.close()
		return nil, fmt.Errorf("the tokenizer has %d tokens, but the weights have rows for %d: the files do not belong together", tok.Len(), w.cfg.Vocab)
	}
	e := &Engine{w: w, k: k, tok: tok, pool: p, shown: map[labels.Token][]float32{}}
	e.info = engine.Info{
		Engine: "native", Kernel: string(k.Level()), Device: "cpu", Architecture: w.cfg.Architecture,
		Threads: opt.Threads, Layers: w.cfg.Layers, Width: w.cfg.Width, Vocab: w.cfg.Vocab,
		Context: w.cfg.Context, MaxPass: opt.MaxPass, Classes: len(w.classes),
	}
	e.pass = newPass(w, k, p)
	return e, nil
}

// Info implements engine.Engine.
func (e *Engine) Info() engine.Info { return e.info }

// Tokenizer implements engine.Engine.
func (e *Engine) Tokenizer() engine.Tokenizer { return e.tok }

// Close stops the threads.
func (e *Engine) Close() error {
	if e.pool != nil {
		e.pool.close()
		e.pool = nil
	}
	return nil
}

// prefixChunk is how many tokens of a prefix are computed in one pass, so that
// a long prefix needs no larger buffers than a batch.
const prefixChunk = 512

// Prefix implements engine.Engine.
func (e *Engine) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	if e.pool == nil {
		return nil, errClosed
	}
	if err := e.checkTokens(tokens); err != nil {
		return nil, err
	}
	if len(tokens) > e.info.Context {
		return nil, fmt.Errorf("the prefix has %d tokens, but the context of the model is %d", len(tokens), e.info.Context)
	}
	pre := newPrefix(&e.w.cfg, len(tokens))
	for len(tokens) > 0 {
		n := min(prefixChunk, len(tokens))
		chunk := engine.Chain(tokens[:n])
		if err := e.pass.forward(ctx, pre, []engine.Tree{chunk}, true); err != nil {
			return nil, err
		}
		tokens = tokens[n:]
	}
	return pre, nil
}

// Eval implements engine.Engine.
func (e *Engine) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if e.pool == nil {
		return nil, errClosed
	}
	pre, ok := p.(*prefix)
	if !ok {
		return nil, errors.New("the prefix was computed by another engine")
	}
	if err := engine.Check(e.info, pre.n, trees); err != nil {
		return nil, err
	}
	if len(trees) == 0 {
		return nil, nil
	}
	if err := e.pass.forward(ctx, pre, trees, false); err != nil {
		return nil, err
	}
	return e.outputs(trees), nil
}

func (e *Engine) checkTokens(tokens []labels.Token) error {
	for i, t := range tokens {
		if t < 0 || int(t) >= e.info.Vocab {
			return fmt.Errorf("token %d of the prefix is %d, outside the vocabulary of %d", i, t, e.info.Vocab)
		}
	}
	return nil
}
