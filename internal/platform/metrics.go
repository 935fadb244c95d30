package platform

import (
	"context"
	"encoding/json"
)

// Metrics are what the platform measured on the test set; nil for what it did not.
type Metrics struct {
	Tuned, Base, Teacher *Scores
	// Predictions are the tuned model's, as JSONL.
	Predictions *Link
}

// Scores are those of one model.
type Scores struct {
	Accuracy *float64
	Classes  map[string]ClassScores
}

// ClassScores are those of one class. A score that is null is 0.
type ClassScores struct {
	Precision, Recall, F1, Support float64
}

// Metrics asks GET /slms/{id}/metrics, or
// GET /trainings/{id}/evaluation-results.
func (c *Client) Metrics(ctx context.Context, m Model) (*Metrics, error) {
	tail := "/metrics"
	if m.Family == Trained {
		tail = "/evaluation-results"
	}
	route, err := m.route(tail)
	if err != nil {
		return nil, err
	}
	a := ask{c: c, route: route}
	body, err := c.get(ctx, route, nil)
	if err != nil {
		return nil, err
	}
	links, err := a.parse(body, []string{"predictions_download_url", "finetuned_student_evaluation_predictions_download_url"})
	if err != nil {
		return nil, err
	}
	if asObject(body) == nil {
		return nil, unreadable("GET "+route, "it holds no metrics")
	}
	out := parseMetrics(body)
	out.Predictions = links[0]
	return &out, nil
}

// parseMetrics reads the scores of both shapes: an SLM's has a key for each model,
// a training's has them below evaluation_results, which the first platform wrote as
// JSON inside a string.
func parseMetrics(body json.RawMessage) Metrics {
	keys := []string{"tuned_model_performance", "base_model_performance", "evaluation_results", "training_evaluation_results", "evaluation results"}
	o := openEnvelope(body, keys...)
	if inner := asObject(o.first("training_evaluation_results", "evaluation_results", "evaluation results")); inner != nil {
		o = inner
	}
	return Metrics{
		Tuned:   parseScores(o.first("tuned_model_performance", "student-tuned")),
		Base:    parseScores(o.first("base_model_performance", "student-base")),
		Teacher: parseScores(o.first("teacher_performance", "teacher")),
	}
}

// parseScores reads one model's: accuracy is a number, every other value an
// object, named by its class.
func parseScores(raw json.RawMessage) *Scores {
	o := asObject(raw)
	if o == nil {
		return nil
	}
	s := &Scores{Classes: map[string]ClassScores{}}
	for key, value := range o {
		if f, ok := asNumber(value); ok && key == "accuracy" {
			s.Accuracy = &f
		}
		if c := asObject(value); c != nil {
			s.Classes[key] = ClassScores{c.number("precision"), c.number("recall"), c.number("f1-score"), c.number("support")}
		}
	}
	return s
}

func (o object) number(key string) float64 {
	f, _ := asNumber(o[key])
	return f
}

// MarshalJSON writes the platform's own form: the accuracy, and an object for each
// class.
func (s Scores) MarshalJSON() ([]byte, error) {
	out := map[string]any{"accuracy": s.Accuracy}
	for name, c := range s.Classes {
		out[name] = map[string]float64{"precision": c.Precision, "recall": c.Recall, "f1-score": c.F1, "support": c.Support}
	}
	return json.Marshal(out)
}
