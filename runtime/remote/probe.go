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

// probe keeps the last result. One at a time is under way.
type probe struct {
	turn chan *result // holds the last result while nobody probes
}

type result struct {
	err error
	at  time.Time
}

func newProbe() probe {
	p := probe{turn: make(chan *result, 1)}
	p.turn <- &result{}
	return p
}

// Probe says whether the server is there and still has the model. It takes a
// second at most; a result is told again for about a second.
func (e *Engine) Probe(ctx context.Context) error {
	if err := e.usable(ctx); err != nil {
		return err
	}
	return contracted(e.named(e.probe.within(ctx, e.server, probeKept)))
}

// within returns the last result, or a new one where that is older.
func (p probe) within(ctx context.Context, server Server, age time.Duration) error {
	var last *result
	select {
	case last = <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if last.at.IsZero() || time.Since(last.at) >= age {
		now := time.Now()
		short, cancel := context.WithTimeout(ctx, probeTimeout)
		err := server.Probe(short)
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
