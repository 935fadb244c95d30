package chat

import (
	"slices"
	"strings"
)

// leads lists the possible labels to which a token leads.
func (w *walk) leads(t *token) []int {
	piece, ends := t.spelling(), false
	if piece == "" || w.answer.bare && marksEnd(t.Token) {
		if !w.answer.bare || w.at < w.start {
			return nil // the answer would end within its JSON
		}
		piece, ends = "", true
	}
	if w.at < w.start {
		before := w.generated[w.at:w.start]
		if strings.HasPrefix(before, piece) {
			return w.live
		}
		if !strings.HasPrefix(piece, before) {
			return nil
		}
		piece = piece[len(before):]
	} else {
		piece = w.generated[w.start:w.at] + piece
	}
	var list []int
	for _, i := range w.live {
		if w.begins(i, piece, ends) {
			list = append(list, i)
		}
	}
	return list
}

// begins says whether said is a beginning of label i's spelling, or the whole and more.
// A bare label is followed by the end of the answer, a quote or space.
func (w *walk) begins(i int, said string, ends bool) bool {
	return slices.ContainsFunc(w.spelled[i], func(s string) bool {
		switch {
		case ends:
			return said == s
		case strings.HasPrefix(s, said):
			return true
		case !strings.HasPrefix(said, s):
			return false
		}
		return !w.answer.bare || strings.ContainsAny(said[len(s):len(s)+1], "\"'` \t\r\n") || strings.HasPrefix(said[len(s):], "”")
	})
}

// marksEnd knows the tokens by which models end an answer, where servers tell them by
// their names.
func marksEnd(name string) bool {
	switch name {
	case "</s>", "<eos>", "<end_of_turn>":
		return true
	}
	return strings.HasPrefix(name, "<|") && strings.HasSuffix(name, "|>")
}
