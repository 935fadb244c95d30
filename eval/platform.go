package eval

import "bytes"

// PlatformMetrics writes a report as distil labs' platform writes its own for a
// classification model: "accuracy", and for each label precision, recall, f1-score
// and support, all in one object.
func (r *Report) PlatformMetrics() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"accuracy":`)
	if err := appendJSON(&b, r.Accuracy); err != nil {
		return nil, err
	}
	for _, c := range r.PerClass {
		b.WriteByte(',')
		if err := appendJSON(&b, c.Label); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := appendJSON(&b, struct {
			Precision float64 `json:"precision"`
			Recall    float64 `json:"recall"`
			F1        float64 `json:"f1-score"`
			Support   float64 `json:"support"`
		}{c.Precision, c.Recall, c.F1, float64(c.Support)}); err != nil {
			return nil, err
		}
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}
