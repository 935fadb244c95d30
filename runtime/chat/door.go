package chat

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cubby/runtime"
)

const (
	interactive = iota
	bulk
	classes
)

const (
	// bulkPatience is how many slots in a row go to interactive texts while bulk ones
	// wait: bulk yields, but never starves.
	bulkPatience = 4
	// paceWeight is what the last text counts in the average of how long one takes.
	paceWeight = 0.1
	// minRetryAfter and maxRetryAfter bound the advice when to come back, before up to
	// retryJitter of it is added, so that those refused together do not return together.
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Second
	retryJitter   = 0.25
)

// door bounds the texts inside and those that are asked about at once. It lets the
// texts of a request in together or not at all; when nobody is inside, requests of any
// size, so that none is too large for ever. At every moment exactly
// Admitted = Answered + Cancelled + Failed + InFlight.
type door struct {
	slots, limit int

	mu       sync.Mutex
	empty    sync.Cond // nobody is inside
	closing  bool
	counters runtime.Stats
	busy     int // slots taken
	waiting  [classes][]chan struct{}
	starved  int           // slots in a row that passed waiting bulk texts
	pace     time.Duration // how long a text keeps its slot
}

func newDoor(slots, limit int) *door {
	d := &door{slots: slots, limit: limit}
	d.empty.L = &d.mu
	return d
}

// admit lets n texts in, or says why not.
func (d *door) admit(ctx context.Context, n int) *runtime.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.refuse(ctx, n)
	if err != nil {
		d.counters.Refused += uint64(n)
		return err
	}
	d.counters.Admitted += uint64(n)
	d.counters.InFlight += uint64(n)
	return nil
}

func (d *door) refuse(ctx context.Context, n int) *runtime.Error {
	inside := int(d.counters.InFlight)
	switch {
	case d.closing:
		return &runtime.Error{Code: runtime.CodeDraining, Message: "the model is closing and takes no more texts"}
	case ctx.Err() != nil:
		return contextError(ctx)
	case inside > 0 && inside+n > d.limit:
		after := min(max(d.pace*time.Duration(inside)/time.Duration(d.slots), minRetryAfter), maxRetryAfter)
		after += time.Duration(rand.Float64() * retryJitter * float64(after))
		return &runtime.Error{Code: runtime.CodeOverloaded, Message: "the queue is full", RetryAfter: after}
	}
	return nil
}

// outcome is what became of a text.
type outcome int

const (
	answered outcome = iota
	failed
	cancelled
)

// settle counts n texts out.
func (d *door) settle(o outcome, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch o {
	case answered:
		d.counters.Answered += uint64(n)
	case failed:
		d.counters.Failed += uint64(n)
	case cancelled:
		d.counters.Cancelled += uint64(n)
	}
	d.counters.InFlight -= uint64(n)
	if d.counters.InFlight == 0 {
		d.empty.Broadcast()
	}
}

// enter waits for a slot.
func (d *door) enter(ctx context.Context, class int) error {
	d.mu.Lock()
	if ctx.Err() != nil {
		d.mu.Unlock()
		return ctx.Err()
	}
	if d.busy < d.slots {
		d.busy++
		d.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	d.waiting[class] = append(d.waiting[class], turn)
	d.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.waiting[class], turn); i >= 0 {
		d.waiting[class] = slices.Delete(d.waiting[class], i, i+1)
	} else { // its turn came in the meantime
		d.pass()
	}
	return ctx.Err()
}

// leave gives a slot back that was kept for that long.
func (d *door) leave(kept time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pace == 0 {
		d.pace = kept
	}
	d.pace += time.Duration(paceWeight * float64(kept-d.pace))
	d.pass()
}

// pass hands a slot to who is next. The lock is held.
func (d *door) pass() {
	class := interactive
	if len(d.waiting[interactive]) == 0 || len(d.waiting[bulk]) > 0 && d.starved >= bulkPatience {
		class = bulk
	}
	if len(d.waiting[class]) == 0 {
		d.busy--
		return
	}
	d.starved++
	if class == bulk || len(d.waiting[bulk]) == 0 {
		d.starved = 0
	}
	close(d.waiting[class][0])
	d.waiting[class] = slices.Delete(d.waiting[class], 0, 1)
}

func (d *door) count() runtime.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters
}

func (d *door) closed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closing
}

// close lets nobody in any more and waits until nobody is inside.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for d.counters.InFlight > 0 {
		d.empty.Wait()
	}
}
