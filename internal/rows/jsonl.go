package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonlSource reads one JSON object a line; blank lines are skipped.
type jsonlSource struct {
	br   *bufio.Reader
	need Need
	line int // of the line read last
	buf  []byte
}

func newJSONL(br *bufio.Reader, need Need) *jsonlSource {
	return &jsonlSource{br: br, need: need}
}

func (s *jsonlSource) read() (Row, error) {
	for {
		line, err := s.next()
		if err != nil {
			return Row{}, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return s.parse(line)
		}
	}
}

// next returns the next line without its end, valid until the next call.
func (s *jsonlSource) next() ([]byte, error) {
	s.buf = s.buf[:0]
	s.line++
	for {
		part, err := s.br.ReadSlice('\n')
		if len(s.buf)+len(part) > MaxRow {
			return nil, lineError(s.line, "line is longer than %d MiB", MaxRow>>20)
		}
		s.buf = append(s.buf, part...)
		switch {
		case err == nil, err == io.EOF && len(s.buf) > 0:
			return s.buf, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (s *jsonlSource) parse(line []byte) (Row, error) {
	if !utf8.Valid(line) {
		return Row{}, lineError(s.line, "not valid UTF-8; save the file as UTF-8")
	}
	fields, found, err := object(line)
	if err != nil {
		return Row{}, lineError(s.line, "%v", err)
	}
	row, err := rowOf(fields, found, s.need)
	if err != nil {
		return Row{}, lineError(s.line, "%v", err)
	}
	row.Line = s.line
	return row, nil
}

// object splits one JSON object into the values of the keys that matter, and
// lists all its keys. encoding/json would keep the last of two equal keys;
// here that is an error, as the row would be a guess.
func object(line []byte) (fields map[string]json.RawMessage, found []string, err error) {
	if !json.Valid(line) {
		return nil, nil, invalidJSON(line)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object; expected one object a line")
	}
	fields = map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		name := key.(string)
		found = append(found, name)
		role := column(name)
		if role == "" {
			continue
		}
		if _, ok := fields[role]; ok {
			return nil, nil, fmt.Errorf("two keys are called %q", role)
		}
		fields[role] = value
	}
	return fields, found, nil
}

// invalidJSON says where line stops being JSON.
func invalidJSON(line []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(line, &v)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not valid JSON at byte %d: %v", e.Offset, e)
	}
	return fmt.Errorf("not valid JSON: %v", err)
}

func rowOf(fields map[string]json.RawMessage, found []string, need Need) (Row, error) {
	var texts []string
	for _, key := range append([]string{messagesKey}, textKeys...) {
		if _, ok := fields[key]; ok {
			texts = append(texts, key)
		}
	}
	switch {
	case len(texts) == 0:
		return Row{}, fmt.Errorf("no text: found the keys %s; expected one of %s, or %s",
			list(found), strings.Join(textKeys, ", "), messagesKey)
	case len(texts) > 1:
		return Row{}, fmt.Errorf("more than one text: %s; keep one", strings.Join(texts, ", "))
	case texts[0] == messagesKey:
		return rowOfMessages(fields, need)
	}
	text, err := stringOf(texts[0], fields[texts[0]])
	if err != nil {
		return Row{}, err
	}
	if need == Text {
		return Row{Text: text}, nil
	}
	raw, ok := fields[answerKey]
	if !ok {
		return Row{}, fmt.Errorf("no key %q: found %s; each row needs its label", answerKey, list(found))
	}
	answer, err := answerOf(raw)
	return Row{Text: text, Answer: answer}, err
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// rowOfMessages takes a conversation: the text is the last user message, the
// label the first assistant message after it.
func rowOfMessages(fields map[string]json.RawMessage, need Need) (Row, error) {
	if _, ok := fields[answerKey]; ok && need == Labeled {
		return Row{}, fmt.Errorf("both %s and %s: keep one", messagesKey, answerKey)
	}
	var list []message
	if err := json.Unmarshal(fields[messagesKey], &list); err != nil {
		return Row{}, fmt.Errorf(`%s must be a list of {"role": "…", "content": "…"}`, messagesKey)
	}
	user := -1
	for i, m := range list {
		if m.Role == "user" {
			user = i
		}
	}
	if user < 0 {
		return Row{}, fmt.Errorf(`%s has no message with role "user"`, messagesKey)
	}
	text, err := stringOf("content of the user message", list[user].Content)
	if err != nil || need == Text {
		return Row{Text: text}, err
	}
	for _, m := range list[user+1:] {
		if m.Role == "assistant" {
			answer, err := answerOf(m.Content)
			return Row{Text: text, Answer: answer}, err
		}
	}
	return Row{}, fmt.Errorf(`%s has no message with role "assistant" after the last user message; each row needs its label`, messagesKey)
}

func answerOf(raw json.RawMessage) (string, error) {
	answer, err := stringOf(answerKey, raw)
	if err == nil && answer == "" {
		err = fmt.Errorf("%s is empty; each row needs its label", answerKey)
	}
	return answer, err
}

// stringOf returns a JSON string's value; what names it in errors.
func stringOf(what string, raw json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%s is %s; expected a string", what, kind(raw))
	}
	if loneSurrogate(raw) {
		return "", fmt.Errorf(`%s has half of a surrogate pair, a \uD800 to \uDFFF alone, which is no character`, what)
	}
	return *s, nil
}

// loneSurrogate reports such an escape in a valid JSON string. encoding/json
// would put U+FFFD in its place: another text than was sent.
func loneSurrogate(raw []byte) bool {
	const high, low = 0xd800 >> 10, 0xdc00 >> 10
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(raw[i:])
		if !ok {
			i++ // of the two-byte escapes, \\ must not be taken for the next one's beginning
			continue
		}
		i += len(`uXXXX`)
		switch unit >> 10 {
		case low:
			return true
		case high:
			if next, ok := escapedUnit(raw[i+1:]); !ok || next>>10 != low {
				return true
			}
			i += len(`\uXXXX`)
		}
	}
	return false
}

// escapedUnit reads the UTF-16 unit of the \uXXXX that s begins with.
func escapedUnit(s []byte) (uint64, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	return unit, err == nil
}

// kind names the type of a JSON value.
func kind(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "missing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
