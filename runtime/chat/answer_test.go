package chat

import (
	"testing"

	"cubby/labels"
)

func TestReadIsStrict(t *testing.T) {
	for _, c := range []struct {
		content string
		bare    bool
		want    string // the label; or the error
	}{
		{`{"label": "cash"}`, false, "cash"},
		{"\n{ \"label\"\t:\n\"card\" }\n", false, "card"},
		{`{"label":"d\u00e9j\u00e0 \"vu\""}`, false, `déjà "vu"`},
		{`{"label":"déjà \u0022vu\""}`, false, `déjà "vu"`},
		{`{"label": "Cash"}`, false, errUnknown.Error()},
		{`{"label": " cash"}`, false, errUnknown.Error()},
		{`{"label": "cash_advance"}`, false, errUnknown.Error()},
		{`{"label": ""}`, false, errUnknown.Error()},
		{`{"Label": "cash"}`, false, errMembers.Error()},
		{`{"label": "cash", "why": "x"}`, false, errMembers.Error()},
		{`{"label": "cash", "label": "card"}`, false, errMembers.Error()},
		{`{"why": "x", "label": "cash"}`, false, errMembers.Error()},
		{`{"label": ["cash"]}`, false, errMembers.Error()},
		{`{"label": null}`, false, errMembers.Error()},
		{`{}`, true, errMembers.Error()},
		{`{"label": "cash"} {"label": "card"}`, false, errNotObject.Error()},
		{`{"label": "cash"`, false, errNotObject.Error()},
		{`["cash"]`, false, errNotObject.Error()},
		{"```json\n{\"label\": \"cash\"}\n```", false, errNotObject.Error()},
		{"cash", false, errNotObject.Error()},
		{`"cash"`, false, errNotObject.Error()},
		{"", false, errNotObject.Error()},
		{"{\"label\": \"cash\xff\"}", false, errNotObject.Error()},
		{"cash", true, "cash"},
		{" cash\n", true, "cash"},
		{`"cash"`, true, "cash"},
		{" 'card' ", true, "card"},
		{"“card”", true, "card"},
		{"` card `", true, "card"},
		{`déjà "vu"`, true, `déjà "vu"`},
		{`{"label": "card"}`, true, "card"},
		{"cash.", true, errUnknown.Error()},
		{"The label is cash", true, errUnknown.Error()},
		{"cash or card", true, errUnknown.Error()},
		{`"`, true, errUnknown.Error()},
		{"", true, errUnknown.Error()},
		{`""`, true, errUnknown.Error()},
	} {
		a, err := read(c.content, testSet, c.bare)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = testSet.Name(a.label)
		}
		if got != c.want {
			t.Errorf("%q, bare %v: %s, want %s", c.content, c.bare, got, c.want)
		}
		if err == nil {
			whole(t, c.content, a)
		}
	}
}

// whole requires from and to to mark the label's spelling.
func whole(t *testing.T, content string, a answer) {
	t.Helper()
	part := content[a.from:a.to]
	if name := testSet.Name(a.label); a.bare && part != name {
		t.Errorf("%q: the label stands in %q", content, part)
	}
	if !a.bare {
		again, err := read(`{"label":`+part+`}`, testSet, false)
		if err != nil || again.label != a.label {
			t.Errorf("%q: %q is not the label's value", content, part)
		}
	}
}

// Labels that have quotes or space of their own are told apart, or not guessed.
func TestReadLabelsWithQuotes(t *testing.T) {
	set := mustSet(labels.Label{Name: "a"}, labels.Label{Name: `"a"`}, labels.Label{Name: " b "})
	for content, want := range map[string]string{"a": "a", " a": "a", `'a'`: "a", " b ": " b ", `" b "`: " b ", `{"label":"\"a\""}`: `"a"`, `{"label":" b "}`: " b "} {
		if a, err := read(content, set, true); err != nil || set.Name(a.label) != want {
			t.Errorf("%q: %v %v", content, a, err)
		}
	}
	if _, err := read(`"a"`, set, true); err != errAmbiguous {
		t.Errorf("it may be either: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`{"label": "cash"}`, "cash", `"déjà \"vu\""`, `{"label":"d\u00e9j\u00e0 \"vu\""}`, "{", "“card”", `{"label"`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, content string, bare bool) {
		a, err := read(content, testSet, bare)
		if err != nil {
			return
		}
		if a.label < 0 || a.label >= testSet.Len() || a.from < 0 || a.to > len(content) || a.from >= a.to || a.bare && !bare {
			t.Fatalf("%q: %+v", content, a)
		}
		whole(t, content, a)
	})
}
