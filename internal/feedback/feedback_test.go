package feedback

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A line that a killed process left half is cut off, and the next run goes on behind
// the last whole one.
func TestKeep(t *testing.T) {
	name := filepath.Join(t.TempDir(), "feedback.jsonl")
	keep := func(id string) {
		t.Helper()
		f, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Keep([]Feedback{{ID: id, Model: "m", Label: "a <b>"}, {ID: id + "2", Model: "m", Label: "b"}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	keep("x")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{`{"id":"half`, strings.Repeat("x", 200_000)} {
		if err := os.WriteFile(name, append(bytes.Clone(whole), half...), 0o600); err != nil {
			t.Fatal(err)
		}
		keep("y")
		now, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(now, whole) || bytes.Count(now, []byte("\n")) != 4 || !bytes.Contains(now, []byte(`"label":"a <b>"`)) {
			t.Errorf("%.300s, %v", now, err)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

const kept = `{"id":"1","model":"m","label":"a","text":"one"}
{"id":"2","model":"m","label":"a"}
{"id":"1","model":"m","label":"b","text":"one\u2028 \u0007more"}
{"id":"1","model":"other","label":"d","text":"two"}
{"id":"1","model":"other","label":"c"}
`

func TestExport(t *testing.T) {
	for _, c := range []struct{ model, format, want string }{
		{"m", Messages, `{"messages":[{"role":"user","content":"one\u2028 \u0007more"},{"role":"assistant","content":"b"}]}` + "\n"},
		{"m", Traces, `{"messages":[{"role":"user","content":"one more"},{"role":"assistant","content":"b"}]}` + "\n"},
		{"other", Flat, `{"question":"two","answer":"c"}` + "\n"},
		{"none", Flat, ""},
	} {
		var out bytes.Buffer
		written, textless, err := Export(&out, strings.NewReader(kept), c.model, c.format)
		if err != nil || out.String() != c.want || written != strings.Count(c.want, "\n") || textless != map[string]int{"m": 1}[c.model] {
			t.Errorf("%s as %s: %q, %d, %d, %v", c.model, c.format, out.String(), written, textless, err)
		}
	}
	for file, want := range map[string]string{kept + "{": "line 6: ", `{"id":"x"}`: "line 1: no feedback"} {
		if _, _, err := Export(&bytes.Buffer{}, strings.NewReader(file), "", Flat); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, _, err := Export(&bytes.Buffer{}, strings.NewReader(""), "", "csv"); err == nil || !strings.Contains(err.Error(), `there is no format "csv"`) {
		t.Error(err)
	}
}

func FuzzExport(f *testing.F) {
	f.Add(kept)
	f.Fuzz(func(t *testing.T, file string) {
		for _, format := range []string{Messages, Flat, Traces} {
			var out bytes.Buffer
			written, _, err := Export(&out, strings.NewReader(file), "", format)
			if err == nil && bytes.Count(out.Bytes(), []byte("\n")) != written {
				t.Fatalf("%d rows in %q", written, out.String())
			}
		}
	})
}
