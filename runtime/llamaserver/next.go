package llamaserver

import (
	"context"
	"fmt"
	"math"
	"net/http"

	"cubby/labels"
	"cubby/runtime/remote"
)

// depths are how many of the likeliest tokens are asked for, one after the other
// while columns that matter are missing. The server has the log probabilities of
// the whole vocabulary and only writes out as many: a hundred cost as much as one,
// a thousand 3 ms more, all 49,152 of SmolLM2 150 ms. Asking again costs one token,
// because it keeps the sequence.
var depths = []int{128, 1024, 16384}

// settled is the share of the columns' probability that need not be told apart.
const settled = 1e-4

// question is the body of POST /completion. With post_sampling_probs left false the
// probabilities are the model's own, before any sampler.
type question struct {
	Prompt      []labels.Token `json:"prompt"`
	Predict     int            `json:"n_predict"`
	Probs       int            `json:"n_probs"`
	CachePrompt bool           `json:"cache_prompt"`
	Temperature float64        `json:"temperature"`
	Stream      bool           `json:"stream"`
	Fields      []string       `json:"response_fields"`
}

var fields = []string{"completion_probabilities", "tokens_evaluated"}

// answer is what is read of it. Pointers tell null and absent from zero.
type answer struct {
	Probabilities []struct {
		Top []struct {
			ID   *labels.Token `json:"id"`
			LogP *float64      `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"completion_probabilities"`
	Evaluated int `json:"tokens_evaluated"`
}

// orderSlack is how much a log probability may exceed the one before it, by rounding.
const orderSlack = 1e-3

// Next asks for the likeliest tokens, and for more while the columns need them.
func (s *server) Next(ctx context.Context, sequence, columns []labels.Token) (remote.Told, error) {
	var told remote.Told
	for _, k := range depths {
		var a answer
		q := question{Prompt: sequence, Predict: 1, Probs: k, CachePrompt: true, Fields: fields}
		if err := s.call(ctx, http.MethodPost, "/completion", q, &a); err != nil {
			return told, err
		}
		var all bool
		var err error
		if told, all, err = s.read(a, len(sequence), columns, k); err != nil {
			return told, err
		}
		if all || told.Share() <= settled {
			break
		}
	}
	return told, nil
}

// read picks the columns, and says whether the whole vocabulary was told.
func (s *server) read(a answer, tokens int, columns []labels.Token, k int) (t remote.Told, all bool, err error) {
	switch {
	case a.Evaluated != tokens:
		return t, false, s.unreadable(fmt.Sprintf("it read %d tokens of a sequence of %d", a.Evaluated, tokens))
	case len(a.Probabilities) == 0 || len(a.Probabilities[0].Top) == 0:
		return t, false, s.unreadable("it tells no log probabilities (completion_probabilities with top_logprobs)")
	}
	top := a.Probabilities[0].Top
	logp := make(map[labels.Token]float64, len(top))
	t.Least = math.Inf(1)
	for _, v := range top {
		if v.ID == nil || v.LogP == nil {
			return t, false, s.unreadable("a log probability has no id or no value")
		}
		if _, twice := logp[*v.ID]; twice || *v.ID < 0 || *v.LogP > t.Least+orderSlack {
			return t, false, s.unreadable("its tokens are not those of the vocabulary, the likeliest first")
		}
		logp[*v.ID] = *v.LogP
		t.Mass += math.Exp(*v.LogP)
		t.Least = min(t.Least, *v.LogP)
	}
	t.LogP = make([]float64, len(columns))
	for i, c := range columns {
		v, ok := logp[c]
		if !ok {
			v = math.NaN()
		}
		t.LogP[i] = v
	}
	return t, len(top) < k, nil
}
