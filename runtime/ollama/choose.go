package ollama

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/remote"
)

// kept is how many texts' answers are remembered: those of the passes under way,
// since each of a text's nodes asks again.
const kept = 256

// chooser is the server that tells no log probabilities: it is held to the answers
// by a JSON schema and says one of them. The column on that answer's path has all of
// the probability.
type chooser struct {
	*server
	stem    string // plain text of the prompt behind its last control token
	schema  json.RawMessage
	key     string // of the label in an answer that is an object; empty where it is a string
	predict int
	answers map[string][]labels.Token // what each label's answer is, behind that control token

	mu     sync.Mutex
	chosen map[string]*choice
	order  []string // of chosen, oldest first
}

// choice is an answer, or the question for it that is under way.
type choice struct {
	done   chan struct{}
	answer []labels.Token
	err    error
}

func newChooser(s *server, m models.Manifest) (*chooser, error) {
	suffix := s.tok.EncodeSpecial(m.Prompt.Suffix)
	last := s.lastSpecial(suffix)
	end, ok := s.tok.Special(m.Answer.End)
	if last < 0 || !ok {
		return nil, errors.New("without log probabilities, which this Ollama does not tell, the model's answers cannot be told from its prompt: " +
			"it needs a control token behind the text, and one at the end of the answer; update Ollama to 0.12.11 or later")
	}
	c := &chooser{
		server: s, stem: s.tok.Decode(suffix[last+1:]), key: m.Answer.Key(),
		answers: map[string][]labels.Token{}, chosen: map[string]*choice{},
	}
	var names []string
	for _, l := range m.Labels {
		names = append(names, l.Name)
		a := append(s.tok.Encode(c.stem+m.Answer.Text(l.Name)), end)
		c.answers[l.Name] = a
		c.predict = max(c.predict, 2*len(a)+16) // quotes, and the label in other pieces
	}
	var err error
	c.schema, err = schema(names, c.key)
	return c, err
}

func schema(names []string, key string) (json.RawMessage, error) {
	label := map[string]any{"type": "string", "enum": names}
	if key == "" {
		return json.Marshal(label)
	}
	return json.Marshal(map[string]any{"type": "object", "properties": map[string]any{key: label}, "required": []string{key}})
}

// lastSpecial is the position of the last control token; -1 for none.
func (s *server) lastSpecial(tokens []labels.Token) int {
	for i := len(tokens) - 1; i >= 0; i-- {
		if s.special(tokens[i]) {
			return i
		}
	}
	return -1
}

// Next follows the chosen answer. Beside its path nothing is known, and all columns
// are alike: what leads there has no probability.
func (c *chooser) Next(ctx context.Context, sequence, columns []labels.Token) (remote.Told, error) {
	at := c.lastSpecial(sequence) + 1
	answer, err := c.choose(ctx, sequence[:at])
	if err != nil {
		return remote.Told{}, err
	}
	told := remote.Told{LogP: make([]float64, len(columns)), Mass: 1}
	path := sequence[at:]
	on := len(path) < len(answer) && slices.Equal(answer[:len(path)], path) && slices.Contains(columns, answer[len(path)])
	for i, col := range columns {
		switch {
		case !on:
			told.LogP[i] = -math.Log(float64(len(columns)))
		case col != answer[len(path)]:
			told.LogP[i] = math.Inf(-1)
		}
	}
	return told, nil
}

// choose asks once for each prompt, however many of its nodes want to know.
func (c *chooser) choose(ctx context.Context, prompt []labels.Token) ([]labels.Token, error) {
	w, err := c.write(prompt)
	if err != nil {
		return nil, err
	}
	if w.cut {
		return nil, &remote.Error{Fault: remote.Unaskable, Server: c.name, Message: "the text is cut inside a character"}
	}
	for {
		ch, mine := c.claim(w.text)
		if mine {
			ch.answer, ch.err = c.question(ctx, w)
			c.release(w.text, ch)
			return ch.answer, ch.err
		}
		select {
		case <-ch.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Another's question that failed may have failed for its own reasons: ask again.
		if ch.err == nil {
			return ch.answer, nil
		}
	}
}

// claim returns the prompt's choice, and whether it is the caller's to make.
func (c *chooser) claim(prompt string) (ch *choice, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch = c.chosen[prompt]; ch != nil {
		return ch, false
	}
	ch = &choice{done: make(chan struct{})}
	c.chosen[prompt] = ch
	c.order = append(c.order, prompt)
	if len(c.order) > kept {
		delete(c.chosen, c.order[0])
		c.order = c.order[1:]
	}
	return ch, true
}

// release tells those who wait. A choice that failed is forgotten.
func (c *chooser) release(prompt string, ch *choice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.err != nil && c.chosen[prompt] == ch {
		delete(c.chosen, prompt)
		c.order = slices.DeleteFunc(c.order, func(p string) bool { return p == prompt })
	}
	close(ch.done)
}

// question asks for one of the answers.
func (c *chooser) question(ctx context.Context, w written) ([]labels.Token, error) {
	resp, err := c.generate(ctx, w.text+c.stem, c.predict, c.schema, false)
	if err != nil {
		return nil, err
	}
	label, err := c.label(resp.Response)
	if err != nil {
		return nil, c.unreadable("its answer is not in the JSON that was asked for")
	}
	answer, ok := c.answers[label]
	if !ok {
		return nil, c.unreadable(fmt.Sprintf("it answers something else than one of the %d labels", len(c.answers)))
	}
	return answer, nil
}

func (c *chooser) label(response string) (string, error) {
	text := []byte(strings.TrimSpace(response))
	if c.key != "" {
		var o map[string]string
		err := json.Unmarshal(text, &o)
		return o[c.key], err
	}
	var label string
	err := json.Unmarshal(text, &label)
	return label, err
}
