package llama

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/llama/libllama"
)

const (
	// workerVariable in the environment makes a process a worker.
	workerVariable = "CUBBY_LLAMA_WORKER"
	// repliesFD is where a worker writes.
	repliesFD = 3
)

// Worker turns this process into the child that Supervise starts, and does not
// return, if it was started as one. A program that uses Supervise calls it first
// in main.
func Worker() {
	if os.Getenv(workerVariable) == "" {
		return
	}
	if err := os.Unsetenv(workerVariable); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// A terminal's interrupt and a service manager's stop reach parent and child.
	// The parent answers what it has accepted; the child ends with its input.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	w := &worker{}
	if err := w.serve(os.Stdin, os.NewFile(repliesFD, "replies")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// worker answers requests with an engine of this process.
type worker struct {
	engine *Engine
	prefix engine.Prefix
	of     []labels.Token // tokens of prefix

	mu        sync.Mutex
	id        uint64             // of the request being answered
	cancel    context.CancelFunc // of that
	cancelled uint64             // the last request that was cancelled, begun or not
}

// beforeEval is called with each pass that a worker is about to compute. Tests
// make it fail as C code does.
var beforeEval = func(context.Context, []engine.Tree) {}

func (w *worker) serve(in io.Reader, out io.Writer) error {
	requests := make(chan request)
	go w.listen(in, requests)
	enc := gob.NewEncoder(out)
	for r := range requests {
		ctx, cancel := context.WithCancel(context.Background())
		w.set(r.ID, cancel)
		answer := w.answer(ctx, r)
		cancel()
		if err := enc.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) set(id uint64, cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.cancel = id, cancel
	if w.cancelled >= id {
		cancel()
	}
}

// listen reads requests, also while one is being answered. When the parent is
// gone, nobody waits for the rest of a pass.
func (w *worker) listen(in io.Reader, requests chan<- request) {
	dec := gob.NewDecoder(in)
	for {
		var r request
		if err := dec.Decode(&r); err != nil {
			os.Exit(0)
		}
		if r.Verb != toCancel {
			requests <- r
			continue
		}
		w.mu.Lock()
		w.cancelled = max(w.cancelled, r.ID)
		if w.cancel != nil && w.id == r.ID {
			w.cancel()
		}
		w.mu.Unlock()
	}
}

func (w *worker) answer(ctx context.Context, r request) (a reply) {
	if err := w.do(ctx, r, &a); err != nil {
		a.Err, a.Cancelled = err.Error(), errors.Is(err, context.Canceled)
	}
	if w.engine != nil {
		a.Info = w.engine.Info()
	}
	return a
}

func (w *worker) do(ctx context.Context, r request, a *reply) (err error) {
	switch r.Verb {
	case toList:
		lib, err := libllama.Load(r.Options.Libraries)
		if err != nil {
			return err
		}
		a.Devices = lib.Devices()
		return nil
	case toOpen:
		w.engine, err = open(r.Tokens, r.Options)
		return err
	case toBegin:
		return w.begin(ctx, r.Prefix)
	case toEval:
		if err := w.begin(ctx, r.Prefix); err != nil {
			return err
		}
		beforeEval(ctx, r.Trees)
		a.Outputs, err = w.engine.Eval(ctx, w.prefix, r.Trees)
		return err
	}
	return fmt.Errorf("no request %d", r.Verb)
}

func (w *worker) begin(ctx context.Context, tokens []labels.Token) (err error) {
	if w.prefix != nil && slices.Equal(tokens, w.of) {
		return nil
	}
	w.prefix = nil
	if w.prefix, err = w.engine.Prefix(ctx, tokens); err == nil {
		w.of = tokens
	}
	return err
}
