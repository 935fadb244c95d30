package ollama

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/ollama/ollama/api"

	"cubby/labels"
	"cubby/runtime/remote"
)

// topTokens is the most tokens that Ollama tells of.
const topTokens = 20

// spoken makes the server say a quotation mark next. What it tells of the tokens is
// the model's own distribution, before that is held to any format; but it tells
// nothing where the model's first choice has no text: the end of the answer, or a
// piece of a character. It costs 4 ms of a question's 70.
var spoken = json.RawMessage(`{"type":"string","enum":["a"]}`)

// Next asks for the likeliest tokens.
func (s *server) Next(ctx context.Context, sequence, columns []labels.Token) (remote.Told, error) {
	w, err := s.write(sequence)
	if err != nil {
		return remote.Told{}, err
	}
	if w.cut {
		return untold(len(columns)), nil
	}
	resp, err := s.generate(ctx, w.text, 1, spoken, true)
	if err != nil {
		return remote.Told{}, err
	}
	if err := s.readAll(resp, w.tokens); err != nil {
		return remote.Told{}, err
	}
	if len(resp.Logprobs) == 0 || len(resp.Logprobs[0].TopLogprobs) == 0 {
		return remote.Told{}, s.unreadable("it tells no log probabilities")
	}
	return s.pick(resp.Logprobs[0].TopLogprobs, columns), nil
}

// untold is the answer where nothing can be known.
func untold(columns int) remote.Told {
	t := remote.Told{LogP: make([]float64, columns)}
	for i := range t.LogP {
		t.LogP[i] = math.NaN()
	}
	return t
}

// readAll checks that the server read as many tokens as were meant. Older versions
// do not count those that they had already computed, and say 0.
func (s *server) readAll(resp *api.GenerateResponse, tokens int) error {
	if n := resp.PromptEvalCount; n != 0 && n != tokens {
		return s.unreadable(fmt.Sprintf("it read %d tokens of a prompt of %d: it cuts prompts, or its tokeniser differs", n, tokens))
	}
	return nil
}

// pick finds the columns among the tokens told, by their text.
func (s *server) pick(top []api.TokenLogprob, columns []labels.Token) remote.Told {
	t := remote.Told{LogP: make([]float64, len(columns)), Least: math.Inf(1)}
	logp := make(map[string]float64, len(top))
	broken := math.Inf(-1) // the likeliest piece of a character
	for _, v := range top {
		t.Least = min(t.Least, v.Logprob)
		if strings.ContainsRune(v.Token, utf8.RuneError) {
			broken = max(broken, v.Logprob)
			continue // it may be a column that is not found, whose mass is not told
		}
		t.Mass += math.Exp(v.Logprob)
		if _, ok := logp[v.Token]; !ok { // the likeliest of those that look alike
			logp[v.Token] = v.Logprob
		}
	}
	for i, c := range columns {
		text := s.tok.Decode([]labels.Token{c})
		v, ok := logp[text]
		if !ok && text == s.end {
			// Control tokens have no text there. The one that may come next is the end
			// of the answer; a model that was trained to end so hardly says another.
			v, ok = logp[""]
		}
		if !ok {
			v = math.NaN()
			if !utf8.ValidString(text) {
				t.Least = max(t.Least, broken)
			}
		}
		t.LogP[i] = v
	}
	return t
}
