package remote

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"cubby/labels"
)

const (
	// tries is how often a question is asked at most: with the waits between them
	// about a second and a half, which a busy moment or a quick restart takes.
	tries = 5
	// firstWait is the wait after the first try; each further one is twice as long.
	firstWait = 100 * time.Millisecond
	// longestWait caps what a server may ask for with Retry-After: whoever sent the
	// text is waiting, and can come again.
	longestWait = 3 * time.Second
)

// Asker asks a server until there is an answer, a final error, or no try left. While
// the server is known to be down it fails at once. Zero waits and tries choose those
// of engines. Safe for concurrent use; not to be copied.
type Asker struct {
	Server  string        // names it in errors
	Slots   int           // most questions at once
	Timeout time.Duration // of one try
	Tries   int           // most tries of a question
	// FirstWait is the wait after the first try, LongestWait the longest of all, also
	// of those that the server asks for.
	FirstWait, LongestWait time.Duration
	outage                 outage
}

// Ask has a question asked. An error of it that is none of package remote's counts as
// an answer that cannot be read.
func (a *Asker) Ask(ctx context.Context, question func(context.Context) error) error {
	for try := 1; ; try++ {
		if err := a.outage.now(); err != nil {
			return err
		}
		failure := a.once(ctx, question)
		if failure == nil {
			a.outage.answered()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !failure.passing() || try == cmp.Or(a.Tries, tries) {
			a.outage.failed(failure, max(2, a.Slots))
			return failure
		}
		if err := a.outage.wait(ctx, a.backOff(try, failure.After, rand.Float64())); err != nil {
			return err
		}
	}
}

// once is one try, within the timeout.
func (a *Asker) once(ctx context.Context, question func(context.Context) error) *Error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	if err := question(ctx); err != nil {
		return As(err, a.Server)
	}
	return nil
}

// Heal asks a server that was down whether it is back.
func (a *Asker) Heal(ctx context.Context, probe func(context.Context) error) error {
	if a.outage.now() == nil {
		return nil
	}
	if err := probe(ctx); err != nil {
		return err
	}
	a.outage.ended()
	return nil
}

// ask asks what follows a sequence.
func (e *Engine) ask(ctx context.Context, sequence, columns []labels.Token) (told Told, err error) {
	err = e.asker.Ask(ctx, func(ctx context.Context) (err error) {
		if told, err = e.server.Next(ctx, sequence, columns); err == nil && !told.valid(len(columns)) {
			err = &Error{Fault: Unreadable, Server: e.name, Message: "what it tells are no log probabilities"}
		}
		return err
	})
	if err != nil {
		return Told{}, err
	}
	return told, nil
}

// backOff is the wait after a try: twice that of the one before, less up to half by
// chance so that those who failed together do not come back together. A server
// that asks for more gets it, up to a cap.
func (a *Asker) backOff(try int, after time.Duration, chance float64) time.Duration {
	wait := cmp.Or(a.FirstWait, firstWait) << (try - 1)
	wait -= time.Duration(chance * float64(wait) / 2)
	return min(max(wait, after), cmp.Or(a.LongestWait, longestWait))
}

// outage remembers that the server is down, so that the questions of a pass do not
// each find out with all their tries. Zero is a server that is well.
type outage struct {
	mu      sync.Mutex
	err     *Error
	over    chan struct{} // closed while err is set, to wake those who wait to try again; nil before the first wait
	strikes int           // failures in a row that may be the questions' own
}

func (o *outage) now() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	return nil
}

// answered notes that a question was answered.
func (o *outage) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strikes = 0
}

// failed notes a question's last failure. Those that may be the question's own count
// when that many came in a row.
func (o *outage) failed(err *Error, enough int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err.Fault == Broken || err.Fault == Slow {
		o.strikes++
	}
	if o.err != nil || !err.general() && o.strikes < enough {
		return
	}
	o.err, o.strikes = err, 0
	close(o.signal())
}

// signal returns the channel; the lock is held.
func (o *outage) signal() chan struct{} {
	if o.over == nil {
		o.over = make(chan struct{})
	}
	return o.over
}

// wait waits to try again, and fails early where another question finds out that
// the server is down.
func (o *outage) wait(ctx context.Context, d time.Duration) error {
	o.mu.Lock()
	down := o.signal()
	o.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-down:
		return o.now()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended forgets the outage.
func (o *outage) ended() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		o.err, o.over, o.strikes = nil, nil, 0
	}
}

// heal asks a server that was down whether it is back, before a pass.
func (e *Engine) heal(ctx context.Context) error {
	return e.asker.Heal(ctx, func(ctx context.Context) error { return e.named(e.probe.Within(ctx, e.server.Probe, 0)) })
}

// named makes an *Error of what a server's probe said, unless the caller left.
func (e *Engine) named(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return As(err, e.name)
}
