package labels

import (
	"fmt"
	"math"
	"slices"
)

// minTemperature and maxTemperature bound a calibration: beyond them every
// answer is sure, or every answer is a guess, which is a fit gone wrong.
const (
	minTemperature = 0.01
	maxTemperature = 100
)

// Calibration maps a model's probabilities to ones that match how often it is
// right, by one temperature fitted on held-out rows.
type Calibration struct {
	Temperature float64 `json:"temperature"` // above 1 softens, below 1 sharpens
}

// Validate reports a temperature that is not a number between 0.01 and 100.
func (c Calibration) Validate() error {
	if !(c.Temperature >= minTemperature && c.Temperature <= maxTemperature) {
		return fmt.Errorf("calibration temperature is %v, outside [%v, %v]", c.Temperature, minTemperature, maxTemperature)
	}
	return nil
}

// Apply returns p^(1/T), renormalised, for every probability p of d. It keeps
// their order, and zeros stay zero. d must be a distribution and c valid.
func (c Calibration) Apply(d Distribution) Distribution {
	_, p := d.Best()
	if c.Temperature == 1 || !(p > 0) {
		return slices.Clone(d)
	}
	logs := make([]float64, len(d))
	for i, x := range d {
		logs[i] = math.Log(x)
	}
	return softmax(logs, math.Log(p), c.Temperature)
}

// Policy says which answers a person must look at.
type Policy struct {
	Threshold float64 `json:"threshold"` // least probability that needs no review
}

// Validate reports a threshold that is not a number between 0 and 1.
func (p Policy) Validate() error {
	if !(p.Threshold >= 0 && p.Threshold <= 1) {
		return fmt.Errorf("review threshold is %v, outside [0, 1]", p.Threshold)
	}
	return nil
}

// Review reports whether the best probability of d is below the threshold.
func (p Policy) Review(d Distribution) bool {
	_, best := d.Best()
	return best < p.Threshold
}
