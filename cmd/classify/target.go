package main

import (
	"context"
	"math"

	"cubby/internal/client"
	"cubby/internal/load"
	"cubby/internal/target"
	"cubby/runtime"
)

// loader opens a model in this process.
type loader func(ref string, opt load.Options) (runtime.Backend, error)

func loadModel(ref string, opt load.Options) (runtime.Backend, error) {
	return load.Open(ref, opt)
}

// open opens the target that the flags name.
func (p *program) open(ctx context.Context) (target.Target, error) {
	if p.server != "" {
		c, err := client.New(p.server, p.key)
		if err != nil {
			return nil, usageError{err}
		}
		return target.Remote(ctx, c, p.model, p.scoring)
	}
	// This process is the model's only caller and sends what it has: there is
	// nobody to protect by refusing.
	p.local.QueueTokens = math.MaxInt32
	b, err := p.load(p.model, p.local)
	if err != nil {
		return nil, err
	}
	return target.Local(b, p.scoring), nil
}
