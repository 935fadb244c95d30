package platform

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of an answer.
type object map[string]json.RawMessage

// isNull reports whether a value is absent or null.
func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

// asObject reads a value that is an object, or a string that holds one: the first
// platform nested its answers so.
func asObject(raw json.RawMessage) object {
	var o object
	if json.Unmarshal(raw, &o) == nil {
		return o
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && json.Unmarshal([]byte(text), &o) == nil {
		return o
	}
	return nil
}

// first is the value of the first key that is there and not null.
func (o object) first(keys ...string) json.RawMessage {
	for _, k := range keys {
		if raw, ok := o[k]; ok && !isNull(raw) {
			return raw
		}
	}
	return nil
}

// text is the first of the keys that holds a string, or a number, as ids once did.
func (o object) text(keys ...string) string {
	for _, k := range keys {
		if s, ok := asText(o[k]); ok && s != "" {
			return s
		}
	}
	return ""
}

func asText(raw json.RawMessage) (string, bool) {
	if isNull(raw) {
		return "", false
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, true
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String(), true
	}
	return "", false
}

// asNumber reads a finite number.
func asNumber(raw json.RawMessage) (float64, bool) {
	var f float64
	if isNull(raw) || json.Unmarshal(raw, &f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// asTime reads the ways in which Python programs write a moment: ISO 8601 with or
// without a zone, which then is UTC, or seconds since 1970.
func asTime(raw json.RawMessage) time.Time {
	if f, ok := asNumber(raw); ok && f > 0 && f < 1e11 {
		return time.Unix(int64(f), 0).UTC()
	}
	s, _ := asText(raw)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// envelopes are the keys under which an answer may hold what it is about.
var envelopes = []string{"data", "result", "slm", "model", "item", "dataset"}

// openEnvelope returns the object an answer is about: itself where it has one of
// the keys, else what lies in its envelope.
func openEnvelope(body []byte, keys ...string) object {
	o := asObject(body)
	if o == nil || o.hasKey(keys...) {
		return o
	}
	for _, k := range envelopes {
		if inner := asObject(o[k]); inner != nil && inner.hasKey(keys...) {
			return inner
		}
	}
	return o
}

// hasKey reports whether one of the keys is there, null or not.
func (o object) hasKey(keys ...string) bool {
	for _, k := range keys {
		if _, ok := o[k]; ok {
			return true
		}
	}
	return false
}

// page is a part of a list.
type page struct {
	items  []json.RawMessage
	cursor string // of the next one; empty for none, or where pages are counted
}

// parsePage reads a list: a bare array, as it is documented, or an object with an
// array in it, and with a cursor as lists of traces have it.
func parsePage(request string, body []byte) (page, error) {
	var p page
	if json.Unmarshal(body, &p.items) == nil {
		return p, nil
	}
	o := asObject(body)
	if o == nil {
		return p, unreadable(request, "it is not JSON, but %s", looksLike(body))
	}
	for _, k := range []string{"items", "slms", "models", "data", "results"} {
		if raw, ok := o[k]; ok && json.Unmarshal(raw, &p.items) == nil {
			p.cursor = o.text("pagination_cursor", "pagination-cursor", "next_cursor")
			return p, nil
		}
	}
	return p, unreadable(request, "it holds no list")
}

// looksLike describes a body that is not JSON, without repeating it.
func looksLike(body []byte) string {
	text := strings.TrimSpace(string(body))
	switch {
	case text == "":
		return "empty"
	case strings.HasPrefix(text, "<"):
		return "a web page"
	}
	return strconv.Itoa(len(body)) + " bytes of something else"
}
