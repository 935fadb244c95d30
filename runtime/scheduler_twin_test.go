package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What waits together and is the same is computed once, whoever asked, and a
// twin takes no room from others.
func TestTwinsAreComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), interactive, fakeJob(1, 10))
		a := []*job{fakeJob(2, 60), fakeJob(3, 30)}
		c := []*job{fakeJob(2, 60), fakeJob(2, 60), fakeJob(4, 10), fakeJob(5, 10)}
		first, second := b.submit(t.Context(), interactive, a...), b.submit(t.Context(), bulk, c...)
		b.after(time.Second)
		b.want(first, "")
		b.want(second, "")
		b.answered(a)
		b.answered(c)
		b.passes([]int{1}, []int{2, 3, 4}, []int{5})
		if &a[0].dist[0] == &c[0].dist[0] {
			t.Error("two callers share the memory of one answer")
		}
		if c[0].compute != 100*perToken || c[0].queue != 10*perToken {
			t.Errorf("a twin waited %v and was computed in %v", c[0].queue, c[0].compute)
		}
		if st := b.end(); st.Answered != 7 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestTwinOutlivesTheCallerWhoseJobRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), interactive, fakeJob(1, 10))
		ctx, cancel := context.WithCancel(t.Context())
		leaves := b.submit(ctx, interactive, fakeJob(2, 50))
		twin := fakeJob(2, 50)
		stays := b.submit(t.Context(), interactive, twin)
		b.after(20 * perToken)
		cancel()
		b.after(time.Second)
		b.want(leaves, CodeCanceled)
		b.want(stays, "")
		b.answered([]*job{twin})
		b.passes([]int{1}, []int{2})
		if st := b.end(); st.Cancelled != 1 || st.Answered != 2 {
			t.Errorf("stats %+v", st)
		}
	})
}

// A bad text is bad for all who asked for it, is tried again once, and harms
// nobody else; one whose first caller left is still tried for the second.
func TestBadTwinsFailTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.fake.bad = []int{2}
		b.submit(t.Context(), interactive, fakeJob(1, 10))
		ctx, cancel := context.WithCancel(t.Context())
		b.submit(ctx, interactive, fakeJob(3, 20))
		bad, good := []*job{fakeJob(2, 20), fakeJob(2, 20)}, []*job{fakeJob(3, 20)}
		outs := []<-chan *Error{b.submit(t.Context(), interactive, bad...), b.submit(t.Context(), interactive, good...)}
		b.after(20 * perToken)
		cancel()
		b.after(time.Second)
		for _, out := range outs {
			b.want(out, "")
		}
		b.answered(good)
		for _, j := range bad {
			if j.err == nil || j.dist != nil {
				t.Errorf("error %v, distribution %v", j.err, j.dist)
			}
		}
		b.passes([]int{1}, []int{3, 2}, []int{3}, []int{2})
		if st := b.end(); st.Failed != 2 || st.Cancelled != 1 || st.Answered != 2 {
			t.Errorf("stats %+v", st)
		}
	})
}

// Twins of one pass that fails are the whole of it: there is nothing to find
// out by running them apart.
func TestPassOfTwinsAloneIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.fake.bad = []int{2}
		out := b.submit(t.Context(), interactive, fakeJob(2, 10), fakeJob(2, 10))
		b.after(time.Second)
		b.want(out, "")
		b.passes([]int{2})
		if st := b.end(); st.Failed != 2 {
			t.Errorf("stats %+v", st)
		}
	})
}
