package predictions

import "encoding/json"

// Accuracy is the tuned model's in a metrics.json of either form: the scores of an
// SLM, or the evaluation results of a training. False where it tells none.
func Accuracy(metrics []byte) (float64, bool) {
	type scores struct {
		Accuracy *float64 `json:"accuracy"`
	}
	var m struct {
		Tuned   *scores `json:"tuned_model_performance"`
		Results struct {
			Tuned *scores `json:"student-tuned"`
		} `json:"evaluation_results"`
	}
	if json.Unmarshal(metrics, &m) != nil {
		return 0, false
	}
	for _, s := range []*scores{m.Tuned, m.Results.Tuned} {
		if s != nil && s.Accuracy != nil && *s.Accuracy >= 0 && *s.Accuracy <= 1 {
			return *s.Accuracy, true
		}
	}
	return 0, false
}
