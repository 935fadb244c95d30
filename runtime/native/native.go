// Package native is the engine in Go: dense decoder models (llama, mistral,
// qwen2, qwen3, gemma3) on the CPU, with integer products in SIMD kernels and no
// shared library.
//
// A row's result is the same bits alone or in a batch of any make-up, on any
// number of threads: every sum of a row runs in one fixed order, and threads
// split rows and columns, never a sum.
package native

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

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
	Threads int    // 0: one a physical core
	Pool    *Pool  // computes on a shared pool, which outlives the engine; nil: one of its own
	CPU     string // kernel level; empty: the best this processor has
	// Artifact names the weights. Engines of one artefact and level accept each
	// other's prefixes, also when the one that made them is closed.
	Artifact string
	MaxPass  int // most tokens in one pass; 0: MaxPass
	// Chunk is how many tokens of a prefix or of one text are computed in one pass,
	// so that long ones need no larger buffers than a batch: a multiple of
	// kernel.Block; 0: Chunk.
	Chunk     int
	Precision Precision // of a text's activations; empty: Int8
	// Files keeps packed weights and prefixes of the artifact for the next
	// engine; nil for none. Those of Float32 are not kept.
	Files Files
	// Release, where it is not nil, is called between products while weights are
	// packed: what was read of the checkpoint so far is not needed soon.
	Release func()
	// Log hears why something could not be kept or recalled; nil for nobody.
	Log *slog.Logger
}

// Precision is how finely the activations of a text are rounded in products with
// int8 weights; a prefix, computed once, always takes 16 bits, and weights finer
// than int8 take 16 as well, and so does everything on the AMX level. What it
// costs is in docs/performance.md.
type Precision string

const (
	Int8  Precision = "int8"
	Int16 Precision = "int16"
	// Float32 rounds neither weights nor activations: the reference, several
	// times slower.
	Float32 Precision = "float32"
)

// Precisions returns them all, the default first.
func Precisions() []Precision { return []Precision{Int8, Int16, Float32} }

// Engine implements engine.Engine.
type Engine struct {
	w     *weights
	k     *kernel.Kernel
	tok   engine.Tokenizer
	pool  *Pool
	owns  bool // the pool is closed with the engine
	owner owner
	keeper
	kv    atomic.Int64 // bytes of the prefixes made
	bytes atomic.Int64 // of the packed weights
	team  *pass        // of all threads
	solo  []*pass      // one a thread
	info  engine.Info
	chunk int                        // tokens of a prefix or of one text a pass
	shown map[labels.Token][]float32 // dequantised output rows that were asked for

	drop func() // see Options.Release

	opening sync.Mutex
	open    []normalizer // of the pass that runs; guarded by opening
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
	if opt.MaxPass == 0 {
		opt.MaxPass = MaxPass
	}
	if opt.Chunk == 0 {
		opt.Chunk = Chunk
	}
	if opt.Chunk < 0 || opt.Chunk%kernel.Block != 0 {
		return nil, fmt.Errorf("chunks are of %d tokens: want a multiple of %d", opt.Chunk, kernel.Block)
	}
	if opt.Precision == "" {
		opt.Precision = Int8
	}
	if opt.Precision == Int8 && !k.Coarse() {
		opt.Precision = Int16
	}
	if !slices.Contains(Precisions(), opt.Precision) {
		return nil, fmt.Errorf("the precision is %q: want one of %v", opt.Precision, Precisions())
	}
	e := &Engine{k: k, tok: tok, pool: opt.Pool, owns: opt.Pool == nil, chunk: opt.Chunk, shown: map[labels.Token][]float32{}, drop: opt.Release}
	if e.drop == nil {
		e.drop = func() {}
	}
	if e.owns {
		if e.pool, err = NewPool(opt.Threads); err != nil {
			return nil, err
		}
	}
	e.owner = newOwner(opt.Artifact, k.Level(), opt.Precision, opt.Chunk)
	e.keeper = newKeeper(opt, e.owner)
	if err := e.load(ck, opt); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) load(ck checkpoint.Checkpoint, opt Options) error {
	w, err := newWeights(ck, opt.Precision)
	if err != nil {
		return err
	}
	if e.tok.Len() > w.cfg.Vocab {
		return fmt.Errorf("the tokenizer has %d tokens, but the weights have rows for %d: the files do not belong together", e.tok.Len(), w.cfg.Vocab)
	}
	e.w = w
	e.fill()
	e.bytes.Store(w.bytes())
	e.info = engine.Info{
		Engine: "native", Kernel: string(e.k.Level()), Precision: string(opt.Precision), Device: "cpu", Architecture: w.cfg.Architecture,
		Threads: e.pool.threads, Layers: w.cfg.Layers, Width: w.cfg.Width, Vocab: w.cfg.Vocab,
		Context: w.cfg.Context, MaxPass: opt.MaxPass, Classes: len(w.classes),
	}
	e.team = newPass(w, e.k, e.pool)
	for range e.pool.threads {
		e.solo = append(e.solo, newPass(w, e.k, nil))
	}
	return nil
}

// Info implements engine.Engine.
func (e *Engine) Info() engine.Info {
	info := e.info
	info.Memory = engine.Memory{Loaded: true, Weights: e.bytes.Load(), KV: e.kv.Load(), Loads: 1}
	return info
}

// Tokenizer implements engine.Engine.
func (e *Engine) Tokenizer() engine.Tokenizer { return e.tok }

// Close lets go of the weights, and stops the threads where they are the
// engine's own.
func (e *Engine) Close() error {
	if e.pool != nil && e.owns {
		e.pool.Close()
	}
	e.pool, e.w, e.team, e.solo, e.shown = nil, nil, nil, nil, nil
	return e.unmap()
}

// Prefix implements engine.Engine.
func (e *Engine) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	if e.pool == nil {
		return nil, errClosed
	}
	if err := engine.CheckPrefix(e.info, tokens); err != nil {
		return nil, err
	}
	pre := e.recallPrefix(tokens)
	if pre == nil {
		var err error
		if pre, err = e.computePrefix(ctx, tokens); err != nil {
			return nil, err
		}
		e.keepPrefix(pre, tokens)
	}
	e.kv.Add(pre.Bytes())
	return pre, nil
}

func (e *Engine) computePrefix(ctx context.Context, tokens []labels.Token) (*prefix, error) {
	pre := newPrefix(e.w, e.k, max(1, len(tokens)))
	pre.owner = e.owner
	return pre, e.extend(ctx, job{pre: pre, into: pre}, tokens, 0)
}

// Eval implements engine.Engine.
func (e *Engine) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if e.pool == nil {
		return nil, errClosed
	}
	pre, ok := p.(*prefix)
	if !ok || pre.owner != e.owner {
		return nil, errors.New("the prefix was computed by another engine")
	}
	if err := engine.Check(e.info, pre.n, trees); err != nil {
		return nil, err
	}
	if len(trees) == 0 {
		return nil, nil
	}
	rest, before, err := e.cut(ctx, pre, trees)
	if err != nil {
		return nil, err
	}
	out := make([]engine.Output, len(trees))
	if err := e.evaluate(ctx, job{pre: pre, before: before, trees: rest}, out); err != nil {
		return nil, err
	}
	e.normalize()
	return out, nil
}
