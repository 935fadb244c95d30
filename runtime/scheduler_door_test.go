package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFullQueueIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 300)
		first := b.submit(t.Context(), interactive, fakeJob(1, 100))
		b.after(100 * perToken) // the rate is known: 1,000 tokens a second
		b.want(first, "")
		b.submit(t.Context(), interactive, fakeJob(2, 100))
		b.submit(t.Context(), interactive, newJobs(3, 2, 100)...)
		refused := b.want(b.submit(t.Context(), interactive, fakeJob(5, 1)), CodeOverloaded)
		// 300 tokens take 0.3 s, less than the least advice, plus half the jitter.
		if want := 1125 * time.Millisecond; refused.RetryAfter != want {
			t.Errorf("retry after %v, want %v", refused.RetryAfter, want)
		}
		b.after(100 * perToken)
		fits := b.submit(t.Context(), interactive, fakeJob(6, 100))
		b.after(time.Second)
		b.want(fits, "")
		if st := b.end(); st.Refused != 1 || st.Answered != 5 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestRetryAfterFollowsTheRate(t *testing.T) {
	for _, tc := range []struct {
		tokens int
		random float64
		want   time.Duration
	}{
		{100, 0, time.Second},
		{8000, 0, 8 * time.Second},
		{8000, 0.5, 9 * time.Second},
		{1e6, 0, 24 * time.Second},
		{1e6, 0.999999, 30 * time.Second},
	} {
		s := &scheduler{flight: tc.tokens, random: func() float64 { return tc.random }}
		s.rate.add(1000, time.Second)
		if got := s.retryAfter(); (got - tc.want).Abs() > time.Millisecond {
			t.Errorf("%d tokens: %v, want %v", tc.tokens, got, tc.want)
		}
	}
}

func TestIdleAcceptsAnySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 300)
		out := b.submit(t.Context(), interactive, newJobs(1, 10, 100)...)
		b.want(b.submit(t.Context(), interactive, fakeJob(11, 1)), CodeOverloaded)
		b.after(time.Second)
		b.want(out, "")
		b.end()
	})
}

func TestDeadlineThatCannotBeMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), interactive, fakeJob(1, 100))
		b.after(100 * perToken)
		b.submit(t.Context(), bulk, newJobs(2, 5, 100)...)
		short, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		ok := b.submit(short, interactive, fakeJob(10, 100)) // 100 ahead: the waiting bulk work yields
		b.want(b.submit(short, interactive, fakeJob(11, 100)), CodeOverloaded)
		b.want(b.submit(short, bulk, fakeJob(12, 10)), CodeOverloaded)
		b.after(200 * perToken)
		b.want(ok, "")
		if st := b.end(); st.Cancelled != 0 || st.Refused != 2 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestDeadlinePassesInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		first := b.submit(t.Context(), interactive, fakeJob(1, 100)) // no rate is known yet
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		late := b.submit(short, interactive, newJobs(2, 3, 100)...)
		b.after(50 * time.Millisecond)
		b.want(late, CodeDeadline)
		if st := b.stats(); st.Tokens != 100 || st.Cancelled != 3 {
			t.Errorf("tokens were not released: %+v", st)
		}
		b.after(time.Second)
		b.want(first, "")
		b.passes([]int{1})
		b.end()
	})
}

func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		ctx, cancel := context.WithCancel(t.Context())
		half := b.submit(ctx, interactive, newJobs(1, 3, 100)...) // its first runs
		stays := b.submit(t.Context(), interactive, fakeJob(10, 50))
		b.after(50 * perToken)
		cancel()
		b.after(0)
		b.want(half, CodeCanceled)
		if b.fake.err == nil {
			t.Error("a pass that nobody waits for was not cancelled")
		}
		b.after(50 * perToken)
		b.want(stays, "")
		b.want(b.submit(ctx, interactive, fakeJob(20, 1)), CodeCanceled)
		b.passes([]int{1}, []int{10})
		if st := b.end(); st.Cancelled != 3 || st.Answered != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

// A pass goes on for those who stay.
func TestOneOfTwoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), interactive, fakeJob(1, 10))
		ctx, cancel := context.WithCancel(t.Context())
		leaves := b.submit(ctx, interactive, fakeJob(2, 50))
		stays := b.submit(t.Context(), interactive, fakeJob(3, 50))
		b.after(20 * perToken)
		cancel()
		b.after(90 * perToken)
		b.want(leaves, CodeCanceled)
		b.want(stays, "")
		b.passes([]int{1}, []int{2, 3})
		if st := b.end(); st.Cancelled != 1 || st.Answered != 2 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestDoorIsCheap(t *testing.T) {
	s := &scheduler{limit: 10, flight: 10, random: func() float64 { return 0 }, observer: deaf{}}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if s.door(ctx, interactive, 1) == nil {
			t.Fatal("a full queue let a call in")
		}
	}); n > 1 {
		t.Errorf("a refusal allocates %v times, want the error alone", n)
	}
}

func TestMeterWeighsByTokens(t *testing.T) {
	var m meter
	if m.time(100) != 0 {
		t.Error("an unused meter estimates")
	}
	for range 50 {
		m.add(1000, time.Second)
		m.add(1, 20*time.Millisecond) // a lone short text: 50 tokens a second
		m.add(0, time.Second)
		m.add(10, 0)
	}
	if got := m.time(1000); got < time.Second || got > 1100*time.Millisecond {
		t.Errorf("1,000 tokens take %v, want about 1 s", got)
	}
}

// An idle scheduler takes what it may be able to do, not what is hopeless.
func TestHopelessCallIsRefusedWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		measured := b.submit(t.Context(), interactive, newJobs(1, 10, 100)...)
		b.after(1000 * perToken)
		b.want(measured, "")
		short, cancel := context.WithTimeout(t.Context(), 100*perToken)
		defer cancel()
		b.want(b.submit(short, interactive, newJobs(20, 5, 100)...), CodeDeadline)
		possible := b.submit(short, interactive, fakeJob(30, 90))
		b.after(90 * perToken)
		b.want(possible, "")
		if st := b.end(); st.Refused != 5 {
			t.Errorf("stats %+v", st)
		}
	})
}
