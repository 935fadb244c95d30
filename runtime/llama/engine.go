// Package llama is the engine on llama.cpp's libllama: every architecture that
// llama.cpp knows, on CPUs and on GPUs of every make, without cgo. New computes in
// this process; Supervise in a child, whose death costs no more than its
// restart.
//
// Unlike the native engine's, a row's result depends in its last bits on the batch
// around it: llama.cpp chooses its kernels by the size of a pass.
package llama

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/llama/libllama"
)

const (
	// DefaultPass is the most tokens of one pass: a text of 2,048 tokens, the
	// server's limit, with its prompt's end and its label nodes. Keys and values
	// of that many are allocated.
	DefaultPass = 2560
	// minPass is what libllama needs: a pass holds a token of each sequence.
	minPass = sequences
	// micro is how many tokens are computed at once: the scheduler's usual pass.
	// Longer passes take several turns, in buffers of this size.
	micro = 512
	// sequences and outputs bound the leaves and the wanted nodes of what is computed
	// at once. Rows of logits for all of them are allocated, a vocabulary wide.
	sequences = 128
	outputs   = 128
	// recurrentSequences bounds the states of a recurrent model: each is some
	// megabytes, whatever its text.
	recurrentSequences = 24
)

// Options say what to load and where it computes.
type Options struct {
	Libraries string // folder of the libraries
	Model     string // GGUF file, whose header has been checked
	Adapter   string // GGUF file of a LoRA adapter; empty for none
	Threads   int    // compute threads, at least 1
	// Classes is how many of the vocabulary's last entries are no tokens but the
	// rows of a classification head: see checkpoint.WriteGGUF.
	Classes int
	// GPULayers is how many layers are offloaded, the output counted as one:
	// AutoLayers for as many as fit.
	GPULayers int
	// Device names the devices of the offloaded layers, with commas between
	// them; empty for all GPUs.
	Device string
	// MainGPU is the one GPU of Device to use; -1 spreads the layers over all.
	MainGPU int
	Pass    int // most tokens of one pass; 0 for DefaultPass
}

// AutoLayers offloads as many layers as the devices' memory holds.
const AutoLayers = -1

// Engine computes in this process.
type Engine struct {
	tok     engine.Tokenizer
	opt     Options
	lib     *libllama.Library
	model   *libllama.Model
	facts   libllama.Facts
	load    plan // what was estimated before loading
	info    engine.Info
	ctx     *libllama.Context // nil until the first prefix
	cells   int               // tokens that ctx holds
	variant []*variant        // computed beginnings of the prefix, by sequence
	shared  *prefix           // whose beginnings these are
	uses    int               // of variants
	used    int32             // sequences of the last pass, behind those of the variants
}

var errClosed = errors.New("the engine is closed")

// New loads the libraries and the model. What the machine or a device has no
// memory for is refused before anything is loaded.
func New(tok engine.Tokenizer, opt Options) (*Engine, error) {
	e, err := open(tok.Len(), opt)
	if err != nil {
		return nil, err
	}
	e.tok = tok
	return e, nil
}

// open makes an engine for a tokenizer of that many ids.
func open(tokens int, opt Options) (*Engine, error) {
	if opt.Pass == 0 {
		opt.Pass = DefaultPass
	}
	if opt.Threads < 1 || opt.Pass < minPass || opt.Classes < 0 || opt.GPULayers < AutoLayers {
		return nil, fmt.Errorf("%d threads, %d tokens a pass, %d classes and %d layers on GPUs cannot be meant", opt.Threads, opt.Pass, opt.Classes, opt.GPULayers)
	}
	lib, err := libllama.Load(opt.Libraries)
	if err != nil {
		return nil, err
	}
	e := &Engine{opt: opt, lib: lib}
	if err := e.open(tokens); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) open(tokens int) error {
	devices, err := choose(e.lib.Devices(), e.opt)
	if err != nil {
		return err
	}
	need, err := measure(e.opt.Model)
	if err != nil {
		return err
	}
	if e.load, err = need.plan(e.opt, devices); err != nil {
		return err
	}
	if err := e.loadModel(); err != nil {
		return err
	}
	if e.opt.Adapter != "" {
		if err := e.model.Adapter(e.opt.Adapter); err != nil {
			return err
		}
	}
	vocab := e.facts.Vocabulary - e.opt.Classes
	switch {
	case e.facts.Encoder:
		return fmt.Errorf("%s is a model with an encoder: only decoders are run", e.facts.Architecture)
	case tokens > vocab:
		return fmt.Errorf("the tokenizer has %d tokens, but the weights have rows for %d: the files do not belong together", tokens, vocab)
	}
	e.info = engine.Info{
		Engine: "llama", Kernel: "llama.cpp " + libllama.Version, Device: e.load.device(), Architecture: e.facts.Architecture,
		Threads: e.opt.Threads, Layers: e.facts.Layers, Width: e.facts.Width, Vocab: vocab,
		Context: e.facts.Context, MaxPass: e.opt.Pass, Classes: e.opt.Classes,
	}
	if w := e.load.window; w > 0 && e.facts.Architecture == "llama" {
		e.info.Context = min(e.info.Context, w) // llama.cpp attends to all positions: shorter texts are exact
	}
	return nil
}

// loadModel loads the weights, of a recurrent model as they are: of the batched
// products that its layers make of several sequences, the repacked kernels for AMX
// of this release compute the first one only (ggml-cpu/amx/mmq.cpp takes the
// number of rows from the second dimension).
func (e *Engine) loadModel() (err error) {
	opt := libllama.ModelOptions{GPULayers: e.load.layers, Devices: e.load.devices, Plain: e.load.recurrent}
	if e.model, err = e.lib.LoadModel(e.opt.Model, opt); err != nil {
		return err
	}
	if e.facts = e.model.Facts(); e.facts.Recurrent && !opt.Plain { // its tensors have names that are not known here
		e.model.Close()
		opt.Plain = true
		e.model, err = e.lib.LoadModel(e.opt.Model, opt)
	}
	return err
}

// Info implements engine.Engine.
func (e *Engine) Info() engine.Info {
	info := e.info
	info.Memory = engine.Memory{Loaded: true, Weights: e.facts.Bytes, KV: int64(e.cells) * e.load.cell, Loads: 1}
	for _, d := range e.lib.Refresh(slices.Clone(e.load.devices)) {
		info.Devices = append(info.Devices, engine.Device{Name: d.Name, Description: d.Description, Free: d.Free, Total: d.Total})
	}
	return info
}

// Tokenizer implements engine.Engine.
func (e *Engine) Tokenizer() engine.Tokenizer { return e.tok }

// Close implements engine.Engine. The libraries stay loaded.
func (e *Engine) Close() error {
	if e.ctx != nil {
		e.ctx.Close()
	}
	if e.model != nil {
		e.model.Close()
	}
	e.ctx, e.model, e.shared, e.variant = nil, nil, nil, nil
	return nil
}

// prefix is a prompt prefix. Only that of the last pass is kept computed.
type prefix struct {
	of     *Engine
	tokens []labels.Token
	cell   int64
}

// Len implements engine.Prefix.
func (p *prefix) Len() int { return len(p.tokens) }

// Bytes implements engine.Prefix.
func (p *prefix) Bytes() int64 { return int64(len(p.tokens)) * p.cell }

// Prefix implements engine.Engine.
func (e *Engine) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	if e.model == nil {
		return nil, errClosed
	}
	if err := engine.CheckPrefix(e.info, tokens); err != nil {
		return nil, err
	}
	p := &prefix{of: e, tokens: append([]labels.Token(nil), tokens...), cell: e.load.cell}
	_, err := e.begin(ctx, p, 0)
	return p, err
}

// Eval implements engine.Engine.
func (e *Engine) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if e.model == nil {
		return nil, errClosed
	}
	pre, ok := p.(*prefix)
	if !ok || pre.of != e {
		return nil, errors.New("the prefix was computed by another engine")
	}
	if err := engine.Check(e.info, pre.Len(), trees); err != nil {
		return nil, err
	}
	out := make([]engine.Output, len(trees))
	for i := range trees {
		out[i] = emptyOutput(&trees[i])
	}
	for _, group := range e.group(trees) {
		if err := e.compute(ctx, pre, trees, group, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func emptyOutput(t *engine.Tree) engine.Output {
	return engine.Output{Logits: make([][]float32, len(t.Wants)), LogZ: make([]float64, len(t.Wants))}
}
