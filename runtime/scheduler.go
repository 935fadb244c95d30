package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"cubby/runtime/engine"
)

// bulkPatience is how many passes in a row may leave waiting bulk work out
// before one pass starts with it: bulk yields, but never starves.
const bulkPatience = 4

// job is one text on its way through the scheduler, which its request may hold
// several times.
type job struct {
	*scored
	texts   int // how many texts of the request it answers
	call    *call
	twin    *job          // runs in the same pass and computes the same; nil: it is computed itself
	queue   time.Duration // from admission to the start of its pass
	compute time.Duration // length of its pass, and of its second try
}

// pass scores texts together; an error is a failure of the pass as a whole.
type pass func(ctx context.Context, texts []*scored) error

func newJob(s *scored) *job { return &job{scored: s, texts: 1} }

// call is one request's jobs. It is admitted, and given up, as a whole. Its
// fields are guarded by the scheduler's lock.
type call struct {
	ctx      context.Context
	jobs     []*job
	class    int // index into scheduler.waiting
	next     int // jobs before it were taken into a pass
	left     int // jobs not settled yet
	gone     bool
	admitted time.Time
	done     chan struct{} // closed when left falls to 0
}

const (
	interactive = iota
	bulk
	classes
)

// scheduler feeds one engine. The goal: no idle engine while work waits, no
// unbounded queue, and nobody's failure or absence paid for by others.
//
//   - An idle engine starts at once. While it works, calls queue; the next pass
//     takes what fits the budget, in arrival order, interactive before bulk.
//   - Admission counts the tokens of all unfinished jobs, waiting or running,
//     in one rule for single texts and batches. A scheduler without any
//     accepts one call of any size, so nothing is too big for ever, and a
//     wrong estimate of the rate corrects itself.
//   - A job that exceeds the budget runs alone; a call that does is split.
//   - Jobs of one pass that compute the same are computed once, and the second
//     spends nothing of the budget. Each stays its own caller's: it is admitted,
//     given up and counted as if it were alone.
//   - A call whose context ends gives its tokens back at once and is not run;
//     a pass whose callers have all left is cancelled.
//   - A pass of several jobs that fails is run again one by one, once, so that
//     only the bad ones fail. A pass that panics ends the scheduler.
//   - An engine that has to be woken is woken before the pass is packed. The
//     time counts as waiting; once nobody waits any more, it is given up.
type scheduler struct {
	run      pass
	wake     func(context.Context) error // nil: the engine is always ready
	budget   int                         // tokens a pass
	limit    int                         // tokens of all unfinished jobs
	observer Observer
	random   func() float64 // in [0, 1)
	// loads counts how often the engine was loaded: the time of a pass in which it
	// was is not the pass's own. nil: never.
	loads func() int

	failed  chan struct{} // closed when the engine is dead
	stopped chan struct{} // closed when the loop has ended

	mu       sync.Mutex
	work     sync.Cond // waiting is not empty, or closing
	waiting  [classes][]*call
	queued   [classes]int // tokens of the jobs in waiting
	running  []*job
	flight   int             // tokens of the jobs in running
	spent    int             // tokens that the pass computes: flight without twins
	leads    map[string]*job // jobs in running that are computed, by identity
	waking   bool
	cancel   context.CancelFunc // of the running pass, or of waking
	starved  int                // passes in a row that left bulk out
	rate     meter
	closing  bool
	dead     *Error
	counters Stats
}

// Stats counts texts. At every moment, exactly:
//
//	Admitted = Answered + Cancelled + Failed + InFlight
type Stats struct {
	Admitted  uint64 // let in
	Answered  uint64 // scored
	Cancelled uint64 // their caller left, or their deadline passed
	Failed    uint64 // the engine failed on them
	InFlight  uint64 // waiting or in a pass
	Refused   uint64 // turned away at the door; never part of Admitted
	Tokens    int    // tokens of those in flight
}

func newScheduler(run pass, wake func(context.Context) error, budget, limit int, observer Observer, random func() float64, loads func() int) *scheduler {
	s := &scheduler{
		run: run, wake: wake, budget: budget, limit: limit, observer: observer, random: random, loads: loads,
		leads:  map[string]*job{},
		failed: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.work.L = &s.mu
	go s.loop()
	return s
}

// do admits the jobs and returns when each has a distribution or an error of
// its own. An error means that the call as a whole was refused or given up.
func (s *scheduler) do(ctx context.Context, jobs []*job, class int) *Error {
	if len(jobs) == 0 {
		return nil
	}
	c, err := s.admit(ctx, jobs, class)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return s.outcome(c)
	case <-ctx.Done():
		return s.abandon(c)
	}
}

// outcome tells a call that was settled from one that the loop dropped.
func (s *scheduler) outcome(c *call) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.gone {
		return contextError(c.ctx)
	}
	return nil
}

// loop owns the engine: nothing else calls run or wake.
func (s *scheduler) loop() {
	defer close(s.stopped)
	for {
		ctx, jobs, err := s.take()
		if errors.As(err, new(*crash)) {
			s.die(err)
			return
		}
		if len(jobs) == 0 {
			return
		}
		if !s.pass(ctx, jobs, err) {
			return
		}
	}
}

// take waits for work, wakes the engine and moves the next pass's jobs out of
// the queues, with the error if waking failed. It returns none when the
// scheduler is closed and everything was answered.
func (s *scheduler) take() (context.Context, []*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.waits() {
			if s.closing {
				return nil, nil, nil
			}
			s.work.Wait()
		}
		ctx, cancel := context.WithCancel(context.Background())
		s.cancel = cancel
		err := s.rouse(ctx)
		if errors.As(err, new(*crash)) {
			cancel()
			return ctx, nil, err
		}
		// Who came after the others had left gets an attempt of its own.
		if ctx.Err() == nil {
			if s.pack(); len(s.running) > 0 {
				return ctx, s.running, err
			}
		}
		cancel()
	}
}

func (s *scheduler) waits() bool { return len(s.waiting[interactive])+len(s.waiting[bulk]) > 0 }

// rouse wakes the engine, without the lock. The caller holds it.
func (s *scheduler) rouse(ctx context.Context) error {
	if s.wake == nil {
		return nil
	}
	s.waking = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waking = false
	}()
	return guard(func() error { return s.wake(ctx) })
}

// pack fills running up to the budget.
func (s *scheduler) pack() {
	s.running, s.flight, s.spent = s.running[:0], 0, 0
	clear(s.leads)
	order := [classes]int{interactive, bulk}
	if s.starved >= bulkPatience {
		order = [classes]int{bulk, interactive}
	}
	before := s.queued[bulk]
	for _, class := range order {
		s.packFrom(class)
	}
	s.starved++
	if s.queued[bulk] != before || s.queued[bulk] == 0 {
		s.starved = 0
	}
}

// packFrom takes jobs of one class in strict arrival order: it stops at the
// first that does not fit, rather than let small ones overtake it for ever.
func (s *scheduler) packFrom(class int) {
	for len(s.waiting[class]) > 0 {
		c := s.waiting[class][0]
		if c.ctx.Err() != nil {
			s.drop(c)
			continue
		}
		for c.next < len(c.jobs) {
			j := c.jobs[c.next]
			j.twin = s.leads[j.identity]
			if j.twin == nil {
				if len(s.running) > 0 && s.spent+j.cost > s.budget {
					return
				}
				s.leads[j.identity] = j
				s.spent += j.cost
			}
			c.next++
			s.queued[class] -= j.cost
			s.flight += j.cost
			s.running = append(s.running, j)
		}
		s.waiting[class] = slices.Delete(s.waiting[class], 0, 1)
	}
}

// pass runs the jobs, unless the engine could not be woken, and settles them. It
// reports whether the engine lives.
func (s *scheduler) pass(ctx context.Context, jobs []*job, asleep error) bool {
	defer s.cancel()
	start := time.Now()
	tokens, distinct, loads := s.spent, computed(jobs), s.loaded()
	err := asleep
	if err == nil {
		err = s.attempt(ctx, distinct)
	}
	took := time.Since(start)
	for _, j := range jobs {
		j.queue, j.compute = start.Sub(j.call.admitted), took
	}
	switch {
	case err == nil:
		s.observer.Pass(len(distinct), tokens, took)
		share(jobs)
		if s.loaded() != loads {
			tokens = 0
		}
		s.settle(tokens, took)
		return true
	case errors.As(err, new(*crash)):
		return s.die(err)
	case len(distinct) > 1 && ctx.Err() == nil && asleep == nil:
		return s.oneByOne(ctx, jobs, distinct)
	}
	for _, j := range jobs {
		j.err = engineError(err)
	}
	s.settle(0, 0)
	return true
}

func (s *scheduler) loaded() int {
	if s.loads == nil {
		return 0
	}
	return s.loads()
}

// computed lists the jobs that have no twin before them.
func computed(jobs []*job) []*job {
	list := make([]*job, 0, len(jobs))
	for _, j := range jobs {
		if j.twin == nil {
			list = append(list, j)
		}
	}
	return list
}

// share gives each job what its twin got.
func share(jobs []*job) {
	for _, j := range jobs {
		if t := j.twin; t != nil {
			j.dist, j.unresolved, j.err, j.compute = slices.Clone(t.dist), t.unresolved, t.err, t.compute
		}
	}
}

// oneByOne runs each distinct job of a failed pass alone, but those nobody
// waits for.
func (s *scheduler) oneByOne(ctx context.Context, jobs, distinct []*job) bool {
	for i, j := range distinct {
		if ctx.Err() != nil || s.left(j) {
			j.err = engineError(context.Canceled)
			continue
		}
		start := time.Now()
		err := s.attempt(ctx, distinct[i:i+1])
		took := time.Since(start)
		j.compute += took
		switch {
		case errors.As(err, new(*crash)):
			return s.die(err)
		case err != nil:
			j.err = engineError(err)
		default:
			s.observer.Pass(1, j.cost, took)
		}
	}
	share(jobs)
	s.settle(0, 0)
	return true
}

// left says whether the callers of a job and of all its twins have given up.
func (s *scheduler) left(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.running, func(r *job) bool { return (r == j || r.twin == j) && !r.call.gone })
}

// crash is a panic of the engine.
type crash struct {
	value any
	stack []byte
}

func (c *crash) Error() string { return fmt.Sprintf("panic: %v\n%s", c.value, c.stack) }

// attempt runs one pass.
func (s *scheduler) attempt(ctx context.Context, jobs []*job) error {
	texts := make([]*scored, len(jobs))
	for i, j := range jobs {
		texts[i] = j.scored
	}
	return guard(func() error { return s.run(ctx, texts) })
}

// guard turns a panic of the engine into a crash.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &crash{value: v, stack: debug.Stack()}
		}
	}()
	return f()
}

// settle finishes the running jobs and measures the rate where took is given.
func (s *scheduler) settle(tokens int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate.add(tokens, took)
	s.settleRunning()
}

func (s *scheduler) settleRunning() {
	for i, j := range s.running {
		n := uint64(j.texts)
		switch {
		case j.call.gone:
			s.counters.Cancelled += n
		case j.err != nil:
			s.counters.Failed += n
		default:
			s.counters.Answered += n
		}
		s.leave(j.call, s.running[i:i+1])
		s.running[i] = nil
	}
	clear(s.leads)
	s.running, s.flight, s.spent = s.running[:0], 0, 0
	s.observer.Queued(s.tokens())
}

// leave takes settled jobs off a call.
func (s *scheduler) leave(c *call, settled []*job) {
	s.counters.InFlight -= textsOf(settled)
	c.left -= len(settled)
	if c.left == 0 {
		close(c.done)
	}
}

// die fails everything in the scheduler after a crash and shuts its door. The
// engine's state is unknown, so no text may be answered by it again.
func (s *scheduler) die(cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = engineError(cause)
	for _, j := range s.running {
		j.err = s.dead
	}
	for class := range s.waiting {
		for _, c := range s.waiting[class] {
			rest := c.jobs[c.next:]
			for _, j := range rest {
				j.err = s.dead
			}
			s.counters.Failed += textsOf(rest)
			s.leave(c, rest)
		}
		s.waiting[class], s.queued[class] = nil, 0
	}
	s.settleRunning()
	close(s.failed)
	return false
}

// close stops admission, waits until everything admitted is answered, and ends
// the loop.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closing = true
	s.work.Signal()
	s.mu.Unlock()
	<-s.stopped
}

func (s *scheduler) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.counters
	st.Tokens = s.tokens()
	return st
}

// textsOf counts the texts that the jobs answer.
func textsOf(jobs []*job) (n uint64) {
	for _, j := range jobs {
		n += uint64(j.texts)
	}
	return n
}

// tokens of all unfinished jobs.
func (s *scheduler) tokens() int { return s.queued[interactive] + s.queued[bulk] + s.flight }

// unavailableRetry is when to ask again while what computes is not there: a
// process is started again within seconds.
const unavailableRetry = 5 * time.Second

func engineError(cause error) *Error {
	if _, away := errors.AsType[*engine.UnavailableError](cause); away {
		return &Error{Code: CodeUnavailable, Message: "what computes for this model is not there at the moment", RetryAfter: unavailableRetry, Cause: cause}
	}
	if _, refused := errors.AsType[*engine.RefusedError](cause); refused {
		return &Error{Code: CodeTextRefused, Message: "the engine in use cannot compute this text", Cause: cause}
	}
	return &Error{Code: CodeEngineFailed, Message: "the engine failed while computing", Cause: cause}
}
