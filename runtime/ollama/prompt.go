package ollama

import (
	"slices"
	"unicode/utf8"

	"cubby/labels"
	"cubby/runtime/remote"
)

// written is a sequence as the text that the server gets.
type written struct {
	text string
	// tokens is how many the server should read. Where an answer was cut inside a
	// word that can be fewer or others than the sequence's: the model then reads the
	// same text in other pieces, which is the price of a text protocol.
	tokens int
	// cut: the sequence ends inside a character, and cannot be written.
	cut bool
}

// write turns a sequence into text, and refuses one that the server would read with
// control tokens that it does not have: the server parses them in all of a prompt,
// also in what a customer wrote.
func (s *server) write(sequence []labels.Token) (written, error) {
	text := s.tok.Decode(sequence)
	if !utf8.ValidString(text) {
		return written{cut: true}, nil
	}
	w := written{text: text, tokens: len(sequence)}
	if again := s.tok.EncodeSpecial(text); !slices.Equal(again, sequence) {
		if s.specials(again) > s.specials(sequence) {
			return w, &remote.Error{Fault: remote.Unaskable, Server: s.name,
				Message: "the text has characters that spell a control token of the model, such as " + s.extra(again, sequence) + ", and the server would take them for it"}
		}
		w.tokens = len(again)
	}
	if sequence[0] == s.bos {
		w.text = s.tok.Decode(sequence[1:]) // the server puts it there itself
	}
	return w, nil
}

// special says whether a token is a control token.
func (s *server) special(t labels.Token) bool {
	id, ok := s.tok.Special(s.tok.Decode([]labels.Token{t}))
	return ok && id == t
}

func (s *server) specials(tokens []labels.Token) int {
	n := 0
	for _, t := range tokens {
		if s.special(t) {
			n++
		}
	}
	return n
}

// extra names a control token that a has more often than b.
func (s *server) extra(a, b []labels.Token) string {
	more := map[labels.Token]int{}
	for _, t := range b {
		more[t]--
	}
	for _, t := range a {
		if more[t]++; more[t] > 0 && s.special(t) {
			return s.tok.Decode([]labels.Token{t})
		}
	}
	return s.end
}
