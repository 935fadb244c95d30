package importer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeLiteral returns the value of one Python string literal, as it stands
// in the source with prefix and quotes.
func decodeLiteral(src string) (text, error) {
	start := strings.IndexAny(src, `'"`)
	prefix, body := strings.ToLower(src[:start]), src[start:]
	n := 1
	if len(body) >= 6 && body[1] == body[0] && body[2] == body[0] {
		n = 3
	}
	body = body[n : len(body)-n]
	raw, format := false, false
	switch prefix {
	case "", "u":
	case "r":
		raw = true
	case "f":
		format = true
	case "rf", "fr":
		raw, format = true, true
	default:
		return text{}, fmt.Errorf("a string with the prefix %q is not text", prefix)
	}
	if format {
		return decodeFormat(body, raw)
	}
	s, err := unescape(body, raw)
	return literal(s), err
}

// decodeFormat splits an f-string at its fields. A field is a name, or names with
// dots between them: only such have a value here.
func decodeFormat(body string, raw bool) (text, error) {
	var t text
	var piece strings.Builder
	flush := func() error {
		s, err := unescape(piece.String(), raw)
		piece.Reset()
		t.pieces = append(t.pieces, s)
		return err
	}
	for i := 0; i < len(body); {
		switch c := body[i]; {
		case strings.HasPrefix(body[i:], "{{"), strings.HasPrefix(body[i:], "}}"):
			piece.WriteByte(c)
			i += 2
		case c == '}':
			return text{}, errors.New("single } in an f-string")
		case c == '{':
			expr, _, ok := strings.Cut(body[i+1:], "}")
			name := strings.Trim(expr, " \t\n")
			if !ok || !isDottedName(name) {
				return text{}, fmt.Errorf("f-string field {%.40s} is not a plain variable", expr)
			}
			if err := flush(); err != nil {
				return text{}, err
			}
			t.holes = append(t.holes, name)
			i += len(expr) + 2
		case c == '\\' && i+1 < len(body) && !raw && body[i+1] != '{' && body[i+1] != '}':
			piece.WriteString(body[i : i+2])
			i += 2
		default:
			piece.WriteByte(c)
			i++
		}
	}
	return t, flush()
}

func isDottedName(s string) bool {
	for name := range strings.SplitSeq(s, ".") {
		if !isIdentifier(name) {
			return false
		}
	}
	return true
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) || i == 0 && s[i] >= '0' && s[i] <= '9' {
			return false
		}
	}
	return s != ""
}

// simpleEscapes are the escapes of one letter.
var simpleEscapes = map[byte]string{
	'\n': "", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b",
	'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape resolves backslash escapes. As in Python, one that means nothing
// stands for itself.
func unescape(s string, raw bool) (string, error) {
	if raw || !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		if r, ok := simpleEscapes[c]; ok {
			b.WriteString(r)
			i += 2
			continue
		}
		n, err := numericEscape(&b, s[i+1:])
		if err != nil {
			return "", err
		}
		i += 1 + n
	}
	return b.String(), nil
}

// numericEscape writes the character of an escape by number, s being what
// follows the backslash, and returns its length; or the backslash itself, and 0.
func numericEscape(b *strings.Builder, s string) (int, error) {
	digits, base, from := 0, 16, 1
	switch c := s[0]; {
	case c == 'x':
		digits = 2
	case c == 'u':
		digits = 4
	case c == 'U':
		digits = 8
	case c == 'N':
		return 0, errors.New(`the escape \N{…} is not supported: write the character itself`)
	case c >= '0' && c <= '7':
		base, from = 8, 0
		for digits < min(3, len(s)) && s[digits] >= '0' && s[digits] <= '7' {
			digits++
		}
	default:
		b.WriteByte('\\')
		return 0, nil
	}
	if len(s) < from+digits {
		return 0, fmt.Errorf(`escape \%.10s is cut short`, s)
	}
	r, err := strconv.ParseUint(s[from:from+digits], base, 32)
	if err != nil || !utf8.ValidRune(rune(r)) || r > utf8.MaxRune {
		return 0, fmt.Errorf(`escape \%s is not a character`, s[:from+digits])
	}
	b.WriteRune(rune(r))
	return from + digits, nil
}
