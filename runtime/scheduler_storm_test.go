package runtime

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Any mix of calls, deadlines, departures, bad jobs and a crash keeps the books
// balanced after every step, answers every call, and leaves nothing behind.
func TestBooksBalance(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) { storm(t, seed) })
	}
}

func storm(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := newBench(t, 100, 600)
	b.fake.bad = []int{rng.IntN(150), rng.IntN(150)}
	if seed%4 == 0 {
		b.fake.panics = 1 + rng.IntN(300)
	}
	var outs []<-chan *Error
	var jobs []*job
	for id := 1; id < 150; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
		defer cancel()
		call := newJobs(id, 1+rng.IntN(6), 1+rng.IntN(150))
		id += len(call)
		jobs = append(jobs, call...)
		outs = append(outs, b.submit(ctx, rng.IntN(classes), call...))
		if rng.IntN(4) == 0 {
			cancel()
		}
		b.after(time.Duration(rng.IntN(120)) * time.Millisecond)
	}
	st := b.end()
	if total := st.Admitted + st.Refused; total != uint64(len(jobs)) {
		t.Errorf("seed %d: %d jobs came, counted %d", seed, len(jobs), total)
	}
	for i, out := range outs {
		synctest.Wait()
		select {
		case <-out:
		default:
			t.Errorf("seed %d: call %d was never answered", seed, i)
		}
	}
}
