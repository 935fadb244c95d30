package remote

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cubby/labels"
)

func TestProbeIsKeptForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		e := newEngine(t, f, 1)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := e.Probe(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		down := fault(Missing)
		f.unready = down
		if err := e.Probe(t.Context()); err != nil || f.probes != 1 {
			t.Errorf("%v after %d probes", err, f.probes)
		}
		time.Sleep(probeKept)
		if err := e.Probe(t.Context()); !errors.Is(err, down) || f.probes != 2 {
			t.Errorf("%v after %d probes", err, f.probes)
		}
	})
}

// hung never answers.
type hung struct{}

func (hung) Next(ctx context.Context, _, _ []labels.Token) (Told, error) {
	<-ctx.Done()
	return Told{}, ctx.Err()
}

func (hung) Probe(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestProbeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(hung{}, Config{Server: "hung", Info: info})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var slow *Error
		if err := e.Probe(t.Context()); !errors.As(err, &slow) || slow.Fault != Slow || time.Since(start) != probeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(probeKept)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Probe(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left: %v", err)
		}
	})
}
