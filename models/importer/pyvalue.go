package importer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Bounds on what a client can make grow here.
const (
	maxText  = maxClient // bytes of a string
	maxItems = 4096      // of a list
)

// text is the value of a string expression: literal pieces with holes between
// them, for arguments that only a caller knows. Piece i is followed by hole i.
type text struct {
	pieces []string
	holes  []string
}

func literal(s string) text { return text{pieces: []string{s}} }

// plain returns the string of a text without holes.
func (t text) plain() (string, error) {
	if len(t.holes) > 0 {
		return "", fmt.Errorf("it depends on %q", t.holes[0])
	}
	return strings.Join(t.pieces, ""), nil
}

// textBuilder puts texts behind each other, as Python joins adjacent literals.
type textBuilder struct {
	done text
	open strings.Builder // the last piece
	size int
}

func (b *textBuilder) add(t text) {
	for i, piece := range t.pieces {
		if i > 0 {
			b.done.pieces = append(b.done.pieces, b.open.String())
			b.done.holes = append(b.done.holes, t.holes[i-1])
			b.open.Reset()
		}
		b.open.WriteString(piece)
		b.size += len(piece)
	}
}

// full reports whether no value can be that long.
func (b *textBuilder) full() bool { return b.size > maxText || len(b.done.holes) > maxItems }

func (b *textBuilder) text() text {
	return text{pieces: append(b.done.pieces, b.open.String()), holes: b.done.holes}
}

func (t text) size() int {
	n := 0
	for _, p := range t.pieces {
		n += len(p)
	}
	return n
}

// kind is what a value is.
type kind uint8

const (
	unknownKind  kind = iota
	textKind          // str
	listKind          // list or tuple
	dictKind          // with strings as keys
	argumentKind      // what a caller gives
	spreadKind        // in a list: the elements of an argument
	boolKind
	importKind // something of another module, or built in
	functionKind
	classKind
	objectKind // an instance of a class of this file
)

// value is what an expression of a client stands for. Values never change.
type value struct {
	kind  kind
	text  text     // textKind
	items []value  // listKind, dictKind
	keys  []string // dictKind: one for each of items
	name  string   // argumentKind, spreadKind, importKind
	truth bool     // boolKind

	function *function // functionKind
	class    *class    // classKind, and of an object
	object   *instance // objectKind; of a functionKind, what it is bound to

	err error // unknownKind: why
}

func unknown(format string, args ...any) value {
	return value{kind: unknownKind, err: fmt.Errorf(format, args...)}
}

func textValue(t text) value {
	if t.size() > maxText || len(t.holes) > maxItems {
		return unknown("a string is longer than %d MiB", maxText>>20)
	}
	return value{kind: textKind, text: t}
}

func listValue(items []value) value {
	if len(items) > maxItems {
		return unknown("a list is longer than %d", maxItems)
	}
	return value{kind: listKind, items: items}
}

var kindNames = map[kind]string{
	listKind: "a list", dictKind: "a dictionary", spreadKind: "a list", boolKind: "a truth value",
	functionKind: "a function", classKind: "a class", objectKind: "an object",
}

// asText is the value as a string; an argument is taken for one.
func (v value) asText() (text, error) {
	switch v.kind {
	case textKind:
		return v.text, nil
	case argumentKind:
		return text{pieces: []string{"", ""}, holes: []string{v.name}}, nil
	case unknownKind:
		return text{}, v.err
	case importKind:
		return text{}, fmt.Errorf("the value of %s is not known", v.name)
	}
	return text{}, fmt.Errorf("%s is not a string", kindNames[v.kind])
}

// asItems are the elements of a list; an argument is taken for one.
func (v value) asItems() ([]value, error) {
	switch v.kind {
	case listKind:
		return v.items, nil
	case argumentKind:
		return []value{{kind: spreadKind, name: v.name}}, nil
	case unknownKind:
		return nil, v.err
	case textKind:
		return nil, errors.New("a string is not a list of messages")
	case importKind:
		return nil, fmt.Errorf("the value of %s is not known", v.name)
	}
	return nil, fmt.Errorf("%s is not a list", kindNames[v.kind])
}

// plus is a + b.
func plus(a, b value) value {
	if a.kind == textKind || b.kind == textKind {
		t, err := a.asText()
		if err != nil {
			return value{err: err}
		}
		u, err := b.asText()
		if err != nil {
			return value{err: err}
		}
		var b textBuilder
		b.add(t)
		b.add(u)
		return textValue(b.text())
	}
	if a.kind == argumentKind && b.kind == argumentKind {
		return unknown("whether %s and %s are strings or lists is not known", a.name, b.name)
	}
	x, err := a.asItems()
	if err != nil {
		return value{err: err}
	}
	y, err := b.asItems()
	if err != nil {
		return value{err: err}
	}
	return listValue(slices.Concat(x, y))
}

// stringMethod calls a method of a string.
func stringMethod(t text, name string, args []value, named map[string]value) value {
	var plain []string // the arguments, where all are strings that are known
	for _, a := range args {
		u, err := a.asText()
		if err != nil {
			break
		}
		s, err := u.plain()
		if err != nil {
			break
		}
		plain = append(plain, s)
	}
	known := len(plain) == len(args) && len(named) == 0
	switch {
	case name == "format":
		return format(t, args, named)
	case name == "join" && len(args) == 1 && len(named) == 0:
		return join(t, args[0])
	case name == "replace" && len(args) == 2 && len(named) == 0 && len(plain) >= 1:
		return replace(t, plain[0], args[1])
	case known && len(args) <= 1 && (name == "strip" || name == "lstrip" || name == "rstrip"):
		return strip(t, name != "rstrip", name != "lstrip", plain)
	}
	return unknown("the method %s of a string is not followed here", name)
}

// strip takes characters off the ends of a text: space, or those given. Python
// counts four control characters as space that Unicode does not.
func strip(t text, left, right bool, set []string) value {
	cut := func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
	if len(set) == 1 {
		cut = func(r rune) bool { return strings.ContainsRune(set[0], r) }
	}
	t.pieces = slices.Clone(t.pieces)
	last := len(t.pieces) - 1
	if left {
		t.pieces[0] = strings.TrimLeftFunc(t.pieces[0], cut)
	}
	if right {
		t.pieces[last] = strings.TrimRightFunc(t.pieces[last], cut)
	}
	if last > 0 && (left && t.pieces[0] == "" || right && t.pieces[last] == "") {
		return unknown("it strips the text itself, which a fixed prompt cannot")
	}
	return textValue(t)
}

// format is Python's str.format, with fields that are a name or a number.
func format(t text, args []value, named map[string]value) value {
	s, err := t.plain()
	if err != nil {
		return unknown("format: %w", err)
	}
	fields, err := decodeFields(s)
	if err != nil {
		return unknown("format: %w", err)
	}
	var out textBuilder
	out.add(literal(fields.pieces[0]))
	if slices.Contains(fields.holes, "") && slices.ContainsFunc(fields.holes, isNumber) {
		return unknown("format: fields are numbered and not numbered")
	}
	next := 0
	for i, name := range fields.holes {
		v, ok := named[name]
		if name == "" || isNumber(name) {
			n := next
			if next++; name != "" {
				n, _ = strconv.Atoi(name) // one that is too large is the largest int
			}
			if ok = n < len(args); ok {
				v = args[n]
			}
		}
		if !ok {
			return unknown("format: field {%.40s} has no value", name)
		}
		u, err := v.asText()
		if err != nil {
			return unknown("format: field {%.40s}: %w", name, err)
		}
		out.add(u)
		out.add(literal(fields.pieces[i+1]))
		if out.full() {
			break
		}
	}
	return textValue(out.text())
}

func isNumber(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// decodeFields splits the string that format is called on.
func decodeFields(s string) (text, error) {
	var t text
	var piece strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			piece.WriteByte(c)
			i++
		case c == '}':
			return t, errors.New("single }")
		case c == '{':
			name, _, ok := strings.Cut(s[i+1:], "}")
			if !ok || strings.Trim(name, "0123456789") != "" && !isIdentifier(name) {
				return t, fmt.Errorf("field {%.40s} is not a plain name", name)
			}
			t.pieces, t.holes = append(t.pieces, piece.String()), append(t.holes, name)
			piece.Reset()
			i += len(name) + 1
		default:
			piece.WriteByte(c)
		}
	}
	t.pieces = append(t.pieces, piece.String())
	return t, nil
}

// join is sep.join(list).
func join(sep text, list value) value {
	items, err := list.asItems()
	if err != nil {
		return value{err: err}
	}
	var out textBuilder
	for i, item := range items {
		t, err := item.asText()
		if err != nil {
			return unknown("join: %w", err)
		}
		if i > 0 {
			out.add(sep)
		}
		out.add(t)
		if out.full() {
			break
		}
	}
	return textValue(out.text())
}

// replace puts v in the place of old.
func replace(t text, old string, v value) value {
	s, err := t.plain()
	if err != nil {
		return unknown("replace: %w", err)
	}
	u, err := v.asText()
	if err != nil || old == "" {
		return unknown("replace is not followed here: %w", cmp.Or(err, errors.New("it looks for nothing")))
	}
	var out textBuilder
	for i, piece := range strings.Split(s, old) {
		if i > 0 {
			out.add(u)
		}
		out.add(literal(piece))
		if out.full() {
			break
		}
	}
	return textValue(out.text())
}

// dedent is textwrap.dedent. Versions of Python differ over lines of nothing but
// space other than blanks and tabs, so such are refused.
func dedent(t text) value {
	s, err := t.plain()
	if err != nil {
		return unknown("textwrap.dedent of a string with a variable in it is not followed here: %w", err)
	}
	lines := strings.Split(s, "\n")
	margin, found := "", false
	for i, line := range lines {
		rest := strings.TrimLeft(line, " \t")
		if rest == "" {
			lines[i] = ""
			continue
		}
		if strings.TrimFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }) == "" {
			return unknown("textwrap.dedent of a line of odd space differs between versions of Python")
		}
		indent := line[:len(line)-len(rest)]
		if !found {
			margin, found = indent, true
		}
		n := 0
		for n < len(margin) && n < len(indent) && margin[n] == indent[n] {
			n++
		}
		margin = margin[:n]
	}
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, margin)
	}
	return textValue(literal(strings.Join(lines, "\n")))
}
