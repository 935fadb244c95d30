package rows

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name, file, in string
		need           Need
		want           []Row
	}{
		{"csv", "a.csv", "question,answer\nhow much,fee\nwhere,card\n", Labeled,
			[]Row{{2, "how much", "fee"}, {3, "where", "card"}}},
		{"csv without labels wanted", "a.csv", "question,answer\nhow much,\n", Text, []Row{{2, "how much", ""}}},
		{"lone text column", "a.csv", "context\nhow much\n", Text, []Row{{2, "how much", ""}}},
		{"byte order mark, CRLF, letter case, extra columns", "a.csv",
			"\xef\xbb\xbfid, Text ,note,ANSWER\r\n1,how much,x,fee\r\n", Labeled, []Row{{2, "how much", "fee"}}},
		{"quotes, commas, newlines in cells", "a.csv", "input,answer\n\"a \"\"b\"\",\nc\",x\nd,y\n", Labeled,
			[]Row{{2, "a \"b\",\nc", "x"}, {4, "d", "y"}}},
		{"no newline at the end", "a.csv", "text,answer\na,b", Labeled, []Row{{2, "a", "b"}}},
		{"empty text is a row", "a.csv", "text,answer\n,b\n", Labeled, []Row{{2, "", "b"}}},
		{"spaces are kept", "a.csv", "text,answer\n a , b \n", Labeled, []Row{{2, " a ", " b "}}},
		{"csv by content", "standard input", "question,answer\na,b\n", Labeled, []Row{{2, "a", "b"}}},

		{"csv of messages", "a.csv", "id,messages\n1,\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a, b\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"c\"\"}]\"\n", Labeled, []Row{{2, "a, b", "c"}}},
		{"csv of messages without labels wanted", "a.csv", "messages,answer\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"}]\",x\n", Text, []Row{{2, "a", ""}}},

		{"jsonl", "a.jsonl", "{\"question\":\"a\",\"answer\":\"b\"}\n{\"input\":\"c\\nd\",\"answer\":\"e\",\"id\":[1]}", Labeled,
			[]Row{{1, "a", "b"}, {2, "c\nd", "e"}}},
		{"jsonl by content, byte order mark, blank lines, CRLF", "standard input",
			"\xef\xbb\xbf\n {\"text\":\"a\"}\r\n\r\n{\"context\":\"\"}\r\n", Text, []Row{{2, "a", ""}, {4, "", ""}}},
		{"messages", "a.ndjson", `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u1"},{"role":"assistant","content":"a1"},` +
			`{"role":"user","content":"u2"},{"role":"assistant","content":"a2"}]}`, Labeled, []Row{{1, "u2", "a2"}}},
		{"messages without a label wanted", "a.jsonl", `{"messages":[{"role":"user","content":"u"}]}`, Text, []Row{{1, "u", ""}}},
		{"surrogate pair, escaped backslash", "a.jsonl", `{"text":"\ud83d\ude00 \\ud800 \ufffd"}`, Text, []Row{{1, "\U0001f600 \\ud800 \ufffd", ""}}},
		{"answer of another type is not looked at", "a.jsonl", `{"text":"u","answer":3}`, Text, []Row{{1, "u", ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for kind, in := range map[string]io.Reader{
				"at once":      strings.NewReader(tt.in),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				r, err := New(in, tt.file, tt.need)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				got, err := r.ReadAll()
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: got %+v, want %+v", kind, got, tt.want)
				}
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct {
		name, file, in string
		want           string
	}{
		{"empty", "a.csv", "", `a.csv: is empty; expected CSV with a header, or JSONL`},
		{"blank", "a.jsonl", " \r\n\n", `a.jsonl: is empty`},
		{"only a mark", "a.csv", "\xef\xbb\xbf", `a.csv: is empty`},
		{"header only", "a.csv", "text,answer\n", `a.csv: holds no rows`},
		{"no text column", "a.csv", "id,ticket\n1,a\n", `a.csv:1: no text column: found ["id" "ticket"]; expected one of question, text, context, input`},
		{"csv of messages that are no JSON", "a.csv", "messages\nx\n", `a.csv:2: column "messages": not valid JSON at byte 1`},
		{"csv of messages without an answer", "a.csv", "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"}]\"\n", `a.csv:2: messages has no message with role "assistant"`},
		{"messages and an answer", "a.csv", "messages,answer\na,b\n", `a.csv:1: columns messages and answer: keep one`},
		{"text and messages", "a.csv", "text,messages\na,b\n", `more than one text column: text, messages; keep one`},
		{"semicolons", "a.csv", "text;answer\na;b\n", `; columns are separated by commas`},
		{"two text columns", "a.csv", "text,answer,input\na,b,c\n", `a.csv:1: more than one text column: text, input; keep one`},
		{"one column twice", "a.csv", "text,answer,Text\na,b,c\n", `a.csv:1: two columns are called "text"`},
		{"no answer column", "a.csv", "text,label\na,b\n", `a.csv:1: no column "answer": found ["text" "label"]`},
		{"empty answer", "a.csv", "text,answer\na,b\nc,\n", `a.csv:3: column "answer" is empty`},
		{"short row", "a.csv", "text,answer\n\"a\nb\",c\nd\n", `a.csv:4: has 1 columns; the header has 2`},
		{"long row", "a.csv", "text,answer\nd,e,f\n", `a.csv:2: has 3 columns; the header has 2`},
		{"stray quote", "a.csv", "text,answer\na \"b\" c,d\n", `a.csv:2: stray or unclosed quote`},
		{"unclosed quote", "a.csv", "text,answer\n\"a,d\nb,c\n", `a.csv:2: stray or unclosed quote`},
		{"csv not UTF-8", "a.csv", "text,answer\na,b\ncaf\xe9,d\n", `a.csv:3: column 1 is not valid UTF-8`},
		{"header not UTF-8", "a.csv", "text,answer,caf\xe9\na,b,c\n", `a.csv:1: column 3 is not valid UTF-8`},
		{"gzip", "a.csv", "\x1f\x8b\x08", `a.csv: is compressed with gzip`},
		{"spreadsheet", "a.csv", "PK\x03\x04", `a.csv: is a zip archive`},
		{"UTF-16", "a.csv", "\xff\xfet\x00", `a.csv: is UTF-16`},

		{"JSON array", "a.json", `[{"text":"a"}]`, `a.json: is a JSON array; expected JSONL`},
		{"not JSON", "a.jsonl", "{\"text\":\"a\",\"answer\":\"b\"}\n{\"text\":\n", `a.jsonl:2: not valid JSON at byte`},
		{"two objects", "a.jsonl", `{"text":"a","answer":"b"} {}`, `a.jsonl:1: not valid JSON at byte`},
		{"not an object", "a.jsonl", `"a"`, `a.jsonl:1: not a JSON object`},
		{"no key", "a.jsonl", `{"id":1,"label":"a"}`, `a.jsonl:1: no text: found the keys ["id" "label"]; expected one of question`},
		{"two texts", "a.jsonl", `{"text":"a","messages":[],"answer":"b"}`, `a.jsonl:1: more than one text: messages, text`},
		{"key twice", "a.jsonl", `{"text":"a","text":"b","answer":"b"}`, `a.jsonl:1: two keys are called "text"`},
		{"no answer", "a.jsonl", `{"text":"a"}`, `a.jsonl:1: no key "answer": found ["text"]`},
		{"blank answer", "a.jsonl", `{"text":"a","answer":""}`, `a.jsonl:1: answer is empty`},
		{"text of wrong type", "a.jsonl", `{"text":3,"answer":"b"}`, `a.jsonl:1: text is a number; expected a string`},
		{"answer null", "a.jsonl", `{"text":"a","answer":null}`, `a.jsonl:1: answer is null; expected a string`},
		{"jsonl not UTF-8", "a.jsonl", "{\"text\":\"caf\xe9\",\"answer\":\"b\"}", `a.jsonl:1: not valid UTF-8`},
		{"messages not a list", "a.jsonl", `{"messages":"a"}`, `a.jsonl:1: messages must be a list`},
		{"no user", "a.jsonl", `{"messages":[{"role":"assistant","content":"a"}]}`, `a.jsonl:1: messages has no message with role "user"`},
		{"no assistant", "a.jsonl", `{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"a"}]}`, `a.jsonl:1: messages has no message with role "assistant" after`},
		{"content in parts", "a.jsonl", `{"messages":[{"role":"user","content":[]}]}`, `content of the user message is a list; expected a string`},
		{"content missing", "a.jsonl", `{"messages":[{"role":"user"}]}`, `content of the user message is missing`},
		{"lone high surrogate", "a.jsonl", `{"text":"a\ud800b","answer":"b"}`, `text has half of a surrogate pair`},
		{"lone low surrogate", "a.jsonl", `{"text":"a","answer":"\\\udc00"}`, `answer has half of a surrogate pair`},
		{"two high surrogates", "a.jsonl", `{"text":"\ud83d\ud83d\ude00","answer":"b"}`, `text has half of a surrogate pair`},
		{"two labels", "a.jsonl", `{"messages":[{"role":"user","content":"a"}],"answer":"b"}`, `both messages and answer`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(strings.NewReader(tt.in), tt.file, Labeled)
			if err == nil {
				_, err = r.ReadAll()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want …%s…", err, tt.want)
			}
		})
	}
}

// TestErrorIsFinal: rows before the fault are read, and nothing after it.
func TestErrorIsFinal(t *testing.T) {
	r, err := New(strings.NewReader("text\na\nb,c\nd\n"), "a.csv", Text)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for row, err := range r.All() {
		if err == nil {
			texts = append(texts, row.Text)
		}
	}
	_, again := r.Read()
	if len(texts) != 1 || texts[0] != "a" || again == nil || again == io.EOF {
		t.Errorf("read %q, then %v; want the one row before the fault, then the fault", texts, again)
	}
}

// endless yields head, then filler for ever.
type endless struct{ head io.Reader }

func (e endless) Read(p []byte) (int, error) {
	if n, _ := e.head.Read(p); n > 0 {
		return n, nil
	}
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestRowLengthIsBounded(t *testing.T) {
	for file, head := range map[string]string{
		"a.csv":   "text\nfirst\n\"",
		"a.jsonl": "{\"text\":\"first\"}\n{\"text\":\"",
	} {
		r, err := New(endless{strings.NewReader(head)}, file, Text)
		if err != nil {
			t.Fatal(err)
		}
		if row, err := r.Read(); err != nil || row.Text != "first" {
			t.Errorf("%s: first row is %q, %v", file, row.Text, err)
		}
		if _, err := r.Read(); err == nil || !strings.Contains(err.Error(), "longer than 16 MiB") {
			t.Errorf("%s: an endless row gave %v", file, err)
		}
	}
}

// TestLongRowsAreRead: the bound is on one row, not on the file.
func TestLongRowsAreRead(t *testing.T) {
	const rows, length = 2, MaxRow / 16 * 9
	long := strings.Repeat("b", length)
	csv := "text\n" + strings.Repeat(long+"\n", rows)
	jsonl := strings.Repeat(`{"text":"`+long+"\"}\n", rows)
	for file, in := range map[string]string{"a.csv": csv, "a.jsonl": jsonl} {
		r, err := New(strings.NewReader(in), file, Text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for row, err := range r.All() {
			if err != nil || len(row.Text) != length {
				t.Fatalf("%s: row %d has %d bytes, %v", file, n, len(row.Text), err)
			}
			n++
		}
		if n != rows {
			t.Errorf("%s: %d rows, want %d", file, n, rows)
		}
	}
}

func TestReadFailure(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, in := range []string{"", "text\n", "text\na\n", "{\"text\":\"a\"}\n", "{\"te"} {
		r, err := New(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)), "a", Text)
		if err == nil {
			_, err = r.ReadAll()
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %q: got %v, want the read's own failure", in, err)
		}
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(path, []byte("text\na\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path, nil, Text)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := r.ReadAll(); err != nil || len(all) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(path+"x", nil, Text); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	r, err = Open(Stdin, strings.NewReader("text\na\n"), Text)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := r.ReadAll(); err != nil || len(all) != 1 || r.Close() != nil {
		t.Errorf("standard input: got %v, %v", all, err)
	}
}
