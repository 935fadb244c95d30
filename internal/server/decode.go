package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"cubby/models"
	"cubby/runtime"
)

// request is the body of POST /v1/classify.
type request struct {
	model      string
	items      []item
	single     bool // "input" is one string
	topK       int  // 0 for all labels
	scoring    models.Scoring
	noTruncate bool
}

// item is one text of a request, with the name its sender gave it.
type item struct {
	id    string
	hasID bool
	text  string
}

// parseRequest reads the body strictly: what it does not understand it refuses,
// with the byte where it stands, rather than guess. Nesting needs no limit of
// its own: a value deeper than the request's shape has a wrong type.
func parseRequest(body []byte) (*request, error) {
	if err := checkText(body); err != nil {
		return nil, err
	}
	r := newReader(body)
	req := &request{}
	hasInput := false
	err := r.object("the request", func(key string, at int64) (err error) {
		switch key {
		case "model":
			req.model, err = r.string(key)
		case "input":
			hasInput = true
			err = r.input(req)
		case "top_k":
			req.topK, err = r.positive(key)
		case "scoring":
			req.scoring, err = r.scoring(key)
		case "truncate":
			var truncate bool
			truncate, err = r.bool(key)
			req.noTruncate = !truncate
		default:
			err = failAt(codeUnknownField, at, `the request has a field that does not exist: known are "model", "input", "top_k", "scoring" and "truncate"`)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !hasInput {
		return nil, &failure{Code: codeMissingField, Message: `the request has no "input"`,
			Hint: `send {"input": "text"} or {"input": ["text", "text"]}`}
	}
	return req, nil
}

// checkText refuses bodies that are not UTF-8 or not one JSON value.
func checkText(body []byte) error {
	if i := invalidUTF8(body); i >= 0 {
		return failAt(runtime.CodeInvalidUTF8, int64(i), "the body is not valid UTF-8")
	}
	var whole json.RawMessage
	err := json.Unmarshal(body, &whole)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		// The offset counts the bytes read up to and including the bad one.
		return failAt(codeBadJSON, max(syntax.Offset-1, 0), "the body is not valid JSON")
	}
	if err != nil {
		return &failure{Code: codeBadJSON, Message: "the body is not valid JSON", Cause: err}
	}
	return nil
}

// invalidUTF8 returns the place of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

func failAt(code runtime.Code, at int64, message string) *failure {
	return &failure{Code: code, Message: message, Offset: &at}
}

// reader walks a body that is known to be valid JSON.
type reader struct {
	dec  *json.Decoder
	body []byte
}

func newReader(body []byte) *reader {
	r := &reader{dec: json.NewDecoder(bytes.NewReader(body)), body: body}
	r.dec.UseNumber()
	return r
}

// at is the offset of the next token.
func (r *reader) at() int64 {
	i := r.dec.InputOffset()
	for i < int64(len(r.body)) && bytes.IndexByte([]byte(" \t\r\n,:"), r.body[i]) >= 0 {
		i++
	}
	return i
}

// next reads a token of the wanted Go type; what names the value in the error,
// want its JSON type.
func next[T json.Token](r *reader, what, want string) (T, error) {
	at := r.at()
	t, err := r.dec.Token()
	v, ok := t.(T)
	if err != nil || !ok {
		return v, failAt(codeWrongType, at, what+" must be "+want)
	}
	if s, isString := t.(string); isString && len(s) > 0 && loneSurrogate(r.body[at:r.dec.InputOffset()]) {
		return v, failAt(runtime.CodeInvalidUTF8, at, what+" holds half of a surrogate pair, which is no character")
	}
	return v, nil
}

func (r *reader) string(key string) (string, error) {
	return next[string](r, quoted(key), "a string")
}

func (r *reader) bool(key string) (bool, error) {
	return next[bool](r, quoted(key), "true or false")
}

func (r *reader) positive(key string) (int, error) {
	at := r.at()
	n, err := next[json.Number](r, quoted(key), "a number")
	if err != nil {
		return 0, err
	}
	i, err := strconv.Atoi(n.String())
	if err != nil || i < 1 {
		return 0, failAt(codeBadValue, at, quoted(key)+" must be a whole number of at least 1")
	}
	return i, nil
}

func (r *reader) scoring(key string) (models.Scoring, error) {
	at := r.at()
	s, err := r.string(key)
	if err != nil {
		return "", err
	}
	switch m := models.Scoring(s); m {
	case models.Constrained, models.Likelihood, models.Head:
		return m, nil
	}
	return "", failAt(runtime.CodeBadScoring, at, quoted(key)+` must be "constrained", "likelihood" or "head"`)
}

// input reads a string, or a list of strings and objects.
func (r *reader) input(req *request) error {
	const want = `a string, or a list of strings or of {"id", "text"} objects`
	at := r.at()
	switch r.body[at] {
	case '"':
		text, err := r.string("input")
		req.single, req.items = true, []item{{text: text}}
		return err
	case '[':
		var err error
		req.items, err = readList(r, "input", r.item)
		return err
	}
	return failAt(codeWrongType, at, quoted("input")+" must be "+want)
}

// readList reads a list of at least one item.
func readList[T any](r *reader, key string, item func() (T, error)) ([]T, error) {
	at := r.at()
	open, err := next[json.Delim](r, quoted(key), "a list")
	if err != nil {
		return nil, err
	}
	if open != '[' {
		return nil, failAt(codeWrongType, at, quoted(key)+" must be a list")
	}
	var list []T
	for r.dec.More() {
		if len(list) == maxItems {
			return nil, failAt(codeTooManyItems, r.at(), quoted(key)+" has more than "+strconv.Itoa(maxItems)+" items")
		}
		it, err := item()
		if err != nil {
			return nil, err
		}
		list = append(list, it)
	}
	if len(list) == 0 {
		return nil, failAt(codeBadValue, at, quoted(key)+" is an empty list")
	}
	_, err = r.dec.Token()
	return list, err
}

func (r *reader) item() (item, error) {
	at := r.at()
	if r.body[at] == '"' {
		text, err := next[string](r, "an item", "a string")
		return item{text: text}, err
	}
	var it item
	hasText := false
	err := r.object("an item", func(key string, at int64) (err error) {
		switch key {
		case "id":
			it.hasID = true
			it.id, err = r.string(key)
		case "text":
			hasText = true
			it.text, err = r.string(key)
		default:
			err = failAt(codeUnknownField, at, `an item has a field that does not exist: known are "id" and "text"`)
		}
		return err
	})
	if err == nil && !hasText {
		err = failAt(codeMissingField, at, `an item has no "text"`)
	}
	return it, err
}

// object reads an object and gives each key, with its offset, to field, which
// reads the value. No key may come twice.
func (r *reader) object(what string, field func(key string, at int64) error) error {
	at := r.at()
	open, err := next[json.Delim](r, what, "an object")
	if err != nil {
		return err
	}
	if open != '{' {
		return failAt(codeWrongType, at, what+" must be an object")
	}
	seen := make(map[string]bool, 5)
	for r.dec.More() {
		at := r.at()
		key, err := next[string](r, "a key", "a string")
		if err != nil {
			return err
		}
		if seen[key] {
			return failAt(codeDuplicate, at, what+" has a field twice")
		}
		seen[key] = true
		if err := field(key, at); err != nil {
			return err
		}
	}
	_, err = r.dec.Token()
	return err
}

func quoted(key string) string { return `"` + key + `"` }

// loneSurrogate reports a \u escape of half a surrogate pair in a raw JSON
// string. Decoding would put U+FFFD in its place: the text scored would not be
// the text sent.
func loneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		unit := hex4(raw[i+1:])
		i += 4
		switch {
		case unit>>10 == 0xdc00>>10:
			return true
		case unit>>10 == 0xd800>>10:
			rest := raw[i+1:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || hex4(rest[2:])>>10 != 0xdc00>>10 {
				return true
			}
			i += 6
		}
	}
	return false
}

// hex4 reads four hex digits that are known to be there.
func hex4(b []byte) uint64 {
	v, _ := strconv.ParseUint(string(b[:4]), 16, 32)
	return v
}
