package ollama

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ollama/ollama/api"

	"cubby/labels"
	"cubby/runtime/remote"
)

const (
	// loadTimeout bounds the first question, for which the model is loaded.
	loadTimeout = 5 * time.Minute
)

// load has the model loaded with a first question, which holds the prompt, odd text
// and labels. Its answer says whether the server has the same vocabulary, whether it
// puts a token before prompts, and whether it tells log probabilities.
func (s *server) load(ctx context.Context, opt Options, f facts) (exact bool, err error) {
	m := opt.Manifest
	text := m.Prompt.Prefix + remote.OddText + m.Prompt.Suffix
	for _, l := range m.Labels[:min(len(m.Labels), remote.CheckedLabels)] {
		text += m.Answer.Text(l.Name) + "\n"
	}
	tokens := s.tok.EncodeSpecial(text)
	if len(tokens) >= s.context-said {
		return false, fmt.Errorf("%s: its context of %d tokens has no room for the prompt and a text: allow at least %d", s.name, s.context, 2*len(tokens))
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	resp, err := s.generate(ctx, text, 1, spoken, true)
	if refusesLogprobs(err) {
		resp, err = s.generate(ctx, text, 1, spoken, false)
	}
	if err != nil {
		return false, err
	}
	if err := s.sameVocabulary(resp, tokens, f.bos, m.Name); err != nil {
		return false, err
	}
	return len(resp.Logprobs) > 0 && len(resp.Logprobs[0].TopLogprobs) > 0, nil
}

// refusesLogprobs says whether a question was refused because of what it asks for.
func refusesLogprobs(err error) bool {
	var e *remote.Error
	return errors.As(err, &e) && e.Fault == remote.Refused && strings.Contains(strings.ToLower(e.Message), "logprobs")
}

// sameVocabulary compares how many tokens the server read, and whether those that it
// tells of are ours.
func (s *server) sameVocabulary(resp *api.GenerateResponse, tokens []labels.Token, bos int, name string) error {
	other := func(why string) error {
		return fmt.Errorf("%s serves another model than %q as %s: %s; name the right one, or none to have it created", s.name, name, s.model, why)
	}
	switch n := resp.PromptEvalCount; {
	case n == 0 || n == len(tokens):
	case n == len(tokens)+1 && int(tokens[0]) == bos:
		s.bos = tokens[0]
	case n == len(tokens)+1:
		return fmt.Errorf("%s puts a token before the prompt of %s that the model was not trained with: create it from a GGUF file without tokenizer.ggml.add_bos_token", s.name, s.model)
	default:
		return other(fmt.Sprintf("it makes %d tokens of a text that has %d", n, len(tokens)))
	}
	if len(resp.Logprobs) == 0 {
		return nil
	}
	pieces := make(map[string]bool, s.tok.Len())
	for id := range labels.Token(s.tok.Len()) {
		pieces[s.tok.Decode([]labels.Token{id})] = true
	}
	for _, v := range resp.Logprobs[0].TopLogprobs {
		if v.Token != "" && !strings.ContainsRune(v.Token, utf8.RuneError) && !pieces[v.Token] {
			return other(fmt.Sprintf("it has a token %q that this model has not", v.Token))
		}
	}
	return nil
}
