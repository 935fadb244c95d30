package runtime

import (
	"fmt"
	"unicode/utf8"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// prompt tokenises a text inside its prompt exactly as one string would be,
// while the shared prefix is computed once. Special tokens cut a string into
// pieces that are tokenised apart; what can merge with the text is only the
// plain text between it and the nearest special token on either side:
//
//	<|im_start|>user\n  TEXT  <|im_end|>\n<|im_start|>assistant\n  ANSWER
//	            [tail ]      [head is empty here]         [stem  ]
type prompt struct {
	tok    engine.Tokenizer
	prefix []labels.Token // the whole prefix, tail included
	tail   fragment       // plain end of the prefix
	head   fragment       // plain start of the suffix
	suffix []labels.Token // from the suffix's first special token to its last
	stem   string         // plain text behind that, which answers begin with
}

// Known hole: a suffix without any special token is tokenised with the text,
// and the answers apart from it.

type fragment struct {
	text   string
	tokens []labels.Token
}

func newPrompt(tok engine.Tokenizer, p models.Prompt) prompt {
	out := prompt{tok: tok, prefix: tok.EncodeSpecial(p.Prefix)}
	_, last := specials(tok, out.prefix)
	out.tail = fragmentOf(tok, out.prefix[last+1:])
	suffix := tok.EncodeSpecial(p.Suffix)
	first, last := specials(tok, suffix)
	if last < 0 {
		out.head = fragmentOf(tok, suffix)
		return out
	}
	out.head = fragmentOf(tok, suffix[:first])
	out.suffix = suffix[first : last+1]
	out.stem = tok.Decode(suffix[last+1:])
	return out
}

func fragmentOf(tok engine.Tokenizer, tokens []labels.Token) fragment {
	return fragment{tok.Decode(tokens), tokens}
}

// specials returns the positions of the first and last special token, -1 for none.
func specials(tok engine.Tokenizer, tokens []labels.Token) (first, last int) {
	first, last = -1, -1
	for i, t := range tokens {
		if id, ok := tok.Special(tok.Decode(tokens[i : i+1])); ok && id == t {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last
}

// encoded is a text's tokens behind the first len(prefix)-back tokens of the prefix.
type encoded struct {
	tokens []labels.Token
	back   int
	text   int // tokens that are the text's own
}

func (p *prompt) encode(text string) encoded {
	joint := p.tok.Encode(p.tail.text + text + p.head.text)
	same := common(joint, p.tail.tokens)
	back := len(p.tail.tokens) - same
	return encoded{
		tokens: joint[same:],
		back:   back,
		text:   max(0, len(joint)-len(p.tail.tokens)-len(p.head.tokens)),
	}
}

// encodeWithin cuts the text's end until it takes at most limit tokens, and
// says how many were lost.
func (p *prompt) encodeWithin(text string, limit int) (encoded, int) {
	e := p.encode(text)
	over := len(e.tokens) - limit
	if over <= 0 {
		return e, 0
	}
	own := p.tok.Encode(text)
	keep := len(own)
	for over > 0 && keep > 0 {
		keep = max(0, keep-over)
		e = p.encode(wholeCharacters(p.tok.Decode(own[:keep])))
		over = len(e.tokens) - limit
	}
	return e, len(own) - e.text
}

// wholeCharacters drops a character that was cut in the middle.
func wholeCharacters(s string) string {
	for i := 0; i < utf8.UTFMax && len(s) > 0; i++ {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}

// answers tokenises each label inside its whole answer. It returns what all
// answers begin with, which belongs to the suffix, and what is left of each,
// end-of-answer token included.
func (p *prompt) answers(a models.Answer, set *labels.Set) (shared []labels.Token, rest [][]labels.Token, err error) {
	end, ok := p.tok.Special(a.End)
	if !ok {
		return nil, nil, fmt.Errorf("the manifest's end-of-answer token %q is not in the vocabulary", a.End)
	}
	for _, name := range set.Names() {
		rest = append(rest, append(p.tok.Encode(p.stem+a.Text(name)), end))
	}
	n := len(rest[0]) - 1
	for _, r := range rest[1:] {
		n = min(n, common(rest[0], r), len(r)-1)
	}
	shared = rest[0][:n]
	for i := range rest {
		rest[i] = rest[i][n:]
	}
	return shared, rest, nil
}

func common(a, b []labels.Token) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
