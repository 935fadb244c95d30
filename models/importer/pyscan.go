package importer

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This is as much of Python's grammar as it takes to follow the prompt through a
// client without running it: names, operators, string literals, brackets and
// logical lines. Known hole: Python 3.12 lets an f-string's braces hold its own
// kind of quote; such a string ends too early here, inside a field, and is refused.

// maxClient is the largest model_client.py that is read, in bytes.
const maxClient = 4 << 20

type tokenKind uint8

const (
	nameToken tokenKind = iota // identifier, keyword or number
	stringToken
	opToken      // one character of an operator or bracket
	newlineToken // end of a logical line, and of the file
)

// token is a piece of Python source.
type token struct {
	kind   tokenKind
	text   string // as in the source, after line ends became \n
	line   int    // from 1
	indent int    // column of the logical line's first token
}

type scanner struct {
	src      string
	pos      int
	line     int
	lineFrom int // where the physical line starts
	depth    int // open brackets
	indent   int
	begun    bool // the logical line has a token
	tokens   []token
}

// scan cuts a Python source file into tokens.
func scan(src []byte) ([]token, error) {
	if len(src) > maxClient {
		return nil, fmt.Errorf("larger than %d MiB", maxClient>>20)
	}
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		return nil, errors.New("not a UTF-8 text file")
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	if m := codingLine.FindStringSubmatch(text); m != nil && !readsAsUTF8(m[1]) {
		return nil, fmt.Errorf("it is encoded as %s, not as UTF-8", m[1])
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	s := &scanner{src: strings.ReplaceAll(text, "\r", "\n"), line: 1}
	for s.pos < len(s.src) {
		if err := s.next(); err != nil {
			return nil, fmt.Errorf("line %d: %w", s.line, err)
		}
	}
	s.endLine()
	return s.tokens, nil
}

// codingLine is a declaration of the source's encoding, in one of its first two
// lines.
var codingLine = regexp.MustCompile(`^(?:[ \t\f]*(?:#[^\r\n]*)?\r?\n)?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)`)

// readsAsUTF8 reports whether an encoding gives what UTF-8 does.
func readsAsUTF8(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.HasPrefix(name, "utf-8") || name == "utf8" || name == "ascii" || name == "us-ascii"
}

func (s *scanner) next() error {
	c := s.src[s.pos]
	switch {
	case c == '\n':
		s.newline()
	case c == ' ' || c == '\t' || c == '\f':
		s.pos++
	case c == '#':
		s.pos += strings.IndexByte(s.src[s.pos:]+"\n", '\n')
	case c == '\\' && strings.HasPrefix(s.src[s.pos:], "\\\n"):
		s.advance(2)
	case c == '\'' || c == '"':
		return s.literal(s.pos)
	case isNameByte(c):
		return s.name()
	default:
		s.operator(c)
	}
	return nil
}

// newline ends the logical line, unless a bracket is open.
func (s *scanner) newline() {
	if s.depth == 0 {
		s.endLine()
	}
	s.advance(1)
}

func (s *scanner) endLine() {
	if s.begun {
		s.tokens = append(s.tokens, token{kind: newlineToken, line: s.line, indent: s.indent})
	}
	s.begun = false
}

// advance moves on by n bytes and counts the lines.
func (s *scanner) advance(n int) {
	for ; n > 0; n-- {
		if s.src[s.pos] == '\n' {
			s.line++
			s.lineFrom = s.pos + 1
		}
		s.pos++
	}
}

func isNameByte(c byte) bool {
	return c == '_' || c >= utf8.RuneSelf || unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c))
}

func (s *scanner) name() error {
	from := s.pos
	for s.pos < len(s.src) && isNameByte(s.src[s.pos]) {
		s.pos++
	}
	prefix := strings.ToLower(s.src[from:s.pos])
	quoted := s.pos < len(s.src) && (s.src[s.pos] == '"' || s.src[s.pos] == '\'')
	if quoted && len(prefix) <= 2 && strings.Trim(prefix, "rubft") == "" {
		return s.literal(from)
	}
	s.emit(nameToken, from, s.line)
	return nil
}

// literal scans a string whose prefix starts at from and whose quote is here.
func (s *scanner) literal(from int) error {
	line := s.line
	quote := s.src[s.pos : s.pos+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.src[s.pos:], triple) {
		quote = triple
	}
	s.pos += len(quote)
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case strings.HasPrefix(s.src[s.pos:], quote):
			s.pos += len(quote)
			s.emit(stringToken, from, line)
			return nil
		case c == '\\' && s.pos+1 < len(s.src):
			s.advance(2)
		case c == '\n' && len(quote) == 1:
			return errors.New("string literal is not closed on its line")
		default:
			s.advance(1)
		}
	}
	return fmt.Errorf("string literal that starts on line %d is not closed", line)
}

func (s *scanner) operator(c byte) {
	switch c {
	case '(', '[', '{':
		s.depth++
	case ')', ']', '}':
		s.depth = max(0, s.depth-1)
	}
	s.pos++
	s.emit(opToken, s.pos-1, s.line)
}

func (s *scanner) emit(kind tokenKind, from, line int) {
	if !s.begun {
		s.indent = max(0, from-s.lineFrom)
	}
	s.tokens = append(s.tokens, token{kind: kind, text: s.src[from:s.pos], line: line, indent: s.indent})
	s.begun = true
}
