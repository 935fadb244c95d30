package remote

import (
	"context"
	"time"
)

const (
	// probeTimeout bounds a probe: it asks for nothing that has to be computed.
	probeTimeout = time.Second
	// probeKept is how long its result is told again, so that whoever asks often
	// for readiness does not become the server's load.
	probeKept = time.Second
)

// Probe keeps the last result of asking a server whether it is there. One at a time
// is under way.
type Probe struct {
	turn chan *result // holds the last result while nobody probes
}

type result struct {
	err error
	at  time.Time
}

// NewProbe returns one that has no result yet.
func NewProbe() Probe {
	p := Probe{turn: make(chan *result, 1)}
	p.turn <- &result{}
	return p
}

// Probe says whether the server is there and still has the model. It takes a
// second at most; a result is told again for about a second.
func (e *Engine) Probe(ctx context.Context) error {
	if err := e.usable(ctx); err != nil {
		return err
	}
	return contracted(e.named(e.probe.Within(ctx, e.server.Probe, probeKept)))
}

// Within returns the last result, or a new one where that is older. It takes a second
// at most.
func (p Probe) Within(ctx context.Context, ask func(context.Context) error, age time.Duration) error {
	var last *result
	select {
	case last = <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if last.at.IsZero() || time.Since(last.at) >= age {
		now := time.Now()
		short, cancel := context.WithTimeout(ctx, probeTimeout)
		err := ask(short)
		cancel()
		if left := ctx.Err(); left != nil { // it says nothing about the server
			p.turn <- last
			return left
		}
		last = &result{err, now}
	}
	p.turn <- last
	return last.err
}
