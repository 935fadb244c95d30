package tokenizer

import "strings"

// scanner returns the end of the piece of s that begins at byte i < len(s). It
// sees nothing outside s: what the scanner before it cut off is the end of the text.
type scanner func(s string, i int) int

// preTokenizer cuts a text into the words that BPE never merges across: each
// scanner cuts the pieces of the one before.
type preTokenizer struct {
	scanners []scanner
	// prefixSpace puts a space before each piece that the last scanner is given
	// and that has none (add_prefix_space of ByteLevel).
	prefixSpace bool
}

func (p *preTokenizer) split(text string, yield func(piece string)) {
	if text != "" {
		p.splitFrom(0, text, yield)
	}
}

func (p *preTokenizer) splitFrom(level int, text string, yield func(piece string)) {
	if level == len(p.scanners) {
		yield(text)
		return
	}
	if p.prefixSpace && level == len(p.scanners)-1 && !strings.HasPrefix(text, " ") {
		text = " " + text
	}
	for i := 0; i < len(text); {
		end := p.scanners[level](text, i)
		p.splitFrom(level+1, text[i:end], yield)
		i = end
	}
}
