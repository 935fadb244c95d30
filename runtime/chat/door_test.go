package chat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/runtime"
	"cubby/runtime/remote/remotetest"
)

func code(err error) runtime.Code {
	if e, ok := errors.AsType[*runtime.Error](err); ok {
		return e.Code
	}
	return ""
}

func texts(n int, word string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(word, " ", i)
	}
	return list
}

func TestSlotsBoundQuestions(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	var inside atomic.Int64
	three := make(chan struct{}) // closed when three are inside
	var together sync.Once
	f.completions.Always(func(w http.ResponseWriter, r *http.Request) {
		n := inside.Add(1)
		defer inside.Add(-1)
		if n == 3 {
			together.Do(func() { close(three) })
		}
		if n > 3 {
			t.Errorf("%d questions at once, with 3 slots", n)
		}
		<-three
		f.complete(w, r)
	})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if _, err := b.Score(t.Context(), runtime.Request{Texts: texts(10, fmt.Sprint("card ", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestQueueIsBounded(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	b := f.open(t, func(o *Options) { o.Queue = 5 })
	f.completions.Always(func(w http.ResponseWriter, r *http.Request) { <-release; f.complete(w, r) })
	done := make(chan error)
	go func() { // alone, a request of any size comes in
		_, err := b.Score(t.Context(), runtime.Request{Texts: texts(9, "card")})
		done <- err
	}()
	testenv.Until(t, "nine are inside", func() bool { return b.Stats().InFlight == 9 })
	_, err := b.Score(t.Context(), runtime.Request{Texts: []string{"card"}})
	var e *runtime.Error
	if !errors.As(err, &e) || e.Code != runtime.CodeOverloaded || e.RetryAfter < time.Second || e.RetryAfter > 30*time.Second {
		t.Errorf("%v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Admitted != 9 || s.Answered != 9 || s.Refused != 1 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

func TestCloseAnswersWhatWasAdmitted(t *testing.T) {
	f := newFake(t)
	f.hold = 20 * time.Millisecond
	b := f.open(t)
	done := make(chan error)
	go func() {
		results, err := b.Score(t.Context(), runtime.Request{Texts: texts(9, "card")})
		for _, r := range results {
			if best(r) != "card" {
				err = errors.Join(err, r.Err)
			}
		}
		done <- err
	}()
	testenv.Until(t, "nine are inside", func() bool { return b.Stats().InFlight == 9 })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { b.Close() })
	}
	testenv.Until(t, "it is closing", b.door.closed)
	if _, err := b.Score(t.Context(), runtime.Request{Texts: []string{"card"}}); code(err) != runtime.CodeDraining {
		t.Errorf("%v", err)
	}
	wg.Wait()
	if s := b.Stats(); s.Answered != 9 || s.InFlight != 0 {
		t.Errorf("closed with %+v", s)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Bulk texts wait for interactive ones, but not for ever.
func TestBulkYields(t *testing.T) {
	d := newDoor(1, 100)
	if err := d.enter(t.Context(), interactive); err != nil {
		t.Fatal(err)
	}
	var order []int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 12 {
		class := []int{bulk, interactive}[min(i/2, 1)] // two bulk texts came first
		wg.Go(func() {
			if d.enter(t.Context(), class) == nil {
				mu.Lock()
				order = append(order, class)
				mu.Unlock()
				d.leave(time.Millisecond)
			}
		})
		testenv.Until(t, "it waits", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.waiting[bulk])+len(d.waiting[interactive]) == i+1
		})
	}
	d.leave(0)
	wg.Wait()
	if got := fmt.Sprint(order); got != "[0 0 0 0 1 0 0 0 0 1 0 0]" {
		t.Errorf("%s", got)
	}
	if d.busy != 0 {
		t.Errorf("%d slots are not given back", d.busy)
	}
}

// Whatever comes, leaves and fails at once: the books balance at every moment, each text
// gets its own answer, and every slot is given back.
func TestStorm(t *testing.T) {
	f := newFake(t)
	b := f.open(t, func(o *Options) { o.Queue, o.Slots = 40, 4 })
	var n atomic.Uint64
	f.completions.Always(func(w http.ResponseWriter, r *http.Request) {
		switch k := n.Add(1); {
		case k%41 == 0:
			remotetest.Cut(w, r)
		case k%29 == 0:
			remotetest.Say(500, "oops")(w, r)
		case k%23 == 0:
			remotetest.Say(200, `{"choices":[{"message":{"content":"?"}}]}`)(w, r)
		case k%19 == 0:
			remotetest.Say(429, "", "Retry-After", "1")(w, r)
		default:
			time.Sleep(time.Duration(k%3) * time.Millisecond)
			f.complete(w, r)
		}
	})
	stop := make(chan struct{})
	var watch, wg sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				balanced(t, b)
				b.Info()
				b.Probe(context.Background())
			}
		}
	})
	var came, refused atomic.Uint64
	names := testSet.Names()
	for c := range 12 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			for i := range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rng.IntN(60))*time.Millisecond)
				if i%4 == 0 { // some wait for their answers, however slow the machine is
					ctx, cancel = context.WithCancel(t.Context())
				}
				list := make([]string, 1+rng.IntN(8))
				for j := range list {
					list[j] = fmt.Sprint(names[rng.IntN(3)], " ", c, i, rng.IntN(4))
				}
				came.Add(uint64(len(list)))
				results, err := b.Score(ctx, runtime.Request{Texts: list, Bulk: rng.IntN(2) == 0})
				if code(err) == runtime.CodeOverloaded {
					refused.Add(uint64(len(list)))
				} else if err != nil && ctx.Err() == nil {
					t.Errorf("%v", err)
				}
				for j, r := range results {
					if r.Err == nil && !strings.HasPrefix(list[j], best(r)) {
						t.Errorf("%q: %s", list[j], best(r))
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	s := b.Stats()
	if s.InFlight != 0 || s.Admitted+s.Refused != came.Load() || s.Refused < refused.Load() || s.Answered == 0 || s.Cancelled == 0 || s.Failed == 0 {
		t.Errorf("%+v, came %d, refused %d", s, came.Load(), refused.Load())
	}
	b.door.mu.Lock()
	defer b.door.mu.Unlock()
	if b.door.busy != 0 || len(b.door.waiting[bulk])+len(b.door.waiting[interactive]) != 0 {
		t.Errorf("%d slots are not given back", b.door.busy)
	}
	t.Logf("%+v", s)
}
