package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quote writes s as JSON does, with no more escapes than needed.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string has JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ascii writes s as JSON in ASCII alone, as some models and libraries do.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range quote(s) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
