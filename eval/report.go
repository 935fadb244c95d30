package eval

import (
	"bytes"
	"encoding/json"
)

// Report is the outcome of one evaluation. All fractions are in [0, 1].
type Report struct {
	Model    string `json:"model"`
	Artifact string `json:"artifact"` // digest of what answered: "sha256:…"
	Scoring  string `json:"scoring"`
	Engine   string `json:"engine"`
	Dataset  string `json:"dataset"` // see DatasetDigest

	Rows    int `json:"rows"`
	Errors  int `json:"errors"` // rows without an answer; each counts as wrong
	Correct int `json:"correct"`

	Accuracy float64 `json:"accuracy"`
	// AccuracyInterval is Wilson's at 95 %: low, high.
	AccuracyInterval [2]float64 `json:"accuracy_interval"`
	// MacroF1 is the mean F1 of the labels that occur as a truth or as a
	// prediction; labels that do neither say nothing and are left out.
	MacroF1 float64 `json:"macro_f1"`
	// WeightedF1 is the mean F1 of the labels, each weighted by its support.
	WeightedF1 float64 `json:"weighted_f1"`
	// The intervals of both are the bootstrap's percentiles at 95 %.
	MacroF1Interval    [2]float64 `json:"macro_f1_interval"`
	WeightedF1Interval [2]float64 `json:"weighted_f1_interval"`
	// MCC is Matthews' correlation coefficient for several classes (Gorodkin, 2004),
	// in [-1, 1]; a row without an answer counts as predicted to be a class of its own.
	MCC float64 `json:"mcc"`
	// TopK has the share of rows whose true label is among the k most probable, for k
	// from 1; at most five, and none where no probabilities were told.
	TopK []float64 `json:"top_k"`
	// LogLoss is the mean of −ln p(true label) over the answered rows, in
	// nats, a p below MinProbability taken as that; nil if none was answered.
	LogLoss *float64 `json:"log_loss"`
	// MeanConfidence is the mean probability of the predicted label over the
	// answered rows; nil if none was answered.
	MeanConfidence *float64 `json:"mean_confidence"`
	// Confidences counts the answers by ConfidenceBin, for drift; none where no
	// probabilities were told.
	Confidences []int `json:"confidences"`
	// Calibration and Coverage are nil where no probabilities were told.
	Calibration *Calibration `json:"calibration"`
	Coverage    *Coverage    `json:"coverage"`
	Review      int          `json:"review"`    // rows the policy would send to a person
	Truncated   int          `json:"truncated"` // rows whose end was cut off
	// LabelOnly counts rows answered by a label without probabilities. If there are
	// any, nothing is said of probabilities.
	LabelOnly int `json:"label_only"`

	Resumed int `json:"resumed"` // rows that an earlier run answered
	Timing

	Labels   []string `json:"labels"` // in the set's order
	PerClass PerClass `json:"per_class"`
	// Confusion counts rows by true label (outer) and predicted label (inner),
	// both in the order of Labels. A row without an answer is in no cell, so
	// an outer row sums to its support less its errors.
	Confusion [][]int   `json:"confusion"`
	Failures  []Failure `json:"failures"`
	// Mistakes are the surest wrong answers, at most 50; none where no probabilities
	// were told.
	Mistakes []Mistake `json:"mistakes"`
}

// Class is one label's figures. A quotient of nothing by nothing is 0.
type Class struct {
	Label     string  `json:"-"`
	Precision float64 `json:"precision"` // share of its predictions that are right
	Recall    float64 `json:"recall"`    // share of its rows that are found
	F1        float64 `json:"f1"`        // harmonic mean of both
	Support   int     `json:"support"`   // rows with this true label
	Predicted int     `json:"predicted"` // rows predicted as it
	Errors    int     `json:"errors"`    // rows with this true label and no answer
	// The intervals hold 95 %: Wilson's of the shares, the bootstrap's percentiles of F1.
	PrecisionInterval [2]float64 `json:"precision_interval"`
	RecallInterval    [2]float64 `json:"recall_interval"`
	F1Interval        [2]float64 `json:"f1_interval"`
}

// PerClass holds every label's figures in the set's order. Its JSON is an
// object keyed by label in that same order.
type PerClass []Class

// MarshalJSON writes the object.
func (p PerClass) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := appendJSON(&b, c.Label); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := appendJSON(&b, c); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func appendJSON(b *bytes.Buffer, v any) error {
	raw, err := json.Marshal(v)
	b.Write(raw)
	return err
}

// Failure is a row that got no answer.
type Failure struct {
	Line   int    `json:"line"`
	Answer string `json:"answer"` // its true label
	Error  string `json:"error"`
}
