package models

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAnswerText(t *testing.T) {
	object := Answer{Form: JSON, Prefix: `{"label": "`, Suffix: `"}`}
	ascii := object
	ascii.ASCII = true
	for _, c := range []struct {
		answer      Answer
		label, want string
	}{
		{Answer{Form: Bare}, `say "é"`, `say "é"`},
		{Answer{Form: Tagged, Prefix: "<output>", Suffix: "</output>"}, `a\"`, `<output>a\"</output>`},
		{object, `say "hi" \o/`, `{"label": "say \"hi\" \\o/"}`},
		{object, "a\tb\n\x01\x7f<&>\u2028é😀", `{"label": "a\tb\n\u0001` + "\x7f<&>\u2028é😀" + `"}`},
		{ascii, "é😀\u2028", `{"label": "\u00e9\ud83d\ude00\u2028"}`},
	} {
		if got := c.answer.Text(c.label); got != c.want {
			t.Errorf("%q: %s, want %s", c.label, got, c.want)
		}
	}
}

// Whatever the label, the answer is JSON that holds it, and in ASCII only that.
func TestAnswerTextIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label, ascii := rapid.String().Draw(t, "label"), rapid.Bool().Draw(t, "ascii")
		text := Answer{Form: JSON, Prefix: `{"x" : "`, Suffix: "\" }", ASCII: ascii}.Text(label)
		var object map[string]string
		if err := json.Unmarshal([]byte(text), &object); err != nil || object["x"] != label {
			t.Fatalf("%s holds %q, %v", text, object["x"], err)
		}
		if ascii && strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
			t.Fatalf("%s is not ASCII", text)
		}
	})
}

func TestAnswerKey(t *testing.T) {
	for want, a := range map[string]Answer{
		"label": {Form: JSON, Prefix: `{"label": "`, Suffix: `"}`},
		`a "b"`: {Form: JSON, Prefix: "{\n  \"a \\\"b\\\"\":\"", Suffix: "\"\n}"},
		"":      {Form: Tagged, Prefix: `{"label": "`, Suffix: `"}`},
	} {
		if got := a.Key(); got != want {
			t.Errorf("%+v has the key %q, want %q", a, got, want)
		}
	}
	for _, a := range []Answer{{Form: JSON, Prefix: "x", Suffix: "y"}, {Form: JSON, Prefix: `{"a": "b", "label": "`, Suffix: `"}`}} {
		if got := a.Key(); got != "" {
			t.Errorf("%+v has the key %q", a, got)
		}
	}
}
