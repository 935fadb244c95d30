package eval

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cubby/labels"
)

// someAnswers draws answers of a set, some of them errors.
func someAnswers(rt *rapid.T, set *labels.Set, rows int) []Answer {
	answers := make([]Answer, rows)
	for i := range answers {
		if rapid.IntRange(0, 4).Draw(rt, "fails") == 0 {
			answers[i].Err = errors.New("the text is empty")
			continue
		}
		d, err := labels.Softmax(rapid.SliceOfN(rapid.Float64Range(-50, 50), set.Len(), set.Len()).Draw(rt, "scores"))
		if err != nil {
			rt.Fatal(err)
		}
		answers[i] = Answer{Distribution: d, Review: i%2 == 0, Tokens: i, Truncated: i % 3, Unresolved: float64(i % 2)}
	}
	return answers
}

// What was written is read to the bit, whatever was cut off behind it.
func TestPredictions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := setOf(t, "a", "<b>\n\"", "é")
		rows := make([]Row, rapid.IntRange(1, 20).Draw(rt, "rows"))
		for i := range rows {
			rows[i] = Row{Line: i + 2, Text: "text", Answer: set.Name(i % 3)}
		}
		answers := someAnswers(rt, set, len(rows))
		var file bytes.Buffer
		h := PredictionsHeader{Model: "m", Artifact: "sha256:0", Engine: "e", Scoring: "constrained", Dataset: DatasetDigest(rows), Rows: len(rows)}
		w, err := NewPredictionsWriter(&file, set, h)
		if err != nil {
			rt.Fatal(err)
		}
		header := file.Len()
		if err := w.Write(rows, answers); err != nil {
			rt.Fatal(err)
		}
		whole := slices.Clone(file.Bytes())
		cut := rapid.IntRange(header, len(whole)).Draw(rt, "cut")
		p, err := ReadPredictions(bytes.NewReader(whole[:cut]))
		if err != nil {
			rt.Fatal(err)
		}
		again := bytes.NewBuffer(whole[:p.Size:p.Size])
		if err := ContinuePredictions(again, set).Write(rows[len(p.Answers):], answers[len(p.Answers):]); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), whole) {
			rt.Fatalf("continued at %d of %d rows:\n%s\nwant\n%s", len(p.Answers), len(rows), again, whole)
		}
		for i, a := range p.Answers {
			if a.Err != nil && a.Err.Error() == answers[i].Err.Error() {
				continue
			}
			if !reflect.DeepEqual(a, answers[i]) || p.Lines[i] != rows[i].Line || p.Truth[i] != rows[i].Answer {
				rt.Errorf("read %+v, wrote %+v", a, answers[i])
			}
		}
	})
}

const smallPredictions = `{"format":"cubby-predictions-1","labels":["a","b"]}
{"line":2,"answer":"a","label":"a","probabilities":{"a":0.75,"b":0.25}}
`

func TestBadPredictions(t *testing.T) {
	for file, want := range map[string]string{
		"":                       "it is empty",
		"question,answer\na,b\n": "line 1: it is no file of predictions",
		`{"format":"cubby-predictions-2","labels":["a"]}` + "\n":                         "line 1: it is no file of predictions",
		`{"format":"cubby-predictions-1","labels":["a","a"]}` + "\n":                     "line 1: ",
		strings.Replace(smallPredictions, `"b":0.25`, `"c":0.25`, 1):                     `line 2: no probability for the label "b"`,
		strings.Replace(smallPredictions, `"b":0.25`, `"b":0.25,"c":0`, 1):               "line 2: 3 probabilities for 2 labels",
		strings.Replace(smallPredictions, "0.25", "0.26", 1):                             "line 2: probabilities sum to",
		strings.Replace(smallPredictions, `,"probabilities":{"a":0.75,"b":0.25}`, "", 1): "line 2: probabilities:",
		smallPredictions + "{]\n":                                                        "line 3: ",
		smallPredictions + strings.Repeat("x", maxPrediction+1):                          "line 3: it is longer than 16 MiB",
	} {
		if _, err := ReadPredictions(strings.NewReader(file)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.80q: error %v, want %q", file, err, want)
		}
	}
}

func FuzzPredictions(f *testing.F) {
	f.Add([]byte(smallPredictions))
	f.Add([]byte(strings.Replace(smallPredictions, `"label":"a"`, `"error":"failed"`, 1)))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := ReadPredictions(bytes.NewReader(file))
		if err != nil {
			return
		}
		if len(p.Answers) != len(p.Truth) || len(p.Lines) != len(p.Truth) || p.Size > int64(len(file)) {
			t.Fatalf("%+v", p)
		}
		for _, a := range p.Answers {
			if a.Err == nil && a.Distribution.Check() != nil {
				t.Fatalf("%+v", a)
			}
		}
	})
}

func TestDatasetDigest(t *testing.T) {
	seen := map[string]bool{}
	for _, rows := range [][]Row{nil, {{Text: "a", Answer: "b"}}, {{Text: "ab"}}, {{Text: "a"}, {Text: "b"}}, {{Text: "a", Answer: "1 b"}}} {
		seen[DatasetDigest(rows)] = true
	}
	if len(seen) != 5 || DatasetDigest([]Row{{Line: 1, Text: "x"}}) != DatasetDigest([]Row{{Line: 7, Text: "x"}}) {
		t.Errorf("%d digests of five files: %v", len(seen), seen)
	}
}

// The platform's own form: see the metrics of a classification model there.
func TestPlatformMetrics(t *testing.T) {
	r := &Report{Accuracy: 0.5, PerClass: PerClass{{Label: "z", Precision: 1, Recall: 0.5, F1: 2.0 / 3, Support: 2}, {Label: `a"`}}}
	got, err := r.PlatformMetrics()
	want := `{"accuracy":0.5,"z":{"precision":1,"recall":0.5,"f1-score":0.6666666666666666,"support":2},"a\"":{"precision":0,"recall":0,"f1-score":0,"support":0}}`
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("%s, %v", got, err)
	}
}

// TestCurveIsBounded: a curve of many confidences keeps its ends and its order.
func TestCurveIsBounded(t *testing.T) {
	list := make([]outcome, 10_000)
	for i := range list {
		list[i] = outcome{confidence: float64(i+1) / 10_000, truth: i % 2}
	}
	c := coverage(list)
	if n := len(c.Curve); n > maxCurve || n < maxCurve/2 || c.Curve[n-1].Coverage != 1 || !near(c.Curve[n-1].Risk, 0.5) {
		t.Errorf("%d points, the last %+v", n, c.Curve[n-1])
	}
	if !slices.IsSortedFunc(c.Curve, func(a, b CoveragePoint) int { return int(1e6 * (a.Coverage - b.Coverage)) }) {
		t.Error("out of order")
	}
}

// BenchmarkMeasure says what the intervals of a large test set cost.
func BenchmarkMeasure(b *testing.B) {
	const n = 100_000
	set := setOf(b, "a", "b", "c", "d")
	rows, truth, answers := make([]Row, n), make([]int, n), make([]Answer, n)
	for i := range rows {
		truth[i] = i * 7 % 4
		d := labels.Distribution{.1, .1, .1, .1}
		d[i%4] = .7
		answers[i].Distribution = d
		rows[i] = Row{Line: i, Text: fmt.Sprint(i), Answer: set.Name(truth[i])}
	}
	for b.Loop() {
		measure(set, rows, truth, answers)
	}
}
