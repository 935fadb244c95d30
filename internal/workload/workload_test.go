package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func TestLoad(t *testing.T) {
	tests := []struct {
		name    string
		w       Load
		calls   int
		seconds float64
	}{
		{"one at a time", Load{Texts: numbered(10), Clients: 1, Batch: 1, Passes: 1}, 10, 10},
		{"batches, the last one short", Load{Texts: numbered(10), Clients: 1, Batch: 4, Passes: 3}, 9, 9},
		{"clients", Load{Texts: numbered(10), Clients: 2, Batch: 5, Passes: 4}, 8, 4},
		{"more clients than calls", Load{Texts: numbered(3), Clients: 8, Batch: 3, Passes: 2}, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSleeper(time.Second)
				m, err := tt.w.Run(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				items := len(tt.w.Texts) * tt.w.Passes
				if m.Calls != tt.calls || m.Items != items || m.Tokens != 5*items || m.Seconds != tt.seconds {
					t.Errorf("got %+v, want %d calls, %d items in %v s", m, tt.calls, items, tt.seconds)
				}
				if m.ItemsPerSecond != float64(items)/tt.seconds || m.P50 != 1000 || m.P99 != 1000 {
					t.Errorf("rates %+v", m)
				}
				for text, n := range s.seen {
					if n != tt.w.Passes {
						t.Errorf("text %s was sent %d times in %d passes", text, n, tt.w.Passes)
					}
				}
				if len(s.seen) != len(tt.w.Texts) || s.peak > tt.w.Clients {
					t.Errorf("%d of %d texts were sent, %d calls at once with %d clients", len(s.seen), len(tt.w.Texts), s.peak, tt.w.Clients)
				}
			})
		})
	}
}

func TestLoadDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(time.Second)
		m, err := Load{Texts: numbered(3), Clients: 2, Batch: 2, Passes: 1, Duration: 4500 * time.Millisecond}.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		// Five rounds of two calls; the last starts before the end and counts.
		if m.Calls != 10 || m.Seconds != 5 || s.callsOfN[2] != 5 || s.callsOfN[1] != 5 {
			t.Errorf("got %+v, calls by size %v", m, s.callsOfN)
		}
	})
}

// Two runs, the second of which goes on where the first ended, are one pass
// through the texts, and together one measurement.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(time.Second)
		l := Load{Texts: numbered(10), Clients: 2, Batch: 1, Duration: 2500 * time.Millisecond}
		first, err := l.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		l.Skip = first.Calls
		s.took = 3 * time.Second
		second, err := l.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		m := Join(first, second)
		if m.Calls != 8 || m.Items != 8 || m.Tokens != 40 || m.Seconds != 6 || m.ItemsPerSecond != 8./6 || m.Clients != 2 || m.Batch != 1 {
			t.Errorf("got %+v", m)
		}
		if m.P50 != 1000 || m.P95 != 3000 || !slices.IsSorted(m.Times) {
			t.Errorf("times %v, p50 %v, p95 %v", m.Times, m.P50, m.P95)
		}
		if len(s.seen) != 8 {
			t.Errorf("%d texts were sent, want 8 different ones", len(s.seen))
		}
	})
}

func TestLoadFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(time.Second)
		s.fail = errors.New("engine broke")
		_, err := Load{Texts: numbered(100), Clients: 4, Batch: 1, Passes: 1}.Run(t.Context(), s)
		if !errors.Is(err, s.fail) || len(s.seen) > 8 {
			t.Errorf("got %v after %d texts", err, len(s.seen))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := (Load{Texts: numbered(100), Clients: 1, Batch: 1, Passes: 1}).Run(ctx, newSleeper(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
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
