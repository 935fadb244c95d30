package runtime

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Bounds of the advice when to come back: sooner than a second is a busy loop,
// later than half a minute is a guess.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 30 * time.Second
)

// retryJitter spreads the advice over up to this share more, so that those
// refused together do not return together.
const retryJitter = 0.25

// admit lets a call in or says why not.
func (s *scheduler) admit(ctx context.Context, jobs []*job, class int) (*call, *Error) {
	cost := 0
	for _, j := range jobs {
		cost += j.cost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx, cost, class); err != nil {
		s.counters.Refused += textsOf(jobs)
		return nil, err
	}
	c := &call{ctx: ctx, jobs: jobs, class: class, left: len(jobs), admitted: time.Now(), done: make(chan struct{})}
	for _, j := range jobs {
		j.call = c
	}
	s.counters.Admitted += textsOf(jobs)
	s.counters.InFlight += textsOf(jobs)
	s.waiting[class] = append(s.waiting[class], c)
	s.queued[class] += cost
	s.observer.Queued(s.tokens())
	s.work.Signal()
	return c, nil
}

// door refuses what would be refused at any cost, before anybody tokenises it.
func (s *scheduler) door(ctx context.Context, class, texts int) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.refuse(ctx, 1, class)
	if err != nil {
		s.counters.Refused += uint64(texts)
	}
	return err
}

// closed refuses, as the door does, texts that need no pass.
func (s *scheduler) closed(ctx context.Context, texts int) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.shut(ctx)
	if err != nil {
		s.counters.Refused += uint64(texts)
	}
	return err
}

// shut says why nothing of the caller can come in, whatever it costs.
func (s *scheduler) shut(ctx context.Context) *Error {
	switch {
	case s.dead != nil:
		return s.dead
	case s.closing:
		return &Error{Code: CodeDraining, Message: "the model is closing and takes no more texts"}
	case ctx.Err() != nil:
		return contextError(ctx)
	}
	return nil
}

// refuse says why a call of that cost cannot come in now.
func (s *scheduler) refuse(ctx context.Context, cost, class int) *Error {
	if err := s.shut(ctx); err != nil {
		return err
	}
	switch {
	case s.tokens() == 0 && s.hopeless(ctx, cost):
		return &Error{Code: CodeDeadline, Message: "the deadline cannot be met: the request alone takes longer"}
	case s.tokens() == 0:
		return nil
	case s.tokens()+cost > s.limit:
		return &Error{Code: CodeOverloaded, Message: "the queue is full", RetryAfter: s.retryAfter()}
	case s.late(ctx, cost, class):
		return &Error{Code: CodeOverloaded, Message: "the deadline cannot be met: too much work is ahead", RetryAfter: s.retryAfter()}
	}
	return nil
}

// late reports whether the deadline falls before the estimated end of the
// call's work behind all that runs before it.
func (s *scheduler) late(ctx context.Context, cost, class int) bool {
	deadline, ok := ctx.Deadline()
	if !ok {
		return false
	}
	ahead := s.flight + s.queued[interactive]
	if class == bulk {
		ahead += s.queued[bulk]
	}
	return time.Now().Add(s.rate.time(ahead + cost)).After(deadline)
}

// hopeless reports whether a call would miss its deadline by far even alone.
// The factor forgives a rate that was measured in a bad moment: an idle
// scheduler must accept what it may be able to do, or the rate never corrects
// itself.
func (s *scheduler) hopeless(ctx context.Context, cost int) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Now().Add(s.rate.time(cost)/4).After(deadline)
}

// retryAfter estimates when the queue will be empty.
func (s *scheduler) retryAfter() time.Duration {
	top := time.Duration(float64(maxRetryAfter) / (1 + retryJitter))
	d := min(max(s.rate.time(s.tokens()), minRetryAfter), top)
	return d + time.Duration(float64(d)*retryJitter*s.random())
}

// abandon gives up a call whose context has ended, unless it is answered.
func (s *scheduler) abandon(c *call) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.left == 0 && !c.gone {
		return nil
	}
	s.drop(c)
	return contextError(c.ctx)
}

// drop releases a call's waiting jobs. Those in the pass are settled with it;
// pass and waking are cancelled once nobody waits for any of them.
func (s *scheduler) drop(c *call) {
	if c.gone {
		return
	}
	c.gone = true
	if rest := c.jobs[c.next:]; len(rest) > 0 {
		for _, j := range rest {
			s.queued[c.class] -= j.cost
		}
		c.next = len(c.jobs)
		i := slices.Index(s.waiting[c.class], c)
		s.waiting[c.class] = slices.Delete(s.waiting[c.class], i, i+1)
		s.counters.Cancelled += textsOf(rest)
		s.leave(c, rest)
		s.observer.Queued(s.tokens())
	}
	awaited := func(j *job) bool { return !j.call.gone }
	if s.waking && !s.waits() || len(s.running) > 0 && s.cancel != nil && !slices.ContainsFunc(s.running, awaited) {
		s.cancel()
	}
}

func contextError(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Code: CodeDeadline, Message: "the deadline passed before the answer", Cause: context.Cause(ctx)}
	}
	return &Error{Code: CodeCanceled, Message: "the caller left before the answer", Cause: context.Cause(ctx)}
}

// meterDecay is the weight that each pass leaves to those before it: about the
// last ten count.
const meterDecay = 0.9

// meter is a moving average of tokens a second, weighted by tokens, so that
// the short passes of quiet hours do not hide what full passes reach. The zero
// value has measured nothing and takes every work for immediate.
type meter struct {
	tokens  float64
	seconds float64
}

// add counts one pass; one without tokens or time says nothing.
func (m *meter) add(tokens int, took time.Duration) {
	if tokens <= 0 || took <= 0 {
		return
	}
	m.tokens = m.tokens*meterDecay + float64(tokens)
	m.seconds = m.seconds*meterDecay + took.Seconds()
}

// time estimates how long that many tokens take.
func (m *meter) time(tokens int) time.Duration {
	if m.tokens == 0 {
		return 0
	}
	return time.Duration(float64(tokens) * m.seconds / m.tokens * float64(time.Second))
}
