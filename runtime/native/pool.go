package native

import (
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool runs one section of work at a time on a fixed set of threads, the
// caller's among them. A pass has hundreds of sections of tens of microseconds,
// so between sections workers spin; between passes they are parked and cost no
// CPU. Items are taken from a counter: a fixed split would leave a thread idle
// whenever another one is disturbed, and a worker that the system does not run
// holds nobody up: the others do its share.
type pool struct {
	threads int
	open    atomic.Pointer[section]
	active  atomic.Bool // a pass is running: workers spin
	wake    []chan struct{}
	ended   sync.WaitGroup
}

// section is one run of items. A worker that comes late finds none left.
type section struct {
	work    func(worker, item int)
	items   int64
	next    atomic.Int64
	done    atomic.Int64
	failure atomic.Pointer[any] // what an item panicked with
}

func newPool(threads int) *pool {
	p := &pool{threads: threads, wake: make([]chan struct{}, threads-1)}
	for i := range p.wake {
		p.wake[i] = make(chan struct{}, 1)
		p.ended.Go(func() { p.loop(i) })
	}
	return p
}

// begin wakes the workers for a pass; end lets them park again.
func (p *pool) begin() {
	p.active.Store(true)
	for _, w := range p.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (p *pool) end() { p.active.Store(false) }

func (p *pool) close() {
	p.end()
	for _, w := range p.wake {
		close(w)
	}
	p.ended.Wait()
}

// run calls work(worker, i) for every i in [0, items) and returns when all
// calls have. Workers help between begin and end. A panic of any call is
// raised again here: in a worker it would end the process.
func (p *pool) run(items int, work func(worker, item int)) {
	if p.threads == 1 || items == 1 {
		for i := range items {
			work(0, i)
		}
		return
	}
	s := &section{work: work, items: int64(items)}
	p.open.Store(s)
	s.drain(0)
	for spin := 0; s.done.Load() < s.items; spin++ {
		pause(spin)
	}
	if v := s.failure.Load(); v != nil {
		panic(*v)
	}
}

func (s *section) drain(worker int) {
	for {
		i := s.next.Add(1) - 1
		if i >= s.items {
			return
		}
		s.item(worker, int(i))
	}
}

func (s *section) item(worker, i int) {
	defer s.done.Add(1)
	defer func() {
		if v := recover(); v != nil {
			s.failure.Store(&v)
		}
	}()
	s.work(worker, i)
}

func (p *pool) loop(i int) {
	var last *section
	for range p.wake[i] {
		for spin := 0; p.active.Load(); spin++ {
			if s := p.open.Load(); s != last {
				s.drain(i + 1)
				last, spin = s, 0
			}
			pause(spin)
		}
	}
}

// Spinning beyond these counts, about a microsecond and 50 of them, means that
// the other side is not running: the processor is then better left to it.
const (
	yieldAfter = 1 << 10
	sleepAfter = 1 << 16
)

// pause is called in every turn of a spin.
func pause(spin int) {
	switch {
	case spin >= sleepAfter:
		time.Sleep(50 * time.Microsecond)
	case spin%yieldAfter == yieldAfter-1:
		goruntime.Gosched()
	}
}
