// Package workload drives a classifier with a closed loop of clients and
// measures rate and latency.
package workload

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cubby/eval"
)

// Load is a closed loop: each client sends its next batch as soon as the one
// before it is answered.
type Load struct {
	Texts          []string
	Clients, Batch int
	Passes         int           // through the texts, where Duration is 0
	Duration       time.Duration // no call starts after it
	// Skip is how many calls to leave out at the beginning of the first pass, so
	// that one load can go on where another has ended.
	Skip int
}

// Measured is the outcome of a load. A percentile is the nearest-rank one of
// the calls' times.
type Measured struct {
	Clients         int     `json:"clients"`
	Batch           int     `json:"batch"`
	Calls           int     `json:"calls"`
	Items           int     `json:"items"`
	Errors          int     `json:"errors"` // items without an answer
	Tokens          int     `json:"tokens"` // of the texts alone
	Seconds         float64 `json:"seconds"`
	ItemsPerSecond  float64 `json:"items_per_second"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	P50             float64 `json:"p50_ms"`
	P95             float64 `json:"p95_ms"`
	P99             float64 `json:"p99_ms"`

	Times []time.Duration `json:"-"` // of the calls, ascending
}

// Run drives c and measures. The first call that fails as a whole ends it.
func (l Load) Run(ctx context.Context, c eval.Classifier) (Measured, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]worker, l.Clients)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			if err := workers[i].run(ctx, l, c, &next, start); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return Measured{}, err
	}
	return l.sum(workers, elapsed), nil
}

// calls is how many calls one pass through the texts takes.
func (l Load) calls() int64 { return int64((len(l.Texts) + l.Batch - 1) / l.Batch) }

// texts of call n; passes follow one another.
func (l Load) call(n int64) []string {
	from := int((n+int64(l.Skip))%l.calls()) * l.Batch
	return l.Texts[from:min(from+l.Batch, len(l.Texts))]
}

func (l Load) over(n int64, start time.Time) bool {
	if l.Duration > 0 {
		return time.Since(start) >= l.Duration
	}
	return n >= l.calls()*int64(l.Passes)
}

// worker is one client.
type worker struct {
	times                 []time.Duration
	items, errors, tokens int
}

func (k *worker) run(ctx context.Context, l Load, c eval.Classifier, next *atomic.Int64, start time.Time) error {
	for ctx.Err() == nil {
		n := next.Add(1) - 1
		if l.over(n, start) {
			return nil
		}
		texts := l.call(n)
		sent := time.Now()
		answers, err := c.Classify(ctx, texts)
		if err != nil {
			return err
		}
		k.times = append(k.times, time.Since(sent))
		if len(answers) != len(texts) {
			return fmt.Errorf("%d answers to %d texts", len(answers), len(texts))
		}
		for _, a := range answers {
			k.items++
			k.tokens += a.Tokens
			if a.Err != nil {
				k.errors++
			}
		}
	}
	return nil
}

func (l Load) sum(workers []worker, elapsed time.Duration) Measured {
	m := Measured{Clients: l.Clients, Batch: l.Batch, Seconds: elapsed.Seconds()}
	for _, k := range workers {
		m.Times = append(m.Times, k.times...)
		m.Items += k.items
		m.Errors += k.errors
		m.Tokens += k.tokens
	}
	m.derive()
	return m
}

// Join pools runs of one load, as if each had gone on where the one before it
// ended.
func Join(runs ...Measured) Measured {
	var m Measured
	for _, r := range runs {
		m.Clients, m.Batch = r.Clients, r.Batch
		m.Items += r.Items
		m.Errors += r.Errors
		m.Tokens += r.Tokens
		m.Seconds += r.Seconds
		m.Times = append(m.Times, r.Times...)
	}
	m.derive()
	return m
}

// derive fills what follows from the counts, the seconds and the times.
func (m *Measured) derive() {
	m.Calls = len(m.Times)
	if m.Seconds > 0 {
		m.ItemsPerSecond = float64(m.Items) / m.Seconds
		m.TokensPerSecond = float64(m.Tokens) / m.Seconds
	}
	slices.Sort(m.Times)
	m.P50, m.P95, m.P99 = percentile(m.Times, .50), percentile(m.Times, .95), percentile(m.Times, .99)
}

// percentile is the smallest of the sorted times that at least the share q of
// them does not exceed, in milliseconds; 0 for none.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return float64(sorted[max(rank, 1)-1]) / float64(time.Millisecond)
}
