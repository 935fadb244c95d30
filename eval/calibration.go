package eval

import "math"

// Bins is into how many bins of equally many rows the confidences are sorted.
const Bins = 15

// Bin holds the answered rows of neighbouring confidences. Rows of the same
// confidence share a bin, so that their order does not matter.
type Bin struct {
	Rows             int        `json:"rows"`
	Confidence       float64    `json:"confidence"` // mean
	Accuracy         float64    `json:"accuracy"`
	AccuracyInterval [2]float64 `json:"accuracy_interval"` // Wilson's at 95 %
}

// Calibration says how far confidences are from how often answers are right.
type Calibration struct {
	// Brier is the mean of the squared distances between the distributions and the
	// truths, in [0, 2] (Brier, 1950).
	Brier float64 `json:"brier"`
	// ECE is the expected calibration error over Bins: the mean distance between the
	// accuracy and the mean confidence of a bin, weighted by its rows.
	ECE float64 `json:"ece"`
	// ECEInterval is the basic bootstrap's at 95 %, at least 0: a resample's ECE is
	// too large by about as much as that of the sample.
	ECEInterval [2]float64 `json:"ece_interval"`
	// ECENoise is what the ECE of probabilities without fault would stay below in 95
	// of 100 test sets of these confidences (after Bröcker and Smith, 2007, who draw the
	// confidences as well). An ECE under it
	// shows no fault.
	ECENoise float64 `json:"ece_noise"`
	Bins     []Bin   `json:"bins"` // the surest first
}

// group is a run of sorted outcomes.
type group struct{ from, to int }

// binned cuts sorted outcomes, of which row i counts counts[i] times or, without
// counts, once.
func binned(sorted []outcome, counts []int32, use func(group)) {
	total := 0
	count := func(i int) int {
		if counts == nil {
			return 1
		}
		return int(counts[i])
	}
	for i := range sorted {
		total += count(i)
	}
	seen, from, bin := 0, 0, 1
	for i := range sorted {
		seen += count(i)
		last := i+1 == len(sorted)
		if !last && (tied(sorted[i], sorted[i+1]) || seen*Bins < bin*total) {
			continue
		}
		use(group{from, i + 1})
		from, bin = i+1, seen*Bins/max(1, total)+1
	}
}

// ece is the calibration error of sorted outcomes.
func ece(sorted []outcome, counts []int32) float64 {
	sum, rows := 0.0, 0
	binned(sorted, counts, func(g group) {
		gap := 0.0
		for i := g.from; i < g.to; i++ {
			n := 1
			if counts != nil {
				n = int(counts[i])
			}
			rows += n
			gap += float64(n) * sorted[i].confidence
			if sorted[i].right() {
				gap -= float64(n)
			}
		}
		sum += math.Abs(gap)
	})
	return sum / float64(max(1, rows))
}

// calibration measures the rows that were answered.
func calibration(list []outcome, truth []int, answers []Answer) *Calibration {
	sorted := byConfidence(list)
	for len(sorted) > 0 && !sorted[len(sorted)-1].answered() {
		sorted = sorted[:len(sorted)-1]
	}
	if len(sorted) == 0 {
		return nil
	}
	c := &Calibration{Brier: brier(truth, answers), ECE: ece(sorted, nil)}
	binned(sorted, nil, func(g group) { c.Bins = append(c.Bins, newBin(sorted[g.from:g.to])) })
	var values []float64
	bootstrap(len(sorted), func(counts []int32) { values = append(values, ece(sorted, counts)) })
	spread := percentiles(values)
	c.ECEInterval = [2]float64{max(0, 2*c.ECE-spread[1]), max(0, 2*c.ECE-spread[0])}
	c.ECENoise = noise(sorted)
	return c
}

func newBin(rows []outcome) Bin {
	hits, confidence := 0, 0.0
	for _, o := range rows {
		confidence += o.confidence
		if o.right() {
			hits++
		}
	}
	return Bin{Rows: len(rows), Confidence: confidence / float64(len(rows)), Accuracy: ratio(hits, len(rows)), AccuracyInterval: wilson(hits, len(rows))}
}

// noise draws for each row whether it is right, by its confidence.
func noise(sorted []outcome) float64 {
	random, values := newRandom(), make([]float64, resamples(len(sorted)))
	drawn := make([]outcome, len(sorted))
	for k := range values {
		for i, o := range sorted {
			drawn[i] = outcome{truth: 1, confidence: o.confidence}
			if random.Float64() < o.confidence {
				drawn[i].best = 1
			}
		}
		values[k] = ece(drawn, nil)
	}
	return percentile95(values)
}

func brier(truth []int, answers []Answer) float64 {
	sum, rows := 0.0, 0
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		rows++
		for k, p := range a.Distribution {
			if k == truth[i] {
				p--
			}
			sum += p * p
		}
	}
	return sum / float64(max(1, rows))
}
