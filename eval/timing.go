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
}

// Latency has nearest-rank percentiles of the times of single texts, in milliseconds.
type Latency struct {
	Texts int     `json:"texts"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
}

// timed sets the times of rows; their rate is that of batches where there were any.
func (r *Report) timed(times spent, rows int) {
	alone := time.Duration(0)
	for _, t := range times.alone {
		alone += t
	}
	r.Seconds = (alone + times.others).Seconds()
	batched, took := rows-len(times.alone), times.others
	if batched == 0 {
		batched, took = rows, alone
	}
	if took > 0 {
		r.RowsPerSecond = float64(batched) / took.Seconds()
	}
	if len(times.alone) == 0 {
		return
	}
	slices.Sort(times.alone)
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(times.alone)))) - 1
		return float64(times.alone[max(0, i)]) / float64(time.Millisecond)
	}
	r.Latency = &Latency{len(times.alone), at(0.50), at(0.95), at(0.99)}
}
