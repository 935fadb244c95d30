package eval

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/optimize"

	"cubby/labels"
)

const (
	// MinFitRows is the fewest answered rows that a temperature is fitted to: below,
	// its interval spans a factor of two and more.
	MinFitRows = 50
	// MinFitErrors is the fewest wrong answers among them. Without mistakes, the best
	// temperature is 0.
	MinFitErrors = 5
	// vectorRowsPerLabel and vectorRows are the fewest rows for vector scaling.
	vectorRowsPerLabel = 20
	vectorRows         = 500
	folds              = 10
	// fitFloor is the least probability that a fit works with; zeros stay zero where the
	// calibration is applied.
	fitFloor = 1e-12
	// pull holds the parameters of vector scaling to those of the temperature: the weight of
	// their squared distance, beside a loss of 1 a row.
	pull = 1.0
)

// Fit is a calibration fitted to rows that the model was not trained on.
type Fit struct {
	labels.Calibration
	// Interval is of the temperature: the bootstrap's percentiles at 95 %.
	Interval [2]float64 `json:"interval"`
	Rows     int        `json:"rows"`   // answered
	Errors   int        `json:"errors"` // of them, wrong
	// Before, Temperature and Vector are measured on rows that the fit was not made on:
	// ten parts, each answered by the fit to the other nine. Vector is nil where there
	// were too few rows for it.
	Before           Held  `json:"before"`
	AfterTemperature Held  `json:"after_temperature"`
	AfterVector      *Held `json:"after_vector"`
	Improves         bool  `json:"improves"` // the loss, beyond what chance gives
}

// Held has figures on held-out rows.
type Held struct {
	LogLoss  float64 `json:"log_loss"`
	ECE      float64 `json:"ece"`
	Accuracy float64 `json:"accuracy"`
	// Gain is the loss that is saved a row, against no calibration for the temperature
	// and against the temperature for vector scaling, with the paired bootstrap's
	// percentiles at 95 %.
	Gain Difference `json:"gain"`

	losses []float64
}

// FitCalibration fits a temperature to uncalibrated answers (Guo, Pleiss, Sun and
// Weinberger, 2017), and with enough rows a scale and a bias for each label (vector
// scaling). The latter is chosen where it saves loss on held-out rows beyond chance.
func FitCalibration(set *labels.Set, rows []Row, answers []Answer) (*Fit, error) {
	truth, err := Truth(set, rows)
	if err != nil {
		return nil, err
	}
	all := samples(truth, answers)
	f := &Fit{Rows: len(all)}
	for _, s := range all {
		if best, _ := s.d.Best(); best != s.truth {
			f.Errors++
		}
	}
	if f.Rows < MinFitRows || f.Errors < MinFitErrors {
		return nil, fmt.Errorf("%d answered rows with %d wrong answers are too few to fit a calibration to: it takes %d and %d, and 200 rows or more for a narrow interval", f.Rows, f.Errors, MinFitRows, MinFitErrors)
	}
	f.Calibration = labels.Calibration{Temperature: temperature(all, nil)}
	f.Interval = temperatureInterval(all)
	f.Before = held(all, func([]sample) (labels.Calibration, error) { return labels.Calibration{Temperature: 1}, nil })
	f.AfterTemperature = held(all, func(s []sample) (labels.Calibration, error) {
		return labels.Calibration{Temperature: temperature(s, nil)}, nil
	})
	f.AfterTemperature.Gain = gain(f.Before, f.AfterTemperature)
	f.Improves = f.AfterTemperature.Gain.Interval[0] > 0
	if f.Rows < max(vectorRows, vectorRowsPerLabel*set.Len()) {
		return f, nil
	}
	f.tryVector(all)
	return f, nil
}

func (f *Fit) tryVector(all []sample) {
	after := held(all, vector)
	after.Gain = gain(f.AfterTemperature, after)
	f.AfterVector = &after
	if after.Gain.Interval[0] <= 0 {
		return
	}
	c, err := vector(all)
	if err != nil {
		return // the fit to nine parts was possible, that to all is not: the temperature stays
	}
	f.Improves, f.Calibration = gain(f.Before, after).Interval[0] > 0, c
}

// sample is an answered row.
type sample struct {
	d     labels.Distribution
	logs  []float64 // of d, at least that of fitFloor
	truth int
}

func samples(truth []int, answers []Answer) []sample {
	var out []sample
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		s := sample{d: a.Distribution, truth: truth[i], logs: make([]float64, len(a.Distribution))}
		for k, p := range a.Distribution {
			s.logs[k] = math.Log(max(p, fitFloor))
		}
		out = append(out, s)
	}
	return out
}

// temperature minimises the log loss, which is convex in 1/T; counts say how often each
// sample counts.
func temperature(all []sample, counts []int32) float64 {
	low, high := -math.Log(labels.MaxTemperature), -math.Log(labels.MinTemperature)
	for range 60 {
		middle := (low + high) / 2
		if slope(all, counts, math.Exp(middle)) > 0 {
			high = middle
		} else {
			low = middle
		}
	}
	return math.Exp(-(low + high) / 2)
}

// slope is that of the loss by 1/T.
func slope(all []sample, counts []int32, beta float64) float64 {
	sum := 0.0
	for i, s := range all {
		n := 1.0
		if counts != nil {
			n = float64(counts[i])
		}
		if n == 0 {
			continue
		}
		_, top := s.d.Best()
		top = math.Log(max(top, fitFloor))
		norm, mean := 0.0, 0.0
		for _, z := range s.logs {
			e := math.Exp(beta * (z - top))
			norm += e
			mean += e * z
		}
		sum += n * (mean/norm - s.logs[s.truth])
	}
	return sum
}

func temperatureInterval(all []sample) [2]float64 {
	var values []float64
	bootstrapTimes(fitResamples, len(all), func(counts []int32) { values = append(values, temperature(all, counts)) })
	return percentiles(values)
}

// fitResamples is how often a temperature is fitted for its interval.
const fitResamples = 200

// held answers every row by a fit to rows of other parts.
func held(all []sample, fit func([]sample) (labels.Calibration, error)) Held {
	part := make([]int, len(all))
	for i, at := range newRandom().Perm(len(all)) {
		part[at] = i % folds
	}
	h := Held{losses: make([]float64, len(all))}
	list := make([]outcome, len(all))
	for k := range folds {
		var others []sample
		for i, s := range all {
			if part[i] != k {
				others = append(others, s)
			}
		}
		c, err := fit(others)
		if err != nil {
			c = labels.Calibration{Temperature: 1}
		}
		for i, s := range all {
			if part[i] != k {
				continue
			}
			d := c.Apply(s.d)
			list[i] = outcome{truth: s.truth}
			list[i].best, list[i].confidence = d.Best()
			h.losses[i] = -math.Log(max(d[s.truth], fitFloor))
		}
	}
	hits := 0
	for i, o := range list {
		h.LogLoss += h.losses[i] / float64(len(all))
		if o.right() {
			hits++
		}
	}
	h.Accuracy, h.ECE = ratio(hits, len(all)), ece(byConfidence(list), nil)
	return h
}

// gain is the mean of what b saves against a.
func gain(a, b Held) Difference {
	d := Difference{Value: a.LogLoss - b.LogLoss}
	var values []float64
	bootstrap(len(a.losses), func(counts []int32) {
		sum := 0.0
		for i, n := range counts {
			sum += float64(n) * (a.losses[i] - b.losses[i])
		}
		values = append(values, sum/float64(len(counts)))
	})
	d.Interval = percentiles(values)
	return d
}

// vector fits a scale and a bias for each label.
func vector(all []sample) (labels.Calibration, error) {
	c := labels.Calibration{Temperature: temperature(all, nil)}
	classes := len(all[0].d)
	v := vectorFit{all: all, scale: 1 / c.Temperature, classes: classes, weight: pull}
	start := make([]float64, 2*classes)
	for k := range classes {
		start[k] = v.scale
	}
	settings := optimize.Settings{MajorIterations: 500, GradientThreshold: 1e-6 * float64(len(all))}
	res, err := optimize.Minimize(optimize.Problem{Func: v.loss, Grad: v.gradient}, start, &settings, &optimize.LBFGS{})
	if res == nil || res.X == nil {
		return c, fmt.Errorf("vector scaling cannot be fitted: %w", err)
	}
	c.Scale, c.Bias = res.X[:classes], res.X[classes:]
	return c, c.Validate()
}

type vectorFit struct {
	all     []sample
	scale   float64
	classes int
	weight  float64
}

// scores returns those of a sample, and the logarithm of their exponentials' sum.
func (v *vectorFit) scores(x []float64, s sample) ([]float64, float64) {
	out, top := make([]float64, v.classes), math.Inf(-1)
	for k, z := range s.logs {
		out[k] = x[k]*z + x[v.classes+k]
		top = max(top, out[k])
	}
	sum := 0.0
	for _, z := range out {
		sum += math.Exp(z - top)
	}
	return out, top + math.Log(sum)
}

func (v *vectorFit) loss(x []float64) float64 {
	sum := 0.0
	for _, s := range v.all {
		scores, norm := v.scores(x, s)
		sum += norm - scores[s.truth]
	}
	for k := range v.classes {
		sum += v.weight * ((x[k]-v.scale)*(x[k]-v.scale) + x[v.classes+k]*x[v.classes+k])
	}
	return sum
}

func (v *vectorFit) gradient(grad, x []float64) {
	for k := range v.classes {
		grad[k], grad[v.classes+k] = 2*v.weight*(x[k]-v.scale), 2*v.weight*x[v.classes+k]
	}
	for _, s := range v.all {
		scores, norm := v.scores(x, s)
		for k, z := range s.logs {
			d := math.Exp(scores[k] - norm)
			if k == s.truth {
				d--
			}
			grad[k] += d * z
			grad[v.classes+k] += d
		}
	}
}
