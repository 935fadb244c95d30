package tokenizer

import "strings"

// scanner returns the end of the piece of s that begins at byte i < len(s). It
// sees nothing outside s: what the scanner before it cut off is the end of the text.
type scanner func(s string, i int) int

// step is the scanner of one part of a pre-tokeniser.
type step uint8

const (
	stepAll step = iota
	stepDigits
	stepGPT2
	stepLlama3
	stepQwen2
	stepQwen35
)

var scanners = [...]scanner{
	stepAll: scanAll, stepDigits: scanDigits, stepGPT2: scanGPT2, stepLlama3: scanLlama3, stepQwen2: scanQwen2, stepQwen35: scanQwen35,
}

// preTokenizer cuts a text into the words that BPE never merges across: each
// step cuts the pieces of the one before.
type preTokenizer struct {
	steps []step
	// prefixSpace puts a space before each piece that the last step is given
	// and that has none (add_prefix_space of ByteLevel).
	prefixSpace bool
}

func (p *preTokenizer) split(text string, yield func(piece string)) {
	if text != "" {
		p.splitFrom(0, text, yield)
	}
}

func (p *preTokenizer) splitFrom(level int, text string, yield func(piece string)) {
	if level == len(p.steps) {
		yield(text)
		return
	}
	if p.prefixSpace && level == len(p.steps)-1 && !strings.HasPrefix(text, " ") {
		text = " " + text
	}
	for i := 0; i < len(text); {
		end := scanners[p.steps[level]](text, i)
		p.splitFrom(level+1, text[i:end], yield)
		i = end
	}
}
