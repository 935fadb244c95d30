package predictions

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"cubby/labels"
	"cubby/models"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Row
	}{
		{"question, answer and prediction", `{"question": "why the fee", "answer": "fee", "prediction": "<output>card</output>", "context": "<NA>", "accuracy": 0.0}`,
			Row{Text: "why the fee", Reference: "fee", Written: "<output>card</output>"}},
		{"context is null", `{"question":"q","answer":"a","prediction":"p","context":null}`, Row{Text: "q", Reference: "a", Written: "p"}},
		{"messages, strings", `{"prompt":[{"role":"system","content":"Sort."},{"role":"user","content":"q"}],"completion":"a","prediction":"p"}`,
			Row{Text: "q", System: "Sort.", HasPrompt: true, Reference: "a", Written: "p"}},
		{"messages as a JSON string, messages as answers", `{"prompt":"[{\"role\":\"user\",\"content\":\"q\"}]","completion":{"role":"assistant","content":"a"},"prediction":{"role":"assistant","content":"p","tool_calls":null}}`,
			Row{Text: "q", HasPrompt: true, Reference: "a", Written: "p"}},
		{"answers as JSON strings with a message", `{"prompt":[{"role":"user","content":"q"}],"completion":"[{\"role\":\"assistant\",\"content\":\"a\"}]","prediction":"{\"role\": \"assistant\", \"content\": \"p\"}"}`,
			Row{Text: "q", HasPrompt: true, Reference: "a", Written: "p"}},
		{"answers as lists", `{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}],"prediction":[{"role":"user","content":"x"},{"role":"assistant","content":"p"}]}`,
			Row{Text: "q", HasPrompt: true, Reference: "a", Written: "p"}},
		{"answers as objects", `{"prompt":[{"role":"user","content":"q"}],"completion":"{\"label\": \"a\"}","prediction":{"label": "p"}}`,
			Row{Text: "q", HasPrompt: true, Reference: `{"label": "a"}`, Written: `{"label": "p"}`}},
		{"examples before the text", `{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"1"},{"role":"assistant","content":"2"},{"role":"user","content":"q"}],"completion":"a","prediction":"p"}`,
			Row{Text: "q", System: "s", HasPrompt: true, Turns: 2, Reference: "a", Written: "p"}},
		{"a message without content", `{"prompt":[{"role":"user","content":"q"}],"completion":"a","prediction":{"role":"assistant","content":null}}`,
			Row{Text: "q", HasPrompt: true, Reference: "a"}},
		{"an empty answer", `{"question":"q","answer":"a","prediction":""}`, Row{Text: "q", Reference: "a"}},
		{"a string that looks like JSON", `{"question":"q","answer":"a","prediction":"[1]"}`, Row{Text: "q", Reference: "a", Written: "[1]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows, bad, err := Read(iotest.OneByteReader(strings.NewReader("\ufeff" + c.in + "\r\n\n")))
			c.want.Line = 1
			if err != nil || len(bad) > 0 || len(rows) != 1 || rows[0] != c.want {
				t.Errorf("%+v, %v, %v\nwant %+v", rows, bad, err, c.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "it holds no rows",
		" \n\n":                             "it holds no rows",
		"card\n":                            "line 1: it is not a JSON object of a prediction",
		"[]":                                "line 1: it is not a JSON object of a prediction",
		`{"question":"q","answer":"a"}`:     "line 1: it has no prediction",
		`{"question":"q","prediction":"p"}`: "neither a prompt nor a question with its answer",
		`{"prompt":[],"completion":"a","prediction":"p"}`:                            "prompt: no message is the user's",
		`{"prompt":"q","completion":"a","prediction":"p"}`:                           "prompt: it is neither a list of",
		`{"prompt":[{"role":"user"}],"completion":"a","prediction":"p"}`:             "prompt: message 1 has no role or no content",
		`{"prompt":[{"role":"user","content":"q"}],"prediction":"p"}`:                "it has no completion",
		`{"prompt":[{"role":"user","content":"q"}],"completion":1,"prediction":"p"}`: "completion: it is neither a string nor a message",
		`{"question":"q","answer":"a","prediction":[]}`:                              "prediction: it is neither a string nor a message",
		"{\"question\":\"\xff\",\"answer\":\"a\",\"prediction\":\"p\"}":              "line 1: it is not valid UTF-8",
		"\n" + `{"question":"` + strings.Repeat("x", maxRow) + `"}`:                  "line 2: it is longer than 16 MiB",
	} {
		_, _, err := Read(strings.NewReader(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", in, err, want)
		}
	}
	if _, _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// A line that is not understood does not keep the others from being read.
func TestReadGoesOn(t *testing.T) {
	rows, bad, err := Read(strings.NewReader("x\n" + `{"question":"q","answer":"a","prediction":"p"}` + "\n{}"))
	if err != nil || len(rows) != 1 || rows[0].Line != 2 || len(bad) != 2 || bad[0].Line != 1 || bad[1].Error() != "line 3: it has no prediction" {
		t.Errorf("%+v, %v, %v", rows, bad, err)
	}
}

func set(t testing.TB, names ...string) *labels.Set {
	t.Helper()
	var list []labels.Label
	for _, n := range names {
		list = append(list, labels.Label{Name: n})
	}
	s, err := labels.NewSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadLabel(t *testing.T) {
	s := set(t, "card", "cash out", " spaced ", `{"label": "odd"}`)
	for in, want := range map[string]Said{
		"card":                              {0, models.Bare, false},
		" cash out\n":                       {1, models.Bare, false},
		"spaced":                            {2, models.Bare, false},
		"Card":                              {-1, models.Bare, false},
		"cards":                             {-1, models.Bare, false},
		"":                                  {-1, models.Bare, false},
		"<output>card</output>":             {0, models.Tagged, false},
		"\n<output>\ncash out\n</output>\n": {1, models.Tagged, false},
		"<output>card</output><output>cash out</output>": {1, models.Tagged, false},
		"<output>nothing</output>":                       {-1, models.Tagged, false},
		"<output>card":                                   {-1, models.Bare, false},
		`{"label": "card"}`:                              {0, models.JSON, false},
		`{"label": "card", "why": "x"}`:                  {0, models.JSON, false},
		`{"class": "card"}`:                              {0, models.JSON, false},
		`{"class": "card", "why": "cash out"}`:           {-1, models.Bare, false},
		`{"label": 3}`:                                   {-1, models.Bare, false},
		`{"label": "odd"}`:                               {3, models.Bare, false},
		"<think>\n\n</think>\n\ncard":                    {0, models.Bare, false},
		"<think>cash out?</think>card":                   {0, models.Bare, true},
		"it is a card</think>{\"label\": \"card\"}":      {0, models.JSON, true},
		"<think>cash out, or card":                       {-1, models.Bare, true},
	} {
		if got := ReadLabel(s, in); got != want {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	rows := []Row{{Text: "b"}, {Text: "a\nx"}, {Text: "twice"}, {Text: "other"}, {Text: "twice"}}
	at, unused := Match([]string{"a\r\nx", " b\n", "twice", "none", "twice", "twice"}, rows)
	if want := []int{1, 0, 2, -1, 4, -1}; !reflect.DeepEqual(at, want) || unused != 1 {
		t.Errorf("%v, %d unused; want %v, 1", at, unused, want)
	}
}

func TestUnwrap(t *testing.T) {
	before, after := "\n\nNow for the real task\n<question>", "</question>\n"
	for in, want := range map[string]string{
		before + " my card " + after:                  " my card ",
		strings.TrimSpace(before + "my card" + after): "my card",
		"my card":                      "my card",
		"<question>my card</question>": "<question>my card</question>",
		before + "<question>my card</question>" + after: "<question>my card</question>",
	} {
		if got := Unwrap(in, before, after); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Unwrap(" as it is\n", "", ""); got != " as it is\n" {
		t.Errorf("without a wrapper: %q", got)
	}
}

func TestAccuracy(t *testing.T) {
	for in, want := range map[string]float64{
		`{"base_model_performance":null,"tuned_model_performance":{"accuracy":0.75,"card":{"precision":1.0}}}`: 0.75,
		`{"message":"done","evaluation_results":{"teacher":{"accuracy":0.5},"student-tuned":{"accuracy":1}}}`:  1,
		`{"tuned_model_performance":null}`: -1, `{"tuned_model_performance":{"accuracy":null}}`: -1, `{"tuned_model_performance":{"accuracy":7}}`: -1, "": -1, "[]": -1,
	} {
		got, ok := Accuracy([]byte(in))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%s: %v, %v", in, got, ok)
		}
	}
}

// Whatever a file holds, each line is a row or an error of its own, and a label that
// is found is one of the set.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"question":"q","answer":"a","prediction":"<output>a</output>"}`))
	f.Add([]byte(`{"prompt":"[{\"role\":\"user\",\"content\":\"q\"}]","completion":{"role":"assistant","content":"a"},"prediction":"{\"label\":\"a\"}"}` + "\nx\n"))
	f.Add([]byte(`{"prompt":[{"role":"user","content":"q"}],"completion":"a","prediction":"<think>x</think> a"}`))
	s := set(f, "a", "b")
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, bad, err := Read(strings.NewReader(string(data)))
		if (err == nil) != (len(rows) > 0) {
			t.Fatalf("%d rows and the error %v", len(rows), err)
		}
		seen := map[int]bool{}
		texts := make([]string, len(rows))
		for i, r := range rows {
			if seen[r.Line] || r.Line < 1 {
				t.Fatalf("line %d twice", r.Line)
			}
			seen[r.Line] = true
			texts[i] = r.Text
			if got := ReadLabel(s, r.Written).Label; got < -1 || got >= s.Len() {
				t.Fatalf("label %d", got)
			}
		}
		for _, b := range bad {
			if seen[b.Line] {
				t.Fatalf("line %d is a row and none", b.Line)
			}
			seen[b.Line] = true
		}
		at, unused := Match(texts, rows)
		for i, j := range at {
			if j < 0 || key(rows[j].Text) != key(texts[i]) {
				t.Fatalf("row %d matches %d", i, j)
			}
		}
		if unused != 0 {
			t.Fatalf("%d of its own rows are unused", unused)
		}
	})
}
