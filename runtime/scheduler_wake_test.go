package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const waking = 300 * time.Millisecond

// sleeper stands for an engine whose weights are loaded on demand.
type sleeper struct {
	awake  bool
	woken  int
	given  int // attempts that were given up
	err    error
	panics bool
}

func (s *sleeper) wake(ctx context.Context) error {
	if s.awake {
		return nil
	}
	select {
	case <-time.After(waking):
	case <-ctx.Done():
		s.given++
		return ctx.Err()
	}
	if s.panics {
		panic("the weights are not what they seem")
	}
	s.woken++
	s.awake = s.err == nil
	return s.err
}

func newSleepyBench(t *testing.T) (*bench, *sleeper) {
	f, s := &fakePass{}, &sleeper{}
	return &bench{newScheduler(f.run, s.wake, 100, 10000, deaf{}, func() float64 { return 0.5 }, nil), t, f}, s
}

// What arrives while the engine wakes joins the pass, and the time is waiting,
// not work: the rate does not suffer.
func TestWakingIsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newSleepyBench(t)
		early, late := fakeJob(1, 40), fakeJob(2, 40)
		first := b.submit(t.Context(), interactive, early)
		b.after(waking - 10*time.Millisecond)
		second := b.submit(t.Context(), interactive, late)
		b.after(10*time.Millisecond + 80*perToken)
		b.want(first, "")
		b.want(second, "")
		b.passes([]int{1, 2})
		if early.queue != waking || late.queue != 10*time.Millisecond || early.compute != 80*perToken {
			t.Errorf("waited %v and %v, computed %v", early.queue, late.queue, early.compute)
		}
		if got := b.rate.time(1000); got != time.Second {
			t.Errorf("1,000 tokens are taken to need %v", got)
		}
		b.want(b.submit(t.Context(), interactive), "")
		if b.end(); s.woken != 1 {
			t.Errorf("woken %d times", s.woken)
		}
	})
}

// Nobody waits any more: waking is given up. Who comes then is served.
func TestWakingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newSleepyBench(t)
		ctx, cancel := context.WithCancel(t.Context())
		one, two := b.submit(ctx, interactive, fakeJob(1, 10)), b.submit(t.Context(), bulk, fakeJob(2, 10))
		cancel()
		b.after(time.Millisecond)
		b.want(one, CodeCanceled)
		if s.given != 0 {
			t.Error("given up though a caller waits")
		}
		b.after(time.Second)
		b.want(two, "")
		s.awake = false
		ctx, cancel = context.WithCancel(t.Context())
		three := b.submit(ctx, interactive, fakeJob(3, 10))
		cancel()
		b.after(0)
		four := b.submit(t.Context(), interactive, fakeJob(4, 10))
		b.after(time.Second)
		b.want(three, CodeCanceled)
		b.want(four, "")
		b.passes([]int{2}, []int{4})
		if b.end(); s.given != 1 {
			t.Errorf("given up %d times", s.given)
		}
	})
}

func TestWakingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newSleepyBench(t)
		s.err = errors.New("the disk is gone")
		jobs := newJobs(1, 2, 50)
		out := b.submit(t.Context(), interactive, jobs...)
		b.after(waking)
		b.want(out, "")
		for _, j := range jobs {
			if j.err == nil || j.err.Code != CodeEngineFailed || !errors.Is(j.err, s.err) {
				t.Errorf("job %d: %v", jobID(j.scored), j.err)
			}
		}
		if s.woken != 1 {
			t.Errorf("tried %d times for one pass", s.woken)
		}
		s.err = nil
		out = b.submit(t.Context(), interactive, fakeJob(3, 10))
		b.after(time.Second)
		b.want(out, "")
		b.passes([]int{3})
		b.end()
	})
}

func TestWakingPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newSleepyBench(t)
		s.panics = true
		out := b.submit(t.Context(), interactive, fakeJob(1, 10))
		b.after(waking)
		b.want(out, "")
		b.want(b.submit(t.Context(), interactive, fakeJob(2, 10)), CodeEngineFailed)
		if st := b.end(); st.Failed != 1 || st.Refused != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}
