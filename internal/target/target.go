// Package target puts one face on whatever runs a model: this process or a
// classify-server.
package target

import (
	"context"
	"errors"
	"fmt"

	"cubby/eval"
	"cubby/internal/client"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
)

// Target is what answers: a model in this process or a server.
type Target interface {
	eval.Classifier
	Facts() Facts
	Close() error
}

// Facts are what is known of a target.
type Facts struct {
	Model      string
	Artifact   string
	Scoring    string
	OwnScoring string // the model's own
	Calibrated bool
	Labels     *labels.Set
	Engine     engine.Info
}

// local is a model in this process.
type local struct {
	backend runtime.Backend
	scoring models.Scoring // empty: the model's own
}

// Local returns a model in this process, which it owns. Scoring may be empty
// for the model's own.
func Local(b runtime.Backend, scoring string) Target {
	return &local{backend: b, scoring: models.Scoring(scoring)}
}

func (l *local) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	results, err := l.backend.Score(ctx, runtime.Request{Texts: texts, Scoring: l.scoring})
	if err != nil {
		return nil, err
	}
	answers := make([]eval.Answer, len(results))
	for i, r := range results {
		answers[i] = eval.Answer{Distribution: r.Distribution, Review: r.Review, Tokens: r.Tokens, Truncated: r.Truncated, Unresolved: r.Unresolved, LabelOnly: r.LabelOnly}
		if r.Err != nil {
			answers[i].Err = r.Err
		}
	}
	return answers, nil
}

func (l *local) Facts() Facts {
	info := l.backend.Info()
	f := Facts{
		Model: info.Model, Artifact: info.Artifact, Scoring: string(info.Scoring), OwnScoring: string(info.Scoring),
		Calibrated: info.Calibrated, Labels: info.Labels, Engine: info.Engine,
	}
	if l.scoring != "" {
		f.Scoring = string(l.scoring)
	}
	return f
}

func (l *local) Close() error { return l.backend.Close() }

// remote is a model on a classify-server.
type remote struct {
	client *client.Client
	model  string // as given; empty for the server's default
	asked  string // scoring as given; empty for the model's own
	facts  Facts
}

// Remote returns the model of that name on the client's server, its default
// one for "". Scoring may be empty for the model's own. It owns the client.
func Remote(ctx context.Context, c *client.Client, model, scoring string) (Target, error) {
	r, err := newRemote(ctx, c, model, scoring)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return r, nil
}

func newRemote(ctx context.Context, c *client.Client, model, scoring string) (*remote, error) {
	m, err := c.Model(ctx, model)
	if err != nil {
		return nil, err
	}
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		return nil, fmt.Errorf("labels of the server's model %q: %w", m.Name, err)
	}
	f := Facts{
		Model: m.Name, Artifact: m.Artifact, Scoring: m.Scoring, OwnScoring: m.Scoring, Calibrated: m.Calibrated, Labels: set,
		Engine: engine.Info{Engine: m.Engine, Kernel: m.Kernel, Precision: m.Precision, Threads: m.Threads},
	}
	if scoring != "" {
		f.Scoring = scoring
	}
	return &remote{client: c, model: model, asked: scoring, facts: f}, nil
}

func (r *remote) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	resp, err := r.client.Classify(ctx, client.Request{Model: r.model, Texts: texts, Scoring: r.asked})
	if err != nil {
		return nil, err
	}
	if resp.Artifact != "" && resp.Artifact != r.facts.Artifact {
		return nil, fmt.Errorf("the server changed its model under way, from %s to %s; run again", r.facts.Artifact, resp.Artifact)
	}
	answers := make([]eval.Answer, len(resp.Results))
	for i, result := range resp.Results {
		if answers[i], err = r.answer(result); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
	}
	return answers, nil
}

// answer puts a result's scores into the set's order.
func (r *remote) answer(result client.Result) (eval.Answer, error) {
	if result.Error != nil {
		return eval.Answer{Err: result.Error}, nil
	}
	set := r.facts.Labels
	if len(result.Scores) != set.Len() {
		return eval.Answer{}, fmt.Errorf("the server gave %d scores; its model has %d labels", len(result.Scores), set.Len())
	}
	d := make(labels.Distribution, set.Len())
	for _, s := range result.Scores {
		i, ok := set.Index(s.Label)
		if !ok {
			return eval.Answer{}, fmt.Errorf("the server gave a score to %q, which is none of its model's labels", s.Label)
		}
		d[i] = s.Probability
	}
	return eval.Answer{Distribution: d, Review: result.Review, Tokens: result.Tokens, Truncated: result.Truncated, Unresolved: result.Unresolved, LabelOnly: result.LabelOnly}, nil
}

func (r *remote) Facts() Facts { return r.facts }

func (r *remote) Close() error { return r.client.Close() }
