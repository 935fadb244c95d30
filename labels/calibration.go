package labels

import (
	"fmt"
	"math"
	"slices"
)

// MinTemperature and MaxTemperature bound a calibration: beyond them every
// answer is sure, or every answer is a guess, which is a fit gone wrong.
const (
	MinTemperature = 0.01
	MaxTemperature = 100
)

// maxBias bounds the biases of a calibration: e to that power is a factor of 10²¹.
const maxBias = 50

// Calibration maps a model's probabilities to ones that match how often it is
// right, fitted on held-out rows: by one temperature, or by a scale and a bias of
// each label (Guo, Pleiss, Sun and Weinberger, 2017).
type Calibration struct {
	Temperature float64 `json:"temperature"` // above 1 softens, below 1 sharpens
	// Scale and Bias have one value a label, or are both empty. With them, the
	// temperature is only told, as that which would be used without.
	Scale []float64 `json:"scale,omitempty"`
	Bias  []float64 `json:"bias,omitempty"`
	// On is the digest of what was calibrated: see models.Manifest.Scored. A
	// calibration of anything else does not count. Empty counts for everything.
	On string `json:"on,omitempty"`
	// Dataset and Rows are those of the fit.
	Dataset string `json:"dataset,omitempty"`
	Rows    int    `json:"rows,omitempty"`
}

// Validate reports values that no fit ends with, and that the lists are of different
// lengths.
func (c Calibration) Validate() error {
	if !(c.Temperature >= MinTemperature && c.Temperature <= MaxTemperature) {
		return fmt.Errorf("calibration temperature is %v, outside [%v, %v]", c.Temperature, MinTemperature, MaxTemperature)
	}
	if len(c.Scale) != len(c.Bias) {
		return fmt.Errorf("calibration has %d scales and %d biases", len(c.Scale), len(c.Bias))
	}
	for i := range c.Scale {
		if !(c.Scale[i] >= 1/float64(MaxTemperature) && c.Scale[i] <= 1/float64(MinTemperature)) || !(math.Abs(c.Bias[i]) <= maxBias) {
			return fmt.Errorf("calibration of label %d has the scale %v, outside [%v, %v], or the bias %v, beyond %v", i, c.Scale[i], 1/float64(MaxTemperature), 1/float64(MinTemperature), c.Bias[i], maxBias)
		}
	}
	return nil
}

// Apply returns p^(1/T), or p^scale·e^bias of each label, renormalised, for every
// probability p of d. Zeros stay zero, and a temperature keeps the order. d must be a
// distribution and c valid for as many labels.
func (c Calibration) Apply(d Distribution) Distribution {
	_, p := d.Best()
	if len(c.Scale) == 0 && c.Temperature == 1 || !(p > 0) {
		return slices.Clone(d)
	}
	logs, top := make([]float64, len(d)), math.Inf(-1)
	for i, x := range d {
		logs[i] = math.Log(x)
		if len(c.Scale) > 0 && x > 0 {
			logs[i] = c.Scale[i]*logs[i] + c.Bias[i]
		}
		top = max(top, logs[i])
	}
	if len(c.Scale) > 0 {
		return softmax(logs, top, 1)
	}
	return softmax(logs, top, c.Temperature)
}

// Policy says which answers a person must look at.
type Policy struct {
	Threshold float64 `json:"threshold"` // least probability that needs no review
	// MaxError is what the share of wrong answers at or above the threshold stays
	// below, with the probability Confidence; 0 for a threshold set by hand.
	MaxError   float64 `json:"max_error,omitempty"`
	Confidence float64 `json:"confidence,omitempty"`
	// Coverage is the share of the rows of Dataset that were at or above it.
	Coverage float64 `json:"coverage,omitempty"`
	Dataset  string  `json:"dataset,omitempty"`
	Rows     int     `json:"rows,omitempty"`
	On       string  `json:"on,omitempty"` // as that of a Calibration
}

// Validate reports a number that is not between 0 and 1.
func (p Policy) Validate() error {
	for i, x := range []float64{p.Threshold, p.MaxError, p.Confidence, p.Coverage} {
		if !(x >= 0 && x <= 1) {
			return fmt.Errorf("the policy's %s is %v, outside [0, 1]", []string{"review threshold", "max_error", "confidence", "coverage"}[i], x)
		}
	}
	return nil
}

// Review reports whether the best probability of d is below the threshold.
func (p Policy) Review(d Distribution) bool {
	_, best := d.Best()
	return best < p.Threshold
}
