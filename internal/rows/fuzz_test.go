package rows

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// check reads data in whole and in two pieces, and walks what must hold for
// every input: both agree, rows are valid and in line order, errors are final.
func check(t *testing.T, data []byte, name string, need Need, cut int) {
	t.Helper()
	whole, wholeErr := readAll(bytes.NewReader(data), name, need)
	cut = min(max(cut, 0), len(data))
	split, splitErr := readAll(io.MultiReader(bytes.NewReader(data[:cut]), bytes.NewReader(data[cut:])), name, need)
	if len(whole) != len(split) || (wholeErr == nil) != (splitErr == nil) {
		t.Fatalf("whole: %d rows, %v; split at %d: %d rows, %v", len(whole), wholeErr, cut, len(split), splitErr)
	}
	line := 0
	for i, row := range whole {
		if row != split[i] {
			t.Fatalf("row %d: %+v whole, %+v split", i, row, split[i])
		}
		if !utf8.ValidString(row.Text) || !utf8.ValidString(row.Answer) {
			t.Fatalf("row %d is not UTF-8: %+v", i, row)
		}
		if row.Line <= line || (need == Labeled) != (row.Answer != "") {
			t.Fatalf("row %d: %+v after line %d", i, row, line)
		}
		line = row.Line
	}
}

func readAll(in io.Reader, name string, need Need) ([]Row, error) {
	r, err := New(in, name, need)
	if err != nil {
		return nil, err
	}
	var all []Row
	for row, err := range r.All() {
		if err != nil {
			return all, err
		}
		all = append(all, row)
	}
	return all, nil
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("question,answer\na,b\n"), true, 3)
	f.Add([]byte("\xef\xbb\xbftext\r\n\"a\r\nb\"\r\n"), false, 1)
	f.Add([]byte("text,answer\n\"a,b\n"), true, 14)
	f.Fuzz(func(t *testing.T, data []byte, labeled bool, cut int) {
		need := Text
		if labeled {
			need = Labeled
		}
		check(t, data, "a.csv", need, cut)
	})
}

func FuzzJSONL(f *testing.F) {
	f.Add([]byte("{\"question\":\"a\",\"answer\":\"b\"}\n"), true, 3)
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`), true, 20)
	f.Add([]byte("\n{\"text\":\"\\ud800\"}\r\n[]"), false, 5)
	f.Fuzz(func(t *testing.T, data []byte, labeled bool, cut int) {
		need := Text
		if labeled {
			need = Labeled
		}
		check(t, data, "a.jsonl", need, cut)
	})
}

// FuzzSurrogates: a JSON string is refused exactly when decoding adds a U+FFFD
// that was not written.
func FuzzSurrogates(f *testing.F) {
	f.Add(`"\ud83d\ude00"`)
	f.Add(`"\\ud800 \ud800"`)
	f.Fuzz(func(t *testing.T, raw string) {
		var s string
		if !utf8.ValidString(raw) || json.Unmarshal([]byte(raw), &s) != nil {
			t.Skip("not a JSON string")
		}
		wanted := strings.Count(raw, "\ufffd") + len(replacement.FindAllString(strings.ReplaceAll(raw, `\\`, ""), -1))
		changed := strings.Count(s, "\ufffd") > wanted
		if got := loneSurrogate([]byte(strings.TrimSpace(raw))); got != changed {
			t.Errorf("%s: lone surrogate %v, changed by decoding %v", raw, got, changed)
		}
	})
}

var replacement = regexp.MustCompile(`(?i)\\ufffd`)

// FuzzRoundTrip: whatever a proper writer writes reads back the same.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a \"b\",\n c", "d")
	f.Fuzz(func(t *testing.T, text, answer string) {
		if !utf8.ValidString(text) || !utf8.ValidString(answer) || answer == "" || bytes.ContainsAny([]byte(text+answer), "\r") {
			t.Skip("not a row, or CRLF, which encoding/csv folds")
		}
		var c bytes.Buffer
		w := csv.NewWriter(&c)
		if err := w.WriteAll([][]string{{"text", "answer"}, {text, answer}}); err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(map[string]string{"text": text, "answer": answer})
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"a.csv": c.Bytes(), "a.jsonl": j} {
			got, err := readAll(bytes.NewReader(data), name, Labeled)
			if err != nil || len(got) != 1 || got[0].Text != text || got[0].Answer != answer {
				t.Errorf("%s: wrote %q, %q; read %+v, %v", name, text, answer, got, err)
			}
		}
	})
}
