// Package residency lets the engines of several models share a memory budget:
// weights are loaded when a pass needs them, and those of the least recently
// used engine go first when they do not fit together. What is costly to compute
// and small to keep, the prefixes' keys and values, stays.
package residency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
)

// Source is where an engine comes from, again and again.
type Source struct {
	// Load returns an engine with its weights in memory.
	Load func() (engine.Engine, error)
	// Estimate is about how many bytes the weights take, until they were loaded
	// once.
	Estimate int64
	// KeepsPrefixes says that an engine of a later Load accepts the prefixes of
	// an earlier one. Otherwise they are computed again.
	KeepsPrefixes bool
}

// Engine is an engine.Engine whose weights come and go. As any engine, it is
// owned by one goroutine; different ones may run at the same time.
type Engine struct {
	budget *Budget
	source Source
	tok    engine.Tokenizer

	// Guarded by the budget's lock.
	info     engine.Info   // as of the last load
	inner    engine.Engine // nil: not loaded
	busy     bool          // in a pass: cannot be evicted
	closed   bool
	weights  int64 // bytes of the weights when they are loaded; at first the estimate
	prefixes []*prefix
	loaded   time.Time     // when the last load ended
	rested   time.Time     // when the last pass ended
	turn     time.Duration // how long it may stay though others wait
	loads    int
}

// prefix is a prefix that can be computed again.
type prefix struct {
	of     *Engine
	tokens []labels.Token
	inner  engine.Prefix // nil: was dropped
	size   int64         // bytes of its keys and values when it is there
}

// Len implements engine.Prefix.
func (p *prefix) Len() int { return len(p.tokens) }

// Bytes implements engine.Prefix.
func (p *prefix) Bytes() int64 {
	p.of.budget.mu.Lock()
	defer p.of.budget.mu.Unlock()
	return p.bytes()
}

// bytes counts a dropped prefix again as soon as the weights are back: the next
// pass computes it.
func (p *prefix) bytes() int64 {
	if p.inner == nil && p.of.inner == nil {
		return 0
	}
	return p.size
}

var errClosed = errors.New("the engine is closed")

// Open loads an engine for the first time. An engine that does not fit the
// budget alone is refused, there or when its prefix is computed.
func (b *Budget) Open(ctx context.Context, source Source) (*Engine, error) {
	e := &Engine{budget: b, source: source, weights: source.Estimate}
	b.add(e)
	inner, err := b.hold(ctx, e)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.tok = inner.Tokenizer()
	b.release(e)
	return e, nil
}

// Info implements engine.Engine.
func (e *Engine) Info() engine.Info {
	e.budget.mu.Lock()
	defer e.budget.mu.Unlock()
	info := e.info
	info.Memory = engine.Memory{Loaded: e.inner != nil, Weights: e.weights, KV: e.kv(), Loads: e.loads}
	return info
}

// Tokenizer implements engine.Engine. It is there whether the weights are
// loaded or not.
func (e *Engine) Tokenizer() engine.Tokenizer { return e.tok }

// Wake implements engine.Waker.
func (e *Engine) Wake(ctx context.Context) error {
	if _, err := e.budget.hold(ctx, e); err != nil {
		return err
	}
	e.budget.release(e)
	return nil
}

// Probe implements engine.Prober: what is not loaded is taken to load.
func (e *Engine) Probe(ctx context.Context) error {
	e.budget.mu.Lock()
	p, ok := e.inner.(engine.Prober)
	e.budget.mu.Unlock()
	if !ok {
		return nil
	}
	return p.Probe(ctx)
}

// Prefix implements engine.Engine.
func (e *Engine) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	computed, err := e.compute(ctx, tokens)
	if err != nil {
		return nil, err
	}
	p := &prefix{of: e, tokens: tokens, inner: computed, size: computed.Bytes()}
	if err := e.budget.keep(ctx, e, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (e *Engine) compute(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	inner, err := e.budget.hold(ctx, e)
	if err != nil {
		return nil, err
	}
	defer e.budget.release(e)
	return inner.Prefix(ctx, tokens)
}

// Eval implements engine.Engine.
func (e *Engine) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	pre, ok := p.(*prefix)
	if !ok || pre.of != e {
		return nil, errors.New("the prefix was computed by another engine")
	}
	inner, err := e.budget.hold(ctx, e)
	if err != nil {
		return nil, err
	}
	defer e.budget.release(e)
	computed, err := e.prefix(ctx, inner, pre)
	if err != nil {
		return nil, err
	}
	return inner.Eval(ctx, computed, trees)
}

// prefix returns what the inner engine takes for a prefix, computing it again
// where it was dropped. The engine is held.
func (e *Engine) prefix(ctx context.Context, inner engine.Engine, p *prefix) (engine.Prefix, error) {
	e.budget.mu.Lock()
	computed := p.inner
	e.budget.mu.Unlock()
	if computed != nil {
		return computed, nil
	}
	computed, err := inner.Prefix(ctx, p.tokens)
	if err != nil {
		return nil, fmt.Errorf("compute the prompt's prefix again: %w", err)
	}
	e.budget.mu.Lock()
	defer e.budget.mu.Unlock()
	p.inner = computed
	return computed, nil
}

// Close implements engine.Engine.
func (e *Engine) Close() error { return e.budget.remove(e) }

// kv counts the bytes of the prefixes. The caller holds the budget's lock.
func (e *Engine) kv() int64 {
	n := int64(0)
	for _, p := range e.prefixes {
		n += p.bytes()
	}
	return n
}

// missing counts what a load brings, at most what the budget can hold: an
// estimate, or weights that grew, must not ask for what cannot be. The caller
// holds the budget's lock.
func (e *Engine) missing() int64 {
	n := e.weights
	for _, p := range e.prefixes {
		if p.inner == nil {
			n += p.size
		}
	}
	return min(n, e.budget.limit-e.kv())
}

// held counts all bytes. The caller holds the budget's lock.
func (e *Engine) held() int64 {
	if e.inner == nil {
		return e.kv()
	}
	return e.kv() + e.weights
}

// evict lets the weights go. The caller holds the budget's lock.
func (e *Engine) evict() error {
	if e.inner == nil {
		return nil
	}
	err := e.inner.Close()
	e.inner = nil
	if !e.source.KeepsPrefixes {
		e.forget()
	}
	return err
}

// forget drops the computed prefixes. The caller holds the budget's lock.
func (e *Engine) forget() {
	for _, p := range e.prefixes {
		p.inner = nil
	}
}
