package eval

import (
	"math"
	"slices"
	"time"
)

// Timing is how long answers took; it is the part of a report that another run on the
// same inputs does not repeat.
type Timing struct {
	Seconds       float64  `json:"seconds"` // in calls of the classifier
	RowsPerSecond float64  `json:"rows_per_second"`
	Latency       *Latency `json:"latency"` // nil where no text went alone
	// Cost is that of 1,000 rows, in the currency of the price; nil without a price.
	Cost *float64 `json:"cost_per_1000"`
}

// Latency has nearest-rank percentiles of the times of single texts, in milliseconds.
type Latency struct {
	Texts int     `json:"texts"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
}

// Times are those of calls.
type Times struct {
	Alone   []time.Duration // of calls with one text, where that was the wish
	Batched int             // texts of the other calls
	Others  time.Duration   // those calls together
}

func (t *Times) add(took time.Duration, texts int, alone bool) {
	if alone {
		t.Alone = append(t.Alone, took)
		return
	}
	t.Batched += texts
	t.Others += took
}

// NewTiming sums up. The rate is that of batches, where there were any.
func NewTiming(t Times) Timing {
	alone := time.Duration(0)
	for _, took := range t.Alone {
		alone += took
	}
	out := Timing{Seconds: (alone + t.Others).Seconds()}
	texts, took := t.Batched, t.Others
	if texts == 0 {
		texts, took = len(t.Alone), alone
	}
	if took > 0 {
		out.RowsPerSecond = float64(texts) / took.Seconds()
	}
	if len(t.Alone) == 0 {
		return out
	}
	sorted := slices.Sorted(slices.Values(t.Alone))
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(sorted)))) - 1
		return float64(sorted[max(0, i)]) / float64(time.Millisecond)
	}
	out.Latency = &Latency{len(sorted), at(0.50), at(0.95), at(0.99)}
	return out
}
