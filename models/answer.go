package models

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is the whole answer for a label, without the end token. Inside JSON the
// label is spelt as Python's json module spells it.
func (a Answer) Text(label string) string {
	if a.Form == JSON {
		label = jsonText(label, a.ASCII)
	}
	return a.Prefix + label + a.Suffix
}

// Key is the key that the label stands under in an answer of the form JSON; empty
// for others.
func (a Answer) Key() string {
	var object map[string]string
	if a.Form != JSON || json.Unmarshal([]byte(a.Text("")), &object) != nil || len(object) != 1 {
		return ""
	}
	for key := range object {
		return key
	}
	return ""
}

// jsonText escapes what JSON must, and with ascii all that is not ASCII.
func jsonText(s string, ascii bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			b.WriteString(controlText(r))
		case r < utf8.RuneSelf || !ascii:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func controlText(r rune) string {
	if i := strings.IndexRune("\b\f\n\r\t", r); i >= 0 {
		return `\` + "bfnrt"[i:i+1]
	}
	return fmt.Sprintf(`\u%04x`, r)
}
