package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cubby/eval"
	"cubby/internal/machine"
	"cubby/internal/workload"
)

// system is one way to run the student, up and ready.
type system struct {
	eval.Classifier
	About
	process *process // whose costs, descendants included, are the system's
	// run drives a load where the system lives; nil to do so from here.
	run   func(context.Context, workload.Load) (workload.Measured, error)
	close func() error // nil to just end the process
}

// About says what a system is, for the reader of a table. It is exported for
// net/rpc.
type About struct {
	Version string
	Setup   string
}

func (s *system) load(ctx context.Context, l workload.Load) (workload.Measured, error) {
	if s.run != nil {
		return s.run(ctx, l)
	}
	return l.Run(ctx, s)
}

// usage is what the system has cost so far; nothing where the operating system
// does not tell.
func (s *system) usage() machine.Usage {
	u, err := machine.Tree(s.process.cmd.Process.Pid)
	if err != nil {
		return machine.Usage{}
	}
	return u
}

func (s *system) Close() error {
	if s.close != nil {
		return s.close()
	}
	return s.process.Close()
}

// candidate is a system that may or may not be there.
type candidate struct {
	key, name string
	// against is the key of the Cubby that a peer is compared with: both over
	// HTTP, or both in a process of their own. Empty for Cubby itself, which
	// must not fail.
	against string
	start   func(context.Context, *bench) (*system, error)
}

const (
	cubbyHTTP      = "cubby-http"
	cubbyInProcess = "cubby"
	cubbyLlama     = "cubby-llama"
	cubbyChild     = "cubby-llama-child"
	rawLibllama    = "libllama"
)

func candidates() []candidate {
	return []candidate{
		{cubbyHTTP, "Cubby over HTTP", "", startServer},
		{cubbyInProcess, "Cubby in process", "", startWorker(cubbyInProcess)},
		{"llama-server", "llama-server", cubbyHTTP, startLlamaServer},
		{"ollama", "Ollama", cubbyHTTP, startOllama},
		{rawLibllama, "libllama in process", cubbyInProcess, startLibllama},
		{cubbyLlama, "Cubby on libllama, in process", cubbyInProcess, startOnLibllama(cubbyLlama)},
		{cubbyChild, "Cubby on libllama, in a child", cubbyInProcess, startOnLibllama(cubbyChild)},
		{"transformers", "transformers pipeline", cubbyInProcess, startTransformers},
	}
}

func keys() []string {
	var list []string
	for _, c := range candidates() {
		list = append(list, c.key)
	}
	return list
}

// start starts what the flags ask for and what is there, and warms it up.
func (b *bench) start(ctx context.Context) error {
	for _, c := range candidates() {
		if len(b.config.Systems) > 0 && !slices.Contains(b.config.Systems, c.key) {
			continue
		}
		e := &entry{candidate: c, line: &line{Key: c.key, Name: c.name, Against: c.against}}
		b.entries = append(b.entries, e)
		b.report.Systems = append(b.report.Systems, e.line)
		fmt.Fprintf(b.log, "%s: starting\n", c.name)
		var err error
		if e.system, err = c.start(ctx, b); err == nil {
			e.line.Version, e.line.Setup = e.system.Version, e.system.Setup
			err = b.warmUp(ctx, e)
		}
		if err := b.drop(ctx, e, err); err != nil {
			return err
		}
	}
	return nil
}

// drop leaves a peer out that has failed, and says why. Cubby's own failure,
// and the end of the context, end the comparison.
func (b *bench) drop(ctx context.Context, e *entry, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || e.candidate.against == "" {
		return fmt.Errorf("%s: %w", e.candidate.name, err)
	}
	fmt.Fprintf(b.log, "%s: left out: %v\n", e.candidate.name, err)
	e.line.Skipped, e.line.Figures = err.Error(), nil
	if e.system != nil {
		err = e.system.Close()
		e.system = nil
		return err
	}
	return nil
}

// stop ends all systems.
func (b *bench) stop() error {
	var errs []error
	for _, e := range b.entries {
		if e.system != nil {
			if err := e.system.Close(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", e.candidate.name, err))
			}
		}
	}
	return errors.Join(errs...)
}
