package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
)

// perToken is what a token costs the fake engine: 1,000 tokens a second.
const perToken = time.Millisecond

// fakePass stands for the engine: it sleeps by the token, remembers what it
// ran, fails the jobs it is told to and panics where it must.
type fakePass struct {
	mu     sync.Mutex
	ran    [][]int // ids of each pass
	bad    []int   // a pass with one of these fails
	panics int     // a pass with this id panics; 0 for none
	busy   bool
	err    error // why the last pass was cut short
}

func (f *fakePass) run(ctx context.Context, jobs []*scored) error {
	f.enter(jobs)
	defer f.leave()
	cost := 0
	for _, j := range jobs {
		cost += j.cost
	}
	select {
	case <-time.After(time.Duration(cost) * perToken):
	case <-ctx.Done():
		f.err = ctx.Err()
		return ctx.Err()
	}
	for _, j := range jobs {
		switch id := jobID(j); {
		case id == f.panics:
			panic("kernel met a shape it does not know")
		case slices.Contains(f.bad, id):
			return fmt.Errorf("job %d is bad", id)
		}
	}
	for _, j := range jobs {
		j.dist = labels.Distribution{float64(jobID(j))}
	}
	return nil
}

func (f *fakePass) enter(jobs []*scored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy {
		panic("two passes at once")
	}
	f.busy = true
	ids := make([]int, len(jobs))
	for i, j := range jobs {
		ids[i] = jobID(j)
	}
	f.ran = append(f.ran, ids)
}

func (f *fakePass) leave() {
	f.mu.Lock()
	f.busy = false
	f.mu.Unlock()
}

func jobID(j *scored) int { return int(j.tree.Tokens[0]) }

func fakeJob(id, cost int) *job {
	return newJob(&scored{tree: engine.Chain([]labels.Token{labels.Token(id)}), identity: strconv.Itoa(id), cost: cost})
}

// newJobs makes n jobs of a cost with the ids first, first+1, …
func newJobs(first, n, cost int) []*job {
	jobs := make([]*job, n)
	for i := range jobs {
		jobs[i] = fakeJob(first+i, cost)
	}
	return jobs
}

// bench is a scheduler on a fake engine inside a synctest bubble.
type bench struct {
	*scheduler
	t    *testing.T
	fake *fakePass
}

func newBench(t *testing.T, budget, limit int) *bench {
	f := &fakePass{}
	return &bench{newScheduler(f.run, nil, budget, limit, deaf{}, func() float64 { return 0.5 }, nil), t, f}
}

// submit starts a call, waits until it has come to rest, and returns where its
// outcome will be.
func (b *bench) submit(ctx context.Context, class int, jobs ...*job) <-chan *Error {
	out := make(chan *Error, 1)
	go func() { out <- b.do(ctx, jobs, class) }()
	synctest.Wait()
	b.check()
	return out
}

// after lets fake time pass.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	b.check()
}

// check walks the whole state: the books balance, and every count equals what
// is really there.
func (b *bench) check() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.counters
	if st.Admitted != st.Answered+st.Cancelled+st.Failed+st.InFlight {
		b.t.Fatalf("books do not balance: %+v", st)
	}
	if b.waking && len(b.running) > 0 {
		b.t.Fatal("a pass runs while its engine is woken")
	}
	jobs := len(b.running)
	for class, calls := range b.waiting {
		tokens := 0
		for _, c := range calls {
			if c.gone || c.next >= len(c.jobs) {
				b.t.Fatalf("class %d holds a call with nothing to run: %+v", class, c)
			}
			for _, j := range c.jobs[c.next:] {
				tokens += j.cost
				jobs++
			}
		}
		if tokens != b.queued[class] {
			b.t.Fatalf("class %d holds %d tokens, counted %d", class, tokens, b.queued[class])
		}
	}
	flight, spent := 0, 0
	for _, j := range b.running {
		flight += j.cost
		if j.twin == nil {
			spent += j.cost
		} else if j.twin.twin != nil || j.twin.identity != j.identity {
			b.t.Fatalf("job %d runs as the twin of job %d", jobID(j.scored), jobID(j.twin.scored))
		}
	}
	if spent != b.spent {
		b.t.Fatalf("a pass computes %d tokens, counted %d", spent, b.spent)
	}
	if flight != b.flight || st.InFlight != uint64(jobs) {
		b.t.Fatalf("%d tokens run, counted %d; %d jobs inside, counted %d", flight, b.flight, jobs, st.InFlight)
	}
	if len(b.leads) > 1 && spent > b.budget {
		b.t.Fatalf("a pass of %d jobs spends %d tokens, budget %d", len(b.running), spent, b.budget)
	}
}

// end closes the scheduler and requires that nothing is left inside.
func (b *bench) end() Stats {
	b.t.Helper()
	b.close()
	b.check()
	st := b.stats()
	if st.InFlight != 0 || st.Tokens != 0 {
		b.t.Fatalf("closed with work inside: %+v", st)
	}
	return st
}

func (b *bench) want(out <-chan *Error, code Code) *Error {
	b.t.Helper()
	synctest.Wait()
	select {
	case err := <-out:
		switch {
		case err == nil && code != "":
			b.t.Fatalf("answered, want %s", code)
		case err != nil && err.Code != code:
			b.t.Fatalf("got %s (%v), want %q", err.Code, err, code)
		}
		return err
	default:
		b.t.Fatalf("no outcome yet, want %q", code)
		return nil
	}
}

func (b *bench) passes(want ...[]int) {
	b.t.Helper()
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	if !slices.EqualFunc(b.fake.ran, want, slices.Equal) {
		b.t.Fatalf("passes %v, want %v", b.fake.ran, want)
	}
}

func TestIdleStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 1000)
		j := fakeJob(1, 10)
		out := b.submit(t.Context(), interactive, j)
		b.after(10 * perToken)
		b.want(out, "")
		if j.queue != 0 || j.compute != 10*perToken || j.dist == nil {
			t.Errorf("queued %v, computed %v, distribution %v", j.queue, j.compute, j.dist)
		}
		b.end()
	})
}

func TestPacksByBudgetInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), interactive, fakeJob(1, 10))
		b.submit(t.Context(), interactive, fakeJob(2, 60))
		b.submit(t.Context(), interactive, fakeJob(3, 50)) // does not fit beside 2
		b.submit(t.Context(), interactive, fakeJob(4, 10)) // would, but came later
		last := b.submit(t.Context(), interactive, fakeJob(5, 40))
		b.after(time.Second)
		b.want(last, "")
		b.passes([]int{1}, []int{2}, []int{3, 4, 5})
		b.end()
	})
}

func TestBatchIsSplitAndBigItemRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		jobs := append(newJobs(1, 5, 40), fakeJob(6, 250), fakeJob(7, 10))
		out := b.submit(t.Context(), interactive, jobs...)
		b.after(time.Second)
		b.want(out, "")
		b.passes([]int{1, 2}, []int{3, 4}, []int{5}, []int{6}, []int{7})
		if st := b.end(); st.Answered != 7 {
			t.Errorf("answered %d of 7", st.Answered)
		}
	})
}

func TestInteractiveBeforeBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.submit(t.Context(), bulk, newJobs(1, 3, 100)...)
		b.submit(t.Context(), interactive, fakeJob(10, 70))
		b.submit(t.Context(), bulk, fakeJob(4, 30))
		b.after(time.Second)
		b.passes([]int{1}, []int{10}, []int{2}, []int{3}, []int{4})
		b.end()
	})
}

func TestBulkDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 100000)
		b.submit(t.Context(), interactive, fakeJob(1, 100))
		slow := b.submit(t.Context(), bulk, newJobs(1001, 2, 100)...)
		b.submit(t.Context(), interactive, newJobs(2, 20, 100)...)
		b.after(12 * 100 * perToken)
		b.want(slow, "")
		b.passes([]int{1}, []int{2}, []int{3}, []int{4}, []int{5}, []int{1001},
			[]int{6}, []int{7}, []int{8}, []int{9}, []int{1002}, []int{10}, []int{11})
		b.end()
	})
}

func TestOneBadItemFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		b.fake.bad = []int{2}
		jobs := newJobs(1, 3, 30)
		out := b.submit(t.Context(), interactive, jobs...)
		b.after(time.Second)
		b.want(out, "")
		b.passes([]int{1, 2, 3}, []int{1}, []int{2}, []int{3})
		for i, j := range jobs {
			if bad := i == 1; (j.err != nil) != bad || (j.dist == nil) != bad {
				t.Errorf("job %d: error %v, distribution %v", i+1, j.err, j.dist)
			}
		}
		if jobs[1].err.Code != CodeEngineFailed {
			t.Errorf("code %s", jobs[1].err.Code)
		}
		alone := fakeJob(2, 10)
		works := b.submit(t.Context(), interactive, fakeJob(9, 1))
		b.submit(t.Context(), interactive, alone)
		b.after(time.Second)
		b.want(works, "")
		if alone.err == nil {
			t.Error("a bad item alone was answered")
		}
		if st := b.end(); st.Failed != 2 || st.Answered != 3 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestPanicEndsTheScheduler(t *testing.T) {
	for _, bad := range [][]int{nil, {1}} { // in the first pass, or when run again alone
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 100, 10000)
			b.fake.panics, b.fake.bad = 2, bad
			running := newJobs(1, 2, 50)
			first := b.submit(t.Context(), interactive, running...)
			behind := fakeJob(3, 100)
			second := b.submit(t.Context(), bulk, behind)
			b.after(time.Second)
			b.want(first, "")
			b.want(second, "")
			select {
			case <-b.failed:
			default:
				t.Fatal("nobody was told")
			}
			for _, j := range append(running, behind) {
				var c *crash
				if j.err == nil || j.err.Code != CodeEngineFailed || !errors.As(j.err, &c) {
					t.Errorf("job %d: %v", jobID(j.scored), j.err)
				}
			}
			b.want(b.submit(t.Context(), interactive, fakeJob(4, 1)), CodeEngineFailed)
			if st := b.end(); st.Failed != 3 || st.Refused != 1 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestCloseAnswersWhatWasAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, 10000)
		outs := []<-chan *Error{
			b.submit(t.Context(), interactive, newJobs(1, 3, 80)...),
			b.submit(t.Context(), bulk, fakeJob(4, 80)),
		}
		closed := make(chan struct{})
		go func() { b.close(); close(closed) }()
		synctest.Wait()
		b.want(b.submit(t.Context(), interactive, fakeJob(5, 1)), CodeDraining)
		<-closed
		for _, out := range outs {
			b.want(out, "")
		}
		if st := b.end(); st.Answered != 4 {
			t.Errorf("stats %+v", st)
		}
	})
}
