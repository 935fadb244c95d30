package native

import (
	"fmt"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Pool runs one section of work at a time on a fixed set of threads, the
// caller's among them. A pass has hundreds of sections of tens of microseconds,
// so between sections workers spin; between passes they are parked and cost no
// CPU. Items are taken from a counter: a fixed split would leave a thread idle
// whenever another one is disturbed, and a worker that the system does not run
// holds nobody up: the others do its share.
//
// Several engines may share a pool. Their passes take turns, in the order in
// which they asked, so that no more threads compute than the pool has.
type Pool struct {
	threads int
	turn    chan struct{} // full while a pass runs; waiting senders are served in order
	open    section
	active  atomic.Bool // a pass is running: workers spin
	wake    []chan struct{}
	ended   sync.WaitGroup
	closed  bool // guarded by turn
}

// maxThreads refuses numbers that nobody can mean.
const maxThreads = 1024

// task is what a section does with each of its items.
type task func(worker, item int)

// section is the run of items that is open. Its counter holds the number of the
// section in its upper half and the next item in the lower one: an item that is
// taken belongs to the section whose task was read, or the taking fails.
type section struct {
	counter atomic.Uint64
	work    atomic.Pointer[task]
	items   atomic.Uint32
	done    atomic.Uint32
	failure atomic.Pointer[any] // what an item panicked with
}

const (
	itemBits = 32
	itemMask = 1<<itemBits - 1
)

// NewPool starts the workers of that many threads; 0 for one a physical core.
func NewPool(threads int) (*Pool, error) {
	if threads < 0 || threads > maxThreads {
		return nil, fmt.Errorf("threads is %d: want 1 to %d, or 0 for one a core", threads, maxThreads)
	}
	if threads == 0 {
		threads = DefaultThreads()
	}
	p := &Pool{threads: threads, turn: make(chan struct{}, 1), wake: make([]chan struct{}, threads-1)}
	for i := range p.wake {
		p.wake[i] = make(chan struct{}, 1)
		p.ended.Go(func() { p.loop(i) })
	}
	return p, nil
}

// Threads is the number of threads that compute.
func (p *Pool) Threads() int { return p.threads }

// begin waits for the caller's turn and wakes the workers for its pass; end
// lets them park again and the next caller begin. They do not nest.
func (p *Pool) begin() {
	p.turn <- struct{}{}
	if p.closed {
		return // the caller does all the work
	}
	p.active.Store(true)
	for _, w := range p.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// end also forgets the last task: it would keep the weights of an engine that is
// closed meanwhile.
func (p *Pool) end() {
	p.active.Store(false)
	p.open.work.Store(nil)
	<-p.turn
}

// Close stops the workers, behind the pass that runs. Engines that go on with a
// closed pool compute on one thread.
func (p *Pool) Close() {
	p.turn <- struct{}{}
	if !p.closed {
		p.closed = true
		for _, w := range p.wake {
			close(w)
		}
		p.ended.Wait()
	}
	<-p.turn
}

// run calls work(worker, i) for every i in [0, items) and returns when all
// calls have. Workers help between begin and end. A panic of any call is
// raised again here: in a worker it would end the process.
func (p *Pool) run(items int, work *task) {
	if p.threads == 1 || items <= 1 {
		for i := range items {
			(*work)(0, i)
		}
		return
	}
	s := &p.open
	s.start(uint32(items), work)
	s.drain(0)
	for spin := 0; s.done.Load() < uint32(items); spin++ {
		pause(spin)
	}
	if v := s.failure.Load(); v != nil {
		panic(*v)
	}
}

// start opens the section: first with no item left to take, so that none is taken
// of the old section with the new one's task.
func (s *section) start(items uint32, work *task) {
	number := s.counter.Load()>>itemBits + 1
	s.counter.Store(number<<itemBits | itemMask)
	s.work.Store(work)
	s.items.Store(items)
	s.done.Store(0)
	s.failure.Store(nil)
	s.counter.Store(number << itemBits)
}

// drain takes items until none is left, and says whether it found any.
func (s *section) drain(worker int) bool {
	for found := false; ; {
		c := s.counter.Load()
		work, item := s.work.Load(), uint32(c&itemMask)
		if work == nil || item >= s.items.Load() {
			return found
		}
		if s.counter.CompareAndSwap(c, c+1) {
			found = true
			s.item(*work, worker, int(item))
		}
	}
}

func (s *section) item(work task, worker, i int) {
	defer s.done.Add(1)
	defer func() {
		if v := recover(); v != nil {
			s.failure.Store(&v)
		}
	}()
	work(worker, i)
}

func (p *Pool) loop(i int) {
	for range p.wake[i] {
		for spin := 0; p.active.Load(); spin++ {
			if p.open.drain(i + 1) {
				spin = 0
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
