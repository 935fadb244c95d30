package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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

// stormJobs draws jobs of few ids, so that many compute the same.
func stormJobs(rng *rand.Rand) []*job {
	jobs := make([]*job, 1+rng.IntN(6))
	for i := range jobs {
		id := 1 + rng.IntN(40)
		jobs[i] = fakeJob(id, 1+id*37%150)
	}
	return jobs
}

// stormySleeper falls asleep, fails to wake and is given up at random.
func stormySleeper(t *testing.T, rng *rand.Rand) *bench {
	f, own := &fakePass{}, rand.New(rand.NewPCG(rng.Uint64(), 2))
	wake := func(ctx context.Context) error {
		if own.IntN(5) > 0 {
			return nil
		}
		select {
		case <-time.After(time.Duration(own.IntN(300)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if own.IntN(5) == 0 {
			return errAsleep
		}
		return nil
	}
	return &bench{newScheduler(f.run, wake, 100, 600, deaf{}, func() float64 { return 0.5 }, nil), t, f}
}

var errAsleep = errors.New("the weights could not be loaded")

func storm(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := stormySleeper(t, rng)
	b.fake.bad = []int{1 + rng.IntN(40)}
	if seed%4 == 0 {
		b.fake.panics = 1 + rng.IntN(80)
	}
	type asked struct {
		jobs []*job
		out  <-chan *Error
	}
	var calls []asked
	came := 0
	for range 45 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
		defer cancel()
		jobs := stormJobs(rng)
		came += len(jobs)
		calls = append(calls, asked{jobs, b.submit(ctx, rng.IntN(classes), jobs...)})
		if rng.IntN(4) == 0 {
			cancel()
		}
		b.after(time.Duration(rng.IntN(120)) * time.Millisecond)
	}
	st := b.end()
	if total := st.Admitted + st.Refused; total != uint64(came) {
		t.Errorf("seed %d: %d jobs came, counted %d", seed, came, total)
	}
	for i, c := range calls {
		synctest.Wait()
		select {
		case err := <-c.out:
			if err == nil {
				b.answered(c.jobs)
			}
		default:
			t.Errorf("seed %d: call %d was never answered", seed, i)
		}
	}
	for _, ids := range b.fake.ran {
		slices.Sort(ids)
		if len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Errorf("seed %d: a pass computed the same twice: %v", seed, ids)
		}
	}
}

// answered requires of each job its own answer, or the error of a bad one.
func (b *bench) answered(jobs []*job) {
	b.t.Helper()
	for _, j := range jobs {
		id := jobID(j.scored)
		switch {
		case j.err == nil && (len(j.dist) != 1 || j.dist[0] != float64(id)):
			b.t.Errorf("job %d got %v", id, j.dist)
		case j.err != nil && !slices.Contains(b.fake.bad, id) && b.dead == nil && !errors.Is(j.err, errAsleep):
			b.t.Errorf("job %d failed: %v", id, j.err)
		}
	}
}
