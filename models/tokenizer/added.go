package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
)

// addedTokens are the tokens that stand beside the merges: special ones such
// as <|im_end|> and those a user defined.
type addedTokens struct {
	ids  map[string]int32 // those that plain text cannot yield
	all  matchers         // what EncodeSpecial looks for
	user matchers         // what Encode looks for: see userDefined
}

// matchers look for tokens in the text as it came, and in the normalised text
// between those.
type matchers struct{ literal, normalized matcher }

func newMatchers() matchers { return matchers{newMatcher(), newMatcher()} }

func newAddedTokens() addedTokens {
	return addedTokens{ids: map[string]int32{}, all: newMatchers(), user: newMatchers()}
}

func (a *addedTokens) add(text string, id int32) error {
	if text == "" {
		return fmt.Errorf("added token %d has no text", id)
	}
	if other, ok := a.ids[text]; ok {
		return fmt.Errorf("added tokens %d and %d are both %q", other, id, text)
	}
	a.ids[text] = id
	return nil
}

// matcher finds tokens in a text, leftmost and then longest.
type matcher struct {
	ids     map[string]int32
	lengths [256][]int // by first byte: the lengths of the tokens, longest first
}

func newMatcher() matcher { return matcher{ids: map[string]int32{}} }

func (m *matcher) add(text string, id int32) {
	m.ids[text] = id
	lengths := &m.lengths[text[0]]
	longestFirst := func(a, b int) int { return cmp.Compare(b, a) }
	if at, found := slices.BinarySearchFunc(*lengths, len(text), longestFirst); !found {
		*lengths = slices.Insert(*lengths, at, len(text))
	}
}

// split yields the text in order: a token found as its id, what lies between
// as id -1 and the text, which is never empty.
func (m *matcher) split(text string, yield func(id int32, rest string)) {
	start := 0
	for i := 0; i < len(text) && len(m.ids) > 0; {
		id, n := m.match(text[i:])
		if n == 0 {
			i++
			continue
		}
		if start < i {
			yield(-1, text[start:i])
		}
		yield(id, "")
		i += n
		start = i
	}
	if start < len(text) {
		yield(-1, text[start:])
	}
}

func (m *matcher) match(text string) (id int32, n int) {
	for _, n := range m.lengths[text[0]] {
		if n > len(text) {
			continue
		}
		if id, ok := m.ids[text[:n]]; ok {
			return id, n
		}
	}
	return 0, 0
}
