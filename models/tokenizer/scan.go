package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// class is what the pre-tokenisers' patterns tell apart: \p{L}, \p{N}, \s
// (Unicode's White_Space) and the rest.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for c := range table {
		table[c] = runeClass(rune(c))
	}
	return table
}()

func runeClass(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class of the character at byte i and its width.
func classAt(s string, i int) (class, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, width := utf8.DecodeRuneInString(s[i:])
	return runeClass(r), width
}

// wordAt is classAt, and with marks takes \p{M} for letters.
func wordAt(s string, i int, marks bool) (class, int) {
	if c := s[i]; c < utf8.RuneSelf || !marks {
		return classAt(s, i)
	}
	r, width := utf8.DecodeRuneInString(s[i:])
	if unicode.IsMark(r) {
		return letter, width
	}
	return runeClass(r), width
}

// word returns the end of the run of one class of wordAt that begins at byte i.
func word(s string, i int, want class, marks bool) int {
	for i < len(s) {
		got, width := wordAt(s, i, marks)
		if got != want {
			break
		}
		i += width
	}
	return i
}

// run returns the end of the run of one class that begins at byte i.
func run(s string, i int, want class) int {
	for i < len(s) {
		got, width := classAt(s, i)
		if got != want {
			break
		}
		i += width
	}
	return i
}

// blanks matches `\s+(?!\S)|\s+`: a run of white space before anything else
// leaves its last character to it, unless it has no other.
func blanks(s string, i int) int {
	end := run(s, i, space)
	if end == len(s) {
		return end
	}
	_, width := utf8.DecodeLastRuneInString(s[i:end])
	if end-width > i {
		return end - width
	}
	return end
}

// lines matches `\s*[\r\n]+|\s+(?!\S)|\s+`: white space up to its last line
// end, or blanks where it has none.
func lines(s string, i int) int {
	end := run(s, i, space)
	for j := end; j > i; j-- {
		if isLineEnd(s[j-1]) {
			return j
		}
	}
	return blanks(s, i)
}

func isLineEnd(c byte) bool { return c == '\r' || c == '\n' }

// contraction returns the length of `'s|'t|'re|'ve|'m|'ll|'d` at byte i; 0
// where there is none.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 == len(s) {
		return 0
	}
	first, second := s[i+1], byte(0)
	if i+2 < len(s) {
		second = s[i+2]
	}
	if fold {
		if first == longS[0] && second == longS[1] {
			return 1 + len(longS)
		}
		first, second = lower(first), lower(second)
	}
	switch {
	case first == 's', first == 't', first == 'm', first == 'd':
		return 2
	case first == 'r' && second == 'e', first == 'v' && second == 'e', first == 'l' && second == 'l':
		return 3
	}
	return 0
}

// longS is U+017F, the only letter outside ASCII that case folding makes equal
// to one of a contraction.
const longS = "ſ"

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// scanGPT2 matches the pattern of GPT-2, which a ByteLevel pre-tokeniser applies
// unless use_regex is false:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func scanGPT2(s string, i int) int {
	if n := contraction(s, i, false); n > 0 {
		return i + n
	}
	start := i
	if s[i] == ' ' && i+1 < len(s) {
		start++
	}
	c, _ := classAt(s, start)
	if c == space {
		return blanks(s, i)
	}
	return run(s, start, c)
}

// The patterns of Llama 3, Qwen 2 and Qwen 3.5 as a tokenizer.json writes them.
const (
	patternHead   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`
	patternTail   = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternLlama3 = patternHead + `\p{N}{1,3}` + patternTail
	patternQwen2  = patternHead + `\p{N}` + patternTail
	patternQwen35 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

func scanLlama3(s string, i int) int { return scanLetters(s, i, 3, false) }

func scanQwen2(s string, i int) int { return scanLetters(s, i, 1, false) }

func scanQwen35(s string, i int) int { return scanLetters(s, i, 1, true) }

// scanLetters matches patternLlama3, patternQwen2 and patternQwen35, which differ
// in how many digits make a piece and in whether marks belong to words.
func scanLetters(s string, i, digits int, marks bool) int {
	if n := contraction(s, i, true); n > 0 {
		return i + n
	}
	c, width := wordAt(s, i, marks)
	switch c {
	case letter:
		return word(s, i, letter, marks)
	case number:
		return numbers(s, i, digits)
	}
	if next := i + width; next < len(s) {
		following, _ := wordAt(s, next, marks)
		if following == letter && !isLineEnd(s[i]) {
			return word(s, next, letter, marks)
		}
		if following == other && s[i] == ' ' {
			return symbols(s, next, marks)
		}
	}
	if c == other {
		return symbols(s, i, marks)
	}
	return lines(s, i)
}

func numbers(s string, i, most int) int {
	for ; most > 0 && i < len(s); most-- {
		c, width := classAt(s, i)
		if c != number {
			break
		}
		i += width
	}
	return i
}

// symbols matches `[^\s\p{L}\p{N}]+[\r\n]*`, with marks no \p{M} either.
func symbols(s string, i int, marks bool) int {
	i = word(s, i, other, marks)
	for i < len(s) && isLineEnd(s[i]) {
		i++
	}
	return i
}

// scanDigits sets every number apart, as the Digits pre-tokeniser does with
// individual_digits.
func scanDigits(s string, i int) int {
	start := i
	for i < len(s) {
		c, width := classAt(s, i)
		if c == number {
			if i == start {
				return i + width
			}
			break
		}
		i += width
	}
	return i
}

// scanAll takes what it is given as one piece.
func scanAll(s string, _ int) int { return len(s) }
