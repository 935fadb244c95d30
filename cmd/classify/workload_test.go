package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cubby/eval"
)

// sleeper answers each call after took and counts what it was asked.
type sleeper struct {
	took time.Duration
	fail error

	mu            sync.Mutex
	seen          map[string]int
	running, peak int
	callsOfN      map[int]int
}

func (s *sleeper) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	s.mu.Lock()
	s.running++
	s.peak = max(s.peak, s.running)
	for _, text := range texts {
		s.seen[text]++
	}
	s.callsOfN[len(texts)]++
	s.mu.Unlock()
	time.Sleep(s.took)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	out := make([]eval.Answer, len(texts))
	for i := range out {
		out[i].Tokens = 5
	}
	return out, errors.Join(s.fail, ctx.Err())
}

func newSleeper(took time.Duration) *sleeper {
	return &sleeper{took: took, seen: map[string]int{}, callsOfN: map[int]int{}}
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

func TestWorkload(t *testing.T) {
	tests := []struct {
		name    string
		w       workload
		calls   int
		seconds float64
	}{
		{"one at a time", workload{texts: numbered(10), clients: 1, batch: 1, passes: 1}, 10, 10},
		{"batches, the last one short", workload{texts: numbered(10), clients: 1, batch: 4, passes: 3}, 9, 9},
		{"clients", workload{texts: numbered(10), clients: 2, batch: 5, passes: 4}, 8, 4},
		{"more clients than calls", workload{texts: numbered(3), clients: 8, batch: 3, passes: 2}, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSleeper(time.Second)
				m, err := tt.w.run(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				items := len(tt.w.texts) * tt.w.passes
				if m.Calls != tt.calls || m.Items != items || m.Tokens != 5*items || m.Seconds != tt.seconds {
					t.Errorf("got %+v, want %d calls, %d items in %v s", m, tt.calls, items, tt.seconds)
				}
				if m.ItemsPerSecond != float64(items)/tt.seconds || m.P50 != 1000 || m.P99 != 1000 {
					t.Errorf("rates %+v", m)
				}
				for text, n := range s.seen {
					if n != tt.w.passes {
						t.Errorf("text %s was sent %d times in %d passes", text, n, tt.w.passes)
					}
				}
				if len(s.seen) != len(tt.w.texts) || s.peak > tt.w.clients {
					t.Errorf("%d of %d texts were sent, %d calls at once with %d clients", len(s.seen), len(tt.w.texts), s.peak, tt.w.clients)
				}
			})
		})
	}
}

func TestWorkloadDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(time.Second)
		m, err := workload{texts: numbered(3), clients: 2, batch: 2, passes: 1, duration: 4500 * time.Millisecond}.run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		// Five rounds of two calls; the last starts before the end and counts.
		if m.Calls != 10 || m.Seconds != 5 || s.callsOfN[2] != 5 || s.callsOfN[1] != 5 {
			t.Errorf("got %+v, calls by size %v", m, s.callsOfN)
		}
	})
}

func TestWorkloadFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(time.Second)
		s.fail = errors.New("engine broke")
		_, err := workload{texts: numbered(100), clients: 4, batch: 1, passes: 1}.run(t.Context(), s)
		if !errors.Is(err, s.fail) || len(s.seen) > 8 {
			t.Errorf("got %v after %d texts", err, len(s.seen))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := (workload{texts: numbered(100), clients: 1, batch: 1, passes: 1}).run(ctx, newSleeper(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPercentile(t *testing.T) {
	var times []time.Duration
	for i := 1; i <= 200; i++ {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	for _, tt := range []struct {
		times []time.Duration
		q     float64
		want  float64
	}{
		{times, .50, 100}, {times, .95, 190}, {times, .99, 198}, {times, 1, 200}, {times, 0, 1},
		{times[:1], .99, 1}, {times[:3], .50, 2}, {nil, .5, 0},
	} {
		if got := percentile(tt.times, tt.q); got != tt.want {
			t.Errorf("percentile %v of %d times = %v ms, want %v", tt.q, len(tt.times), got, tt.want)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	if thisMachine().OS != "linux" {
		t.Skip("only Linux tells")
	}
	if n := peakMemory(); n < 1<<20 || n > 1<<40 {
		t.Errorf("peak memory of %d bytes", n)
	}
}
