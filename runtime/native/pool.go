package native

import (
	goruntime "runtime"
	"sync"
	"sync/atomic"
)

// pool runs one section of work at a time on a fixed set of threads, the
// caller's among them. A pass has hundreds of sections of tens of microseconds,
// so between sections workers spin; between passes they are parked and cost no
// CPU. Work is taken from a counter: a fixed split would leave a thread idle
// whenever another one is disturbed.
type pool struct {
	threads int
	work    func(worker, item int)
	items   int64
	next    atomic.Int64
	section atomic.Int64        // number of the section that is open
	busy    atomic.Int64        // workers that have not finished the open section
	failure atomic.Pointer[any] // what a worker panicked with
	active  atomic.Bool         // a pass is running: workers spin
	closed  atomic.Bool
	wake    []chan struct{}
	done    sync.WaitGroup
}

func newPool(threads int) *pool {
	p := &pool{threads: threads, wake: make([]chan struct{}, threads-1)}
	for i := range p.wake {
		p.wake[i] = make(chan struct{}, 1)
		p.done.Go(func() { p.loop(i) })
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
	p.closed.Store(true)
	p.end()
	for _, w := range p.wake {
		close(w)
	}
	p.done.Wait()
}

// run calls work(worker, i) for every i in [0, items) and returns when all
// calls have. It must be called between begin and end.
func (p *pool) run(items int, work func(worker, item int)) {
	if p.threads == 1 || items == 1 {
		for i := range items {
			work(0, i)
		}
		return
	}
	p.work, p.items = work, int64(items)
	p.next.Store(0)
	p.busy.Store(int64(p.threads - 1))
	p.section.Add(1)
	p.drain(0)
	for spin := 0; p.busy.Load() != 0; spin++ {
		pause(spin)
	}
	if v := p.failure.Load(); v != nil {
		panic(*v)
	}
}

// assist is a worker's part of a section. A panic is carried to the caller of
// run: in a worker it would end the process.
func (p *pool) assist(worker int) {
	defer p.busy.Add(-1)
	defer func() {
		if v := recover(); v != nil {
			p.failure.Store(&v)
		}
	}()
	p.drain(worker)
}

func (p *pool) drain(worker int) {
	for {
		i := p.next.Add(1) - 1
		if i >= p.items {
			return
		}
		p.work(worker, int(i))
	}
}

func (p *pool) loop(i int) {
	last := int64(0)
	for range p.wake[i] {
		for spin := 0; ; spin++ {
			if now := p.section.Load(); now != last {
				last, spin = now, 0
				p.assist(i + 1)
				continue
			}
			if !p.active.Load() {
				// A section opened before end is always finished: run waits
				// for busy, so none can be open here.
				break
			}
			pause(spin)
		}
	}
}

// pause yields the processor now and then, so that spinning never starves the
// goroutine it waits for, however few processors there are.
func pause(spin int) {
	if spin&1023 == 1023 {
		goruntime.Gosched()
	}
}
