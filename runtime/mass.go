package runtime

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"cubby/labels"
	"cubby/models"
)

// AnswerMass returns, for each form of answer, the probability that the model
// writes one of the labels in that form behind the canary text. The form that it
// was trained on has nearly all of it. An engine that tells no probabilities has
// none to return.
func (m *Model) AnswerMass(ctx context.Context, forms []models.Answer) ([]float64, error) {
	if m.scorer.trie == nil || m.engine.Info().LabelOnly {
		return nil, nil
	}
	masses := make([]float64, len(forms))
	for i, form := range forms {
		w, err := m.scorer.inForm(canaryText, form)
		if err != nil {
			return nil, fmt.Errorf("answers of the form %q: %w", form.Form, err)
		}
		w.identity = "form " + strconv.Itoa(i)
		failed := m.scheduler.do(ctx, []*job{newJob(w)}, interactive)
		if failed == nil {
			failed = w.err
		}
		if failed != nil {
			return nil, fmt.Errorf("answers of the form %q: %w", form.Form, failed)
		}
		masses[i] = w.mass
	}
	return masses, nil
}

// inForm prepares a text for the likelihood of whole answers in another form than
// the model's: only the tokens of the prompt's end are taken for certain.
func (s *scorer) inForm(text string, form models.Answer) (*scored, error) {
	shared, rest, err := s.prompt.answers(form, s.set)
	if err != nil {
		return nil, err
	}
	given := common(shared, s.prompt.tok.Encode(s.prompt.stem))
	for i := range rest {
		rest[i] = slices.Concat(shared[given:], rest[i])
	}
	trie, err := labels.NewTrie(rest)
	if err != nil {
		return nil, err
	}
	e := s.prompt.encode(text)
	own := s.prompt.suffix[:len(s.prompt.suffix)-s.shared]
	w := &scored{tokens: e.text, plan: newAnswerPlan(trie, innerNodes(trie), true, s.eng.Info().NodeByNode)}
	w.place(slices.Concat(e.tokens, own, shared[:given]), e.back)
	return w, nil
}
