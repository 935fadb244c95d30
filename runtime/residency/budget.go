package residency

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

const (
	// settling is how long an engine rests before it counts as idle. One with
	// work waiting begins its next pass within microseconds.
	settling = 10 * time.Millisecond
	// leastTurn and turnPerLoad say how long an engine that always has work may
	// stay though another one waits for its room: long enough that loading takes
	// at most a fifth of the time.
	leastTurn   = time.Second
	turnPerLoad = 4
)

// Budget is the memory that several engines may hold together: their packed
// weights and the keys and values of their prefixes, in bytes. Model files,
// which the system can drop from memory, and the buffers of a pass are not part
// of it.
//
//   - An engine in a pass is never evicted. An idle one is, least recently used
//     first, as soon as another one needs its room.
//   - One that is never idle leaves when its turn is over and others wait; then
//     it waits behind them. What queues for it stays queued.
//   - Engines are loaded one at a time, in the order in which they asked.
//   - Prefixes of engines that are not loaded go last, when weights alone do not
//     make room.
type Budget struct {
	limit int64

	mu       sync.Mutex
	engines  []*Engine
	claims   []*Engine // wait to be loaded; the first one is served
	short    bool      // somebody waits for room
	reserved int64     // for the weights that are being loaded
	garbage  bool      // weights were evicted, and may still be in memory
	changed  chan struct{}
}

// NewBudget returns a budget of that many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit, changed: make(chan struct{})} }

// Limit is the budget in bytes.
func (b *Budget) Limit() int64 { return b.limit }

func (b *Budget) add(e *Engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.engines = append(b.engines, e)
}

func (b *Budget) remove(e *Engine) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.closed = true
	e.forget()
	b.engines = slices.DeleteFunc(b.engines, func(o *Engine) bool { return o == e })
	b.announce()
	return e.evict()
}

// hold waits until the engine is loaded and may run a pass, and keeps it from
// being evicted until release.
func (b *Budget) hold(ctx context.Context, e *Engine) (engine.Engine, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case e.closed:
			return nil, errClosed
		case e.inner == nil:
			if err := b.claim(ctx, e); err != nil {
				return nil, err
			}
		case b.short && time.Since(e.loaded) >= e.turn:
			if err := b.wait(ctx, 0); err != nil {
				return nil, err
			}
		case b.used() > b.limit && e.held() <= b.limit: // weights grew in a pass
			if err := b.room(ctx, e, 0); err != nil {
				return nil, err
			}
		default:
			e.busy = true
			return e.inner, nil
		}
	}
}

// release ends a pass. Weights may have grown in it: parts are packed when they
// are first needed.
func (b *Budget) release(e *Engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.busy, e.rested = false, time.Now()
	if e.inner != nil {
		e.weights = e.inner.Info().Memory.Weights
	}
	b.announce()
}

// claim stands in line for room and loads the engine. The caller holds the lock.
func (b *Budget) claim(ctx context.Context, e *Engine) error {
	b.claims = append(b.claims, e)
	defer func() {
		b.claims = slices.DeleteFunc(b.claims, func(o *Engine) bool { return o == e })
		b.announce()
	}()
	for b.claims[0] != e {
		if err := b.wait(ctx, 0); err != nil {
			return err
		}
	}
	if err := b.room(ctx, e, e.missing()); err != nil {
		return err
	}
	if err := b.load(e); err != nil {
		return err
	}
	return b.fit(ctx, e)
}

// room waits until so many bytes more fit. The caller holds the lock; e is in no
// pass, or two that wait for each other's room would wait for ever.
func (b *Budget) room(ctx context.Context, e *Engine, more int64) error {
	defer func() {
		b.short = false
		b.announce()
	}()
	for {
		ok, err := b.makeRoom(e, more)
		if ok || err != nil {
			return err
		}
		b.short = true
		if err := b.wait(ctx, settling); err != nil {
			return err
		}
	}
}

// makeRoom evicts others until so many bytes more fit, or nobody where that
// would not be enough.
func (b *Budget) makeRoom(e *Engine, more int64) (bool, error) {
	over := b.used() + more - b.limit
	if over <= 0 {
		return true, nil
	}
	victims := b.victims(e)
	free := int64(0)
	for _, v := range victims {
		free += v.held()
	}
	if free < over {
		return false, nil
	}
	for _, v := range victims {
		if over > 0 && v.inner != nil {
			over -= v.held()
			b.garbage = true
			if err := v.evict(); err != nil {
				return false, fmt.Errorf("close another model to make room: %w", err)
			}
			over += v.held()
		}
	}
	for _, v := range victims {
		if over > 0 {
			over -= v.kv()
			v.forget()
		}
	}
	return true, nil
}

// victims lists the other engines that may lose what they hold, least recently
// used first.
func (b *Budget) victims(e *Engine) []*Engine {
	var list []*Engine
	for _, v := range b.engines {
		switch {
		case v == e || v.busy:
		case v.inner == nil, time.Since(v.rested) >= settling, time.Since(v.loaded) >= v.turn:
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(x, y *Engine) int { return x.rested.Compare(y.rested) })
	return list
}

// load loads the weights, without the lock. The caller holds it.
func (b *Budget) load(e *Engine) error {
	b.reserved = e.missing()
	defer func() { b.reserved = 0 }()
	start := time.Now()
	loaded, err := b.fetch(e)
	if err != nil {
		return fmt.Errorf("load the model's weights: %w", err)
	}
	e.inner, e.info = loaded, loaded.Info()
	e.weights = e.info.Memory.Weights
	e.loads++
	e.loaded = time.Now()
	e.rested, e.turn = e.loaded, max(leastTurn, turnPerLoad*e.loaded.Sub(start))
	return nil
}

// fetch calls the source without the lock, and has it again also behind a panic.
func (b *Budget) fetch(e *Engine) (engine.Engine, error) {
	garbage := b.garbage
	b.garbage = false
	b.mu.Unlock()
	defer b.mu.Lock()
	if garbage {
		debug.FreeOSMemory() // or old and new weights would be in memory together
	}
	return e.source.Load()
}

// fit waits until an engine fits that was found larger than thought. One that
// never can is evicted.
func (b *Budget) fit(ctx context.Context, e *Engine) error {
	if e.held() > b.limit {
		err := fmt.Errorf("the model alone takes %d bytes, %d for its weights and %d for its prompt: the memory budget of %d must be at least that",
			e.held(), e.weights, e.kv(), b.limit)
		return errors.Join(err, e.evict())
	}
	return b.room(ctx, e, 0)
}

// keep counts a prefix among what the engine holds, behind the pass that
// computed it.
func (b *Budget) keep(ctx context.Context, e *Engine, p *prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.prefixes = append(e.prefixes, p)
	return b.fit(ctx, e)
}

// used counts the bytes that are held or promised. The caller holds the lock.
func (b *Budget) used() int64 {
	n := b.reserved
	for _, e := range b.engines {
		n += e.held()
	}
	return n
}

// announce wakes all who wait. The caller holds the lock.
func (b *Budget) announce() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait releases the lock until something changes, some time has passed (0: none
// does) or the context ends.
func (b *Budget) wait(ctx context.Context, atMost time.Duration) error {
	changed := b.changed
	var late <-chan time.Time
	if atMost > 0 {
		late = time.After(atMost)
	}
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
