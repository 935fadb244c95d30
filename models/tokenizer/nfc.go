package tokenizer

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// nfc returns the canonical composition of a text; invalid UTF-8 is left as it is.
//
// Package norm only checks and looks up here. Its own String inserts a joiner
// (U+034F) into runs of more than 30 combining marks, which Unicode's plain
// form, and so the tokenizers that models were trained with, does not have.
func nfc(text string) string {
	if norm.NFC.QuickSpanString(text) == len(text) || !utf8.ValidString(text) {
		return text
	}
	return string(compose(decompose(text)))
}

type combining struct {
	r     rune
	class uint8 // canonical combining class; 0 for a starter
}

// decompose returns the canonical decomposition with its marks in order.
func decompose(text string) []combining {
	chars := make([]combining, 0, len(text))
	for i, r := range text {
		if r < utf8.RuneSelf {
			chars = append(chars, combining{r, 0})
			continue
		}
		one := text[i : i+utf8.RuneLen(r)]
		for _, part := range norm.NFD.String(one) {
			chars = append(chars, combining{part, norm.NFC.PropertiesString(string(part)).CCC()})
		}
	}
	for i := 0; i < len(chars); i++ {
		start := i
		for i < len(chars) && chars[i].class != 0 {
			i++
		}
		slices.SortStableFunc(chars[start:i], func(a, b combining) int { return int(a.class) - int(b.class) })
	}
	return chars
}

// compose joins each starter with the marks behind it that no equal or higher
// mark blocks.
func compose(chars []combining) []rune {
	out := make([]rune, 0, len(chars))
	starter, last := -1, uint8(0)
	for _, c := range chars {
		if starter >= 0 && (last == 0 || last < c.class) {
			if whole, ok := composePair(out[starter], c.r); ok {
				out[starter] = whole
				continue
			}
		}
		if c.class == 0 {
			starter = len(out)
		}
		last = c.class
		out = append(out, c.r)
	}
	return out
}

func composePair(a, b rune) (rune, bool) {
	if b < utf8.RuneSelf {
		return 0, false
	}
	s := norm.NFC.String(string([]rune{a, b}))
	r, width := utf8.DecodeRuneInString(s)
	return r, width == len(s)
}
