package main

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

// workload is a closed loop: each client sends its next batch as soon as the
// one before it is answered.
type workload struct {
	texts          []string
	clients, batch int
	passes         int           // through the texts, where duration is 0
	duration       time.Duration // no call starts after it
}

// measured is one mode's outcome. A percentile is the nearest-rank one of the
// calls' times.
type measured struct {
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
}

// run drives c and measures. The first call that fails as a whole ends it.
func (w workload) run(ctx context.Context, c eval.Classifier) (measured, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]worker, w.clients)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			if err := workers[i].run(ctx, w, c, &next, start); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return measured{}, err
	}
	return w.sum(workers, elapsed), nil
}

// calls is how many calls one pass through the texts takes.
func (w workload) calls() int64 { return int64((len(w.texts) + w.batch - 1) / w.batch) }

// texts of call n; passes follow one another.
func (w workload) call(n int64) []string {
	from := int(n%w.calls()) * w.batch
	return w.texts[from:min(from+w.batch, len(w.texts))]
}

func (w workload) over(n int64, start time.Time) bool {
	if w.duration > 0 {
		return time.Since(start) >= w.duration
	}
	return n >= w.calls()*int64(w.passes)
}

// worker is one client.
type worker struct {
	times                 []time.Duration
	items, errors, tokens int
}

func (k *worker) run(ctx context.Context, w workload, c eval.Classifier, next *atomic.Int64, start time.Time) error {
	for ctx.Err() == nil {
		n := next.Add(1) - 1
		if w.over(n, start) {
			return nil
		}
		texts := w.call(n)
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

func (w workload) sum(workers []worker, elapsed time.Duration) measured {
	m := measured{Clients: w.clients, Batch: w.batch, Seconds: elapsed.Seconds()}
	var times []time.Duration
	for _, k := range workers {
		times = append(times, k.times...)
		m.Items += k.items
		m.Errors += k.errors
		m.Tokens += k.tokens
	}
	m.Calls = len(times)
	if m.Seconds > 0 {
		m.ItemsPerSecond = float64(m.Items) / m.Seconds
		m.TokensPerSecond = float64(m.Tokens) / m.Seconds
	}
	slices.Sort(times)
	m.P50, m.P95, m.P99 = percentile(times, .50), percentile(times, .95), percentile(times, .99)
	return m
}

// percentile is the smallest of the sorted times that at least the share q of
// them does not exceed, in milliseconds; 0 for none.
func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return milliseconds(sorted[max(rank, 1)-1])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
