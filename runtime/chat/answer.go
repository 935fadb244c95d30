package chat

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"cubby/labels"
)

// answer is the label that a model gave, and where its spelling stands in what the
// model said: with its quotes where it is JSON.
type answer struct {
	label    int
	from, to int
	bare     bool // the name alone, without JSON
}

// read finds the one label that content is. It must be an object with the member
// "label" and no other, whose value is a label to the letter; where bare is allowed,
// also the label alone, perhaps in quotes. Its errors say what else it is, without
// quoting it: a model may repeat the text.
func read(content string, set *labels.Set, bare bool) (answer, error) {
	a, err := readObject(content, set)
	if err == errNotObject && bare {
		return readBare(content, set)
	}
	return a, err
}

var (
	errNotObject = errors.New("it is not a JSON object")
	errMembers   = errors.New(`the JSON object has not the member "label" alone, with a string`)
	errUnknown   = errors.New("what it names is none of the labels")
	errAmbiguous = errors.New("it can be read as several of the labels")
)

func readObject(content string, set *labels.Set) (answer, error) {
	if !json.Valid([]byte(content)) || !utf8.ValidString(content) {
		return answer{}, errNotObject
	}
	d := json.NewDecoder(strings.NewReader(content))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return answer{}, errNotObject
	}
	if key, err := d.Token(); err != nil || key != "label" {
		return answer{}, errMembers
	}
	from := int(d.InputOffset())
	from += strings.IndexByte(content[from:], ':') + 1
	from += strings.IndexFunc(content[from:], func(r rune) bool { return !unicode.IsSpace(r) })
	value, err := d.Token()
	name, ok := value.(string)
	if err != nil || !ok {
		return answer{}, errMembers
	}
	to := int(d.InputOffset())
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return answer{}, errMembers
	}
	if _, err := d.Token(); err != io.EOF {
		return answer{}, errNotObject
	}
	i, ok := set.Index(name)
	if !ok {
		return answer{}, errUnknown
	}
	return answer{label: i, from: from, to: to}, nil
}

// quotes are those that models put around a label.
var quotes = [][2]string{{`"`, `"`}, {"'", "'"}, {"`", "`"}, {"“", "”"}}

// readBare takes content as it is, without space around it, and without quotes around
// that. A set whose labels have quotes themselves may make several labels of it.
func readBare(content string, set *labels.Set) (answer, error) {
	found := answer{label: -1, bare: true}
	try := func(from, to int) bool {
		i, ok := set.Index(content[from:to])
		if !ok {
			return true
		}
		if found.label >= 0 && found.label != i {
			return false
		}
		if found.label < 0 {
			found.label, found.from, found.to = i, from, to
		}
		return true
	}
	from, to := trimmed(content, 0, len(content))
	ok := try(0, len(content)) && try(from, to)
	for _, q := range quotes {
		if inner := content[from:to]; len(inner) > len(q[0])+len(q[1]) && strings.HasPrefix(inner, q[0]) && strings.HasSuffix(inner, q[1]) {
			i, j := trimmed(content, from+len(q[0]), to-len(q[1]))
			ok = ok && try(from+len(q[0]), to-len(q[1])) && try(i, j)
		}
	}
	switch {
	case !ok:
		return answer{}, errAmbiguous
	case found.label < 0:
		return answer{}, errUnknown
	}
	return found, nil
}

// trimmed narrows content[from:to] to what has no space around it.
func trimmed(content string, from, to int) (int, int) {
	s := content[from:to]
	from += len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace))
	return from, from + len(strings.TrimSpace(s))
}
