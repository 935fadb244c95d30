package remote

import (
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

// ask asks until there is an answer, a final error, or no try left. While the
// server is known to be down it fails at once.
func (e *Engine) ask(ctx context.Context, sequence, columns []labels.Token) (Told, error) {
	for try := 1; ; try++ {
		if err := e.outage.now(); err != nil {
			return Told{}, err
		}
		told, failure := e.once(ctx, sequence, columns)
		if failure == nil {
			e.outage.answered()
			return told, nil
		}
		if err := ctx.Err(); err != nil {
			return Told{}, err
		}
		if !failure.passing() || try == tries {
			e.outage.failed(failure, max(2, e.slots))
			return Told{}, failure
		}
		if err := e.outage.wait(ctx, backOff(try, failure.After, rand.Float64())); err != nil {
			return Told{}, err
		}
	}
}

// once is one try, within the timeout.
func (e *Engine) once(ctx context.Context, sequence, columns []labels.Token) (Told, *Error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	told, err := e.server.Next(ctx, sequence, columns)
	switch {
	case err != nil:
		return Told{}, As(err, e.name)
	case !told.valid(len(columns)):
		return Told{}, &Error{Fault: Unreadable, Server: e.name, Message: "what it tells are no log probabilities"}
	}
	return told, nil
}

// backOff is the wait after a try: twice that of the one before, less up to half by
// chance so that those who failed together do not come back together. A server
// that asks for more gets it, up to a cap.
func backOff(try int, after time.Duration, chance float64) time.Duration {
	wait := firstWait << (try - 1)
	wait -= time.Duration(chance * float64(wait) / 2)
	return min(max(wait, after), longestWait)
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
	if e.outage.now() == nil {
		return nil
	}
	if err := e.probe.within(ctx, e.server, 0); err != nil {
		return e.named(err)
	}
	e.outage.ended()
	return nil
}

// named makes an *Error of what a server's probe said, unless the caller left.
func (e *Engine) named(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return As(err, e.name)
}
