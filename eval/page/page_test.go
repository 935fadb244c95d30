package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"cubby/eval"
	"cubby/labels"
)

// told answers rows with what they say.
type told []eval.Answer

func (t told) Classify(_ context.Context, texts []string) ([]eval.Answer, error) {
	return t[:len(texts)], nil
}

const hostile = `<script>alert("1")</script> | _x_` + "\n`"

// report evaluates six rows; labels, texts and errors are a stranger's.
func report(t *testing.T, labelOnly bool) *eval.Report {
	t.Helper()
	set, err := labels.NewSet([]labels.Label{{Name: "plain"}, {Name: hostile}})
	if err != nil {
		t.Fatal(err)
	}
	sure, unsure := labels.Distribution{0.9, 0.1}, labels.Distribution{0.45, 0.55}
	answers := told{{Distribution: sure}, {Distribution: sure}, {Distribution: unsure}, {Distribution: sure}, {Distribution: unsure}, {Err: errors.New(hostile)}}
	rows := make([]eval.Row, len(answers))
	for i := range rows {
		rows[i] = eval.Row{Line: i + 2, Text: fmt.Sprint(i, hostile), Answer: set.Name(i % 2)}
		answers[i].LabelOnly = labelOnly && answers[i].Err == nil
	}
	r, err := eval.Run(t.Context(), answers, set, rows, eval.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.Model, r.Artifact, r.Engine, r.Dataset = hostile, "sha256:00ff", "native", eval.DatasetDigest(rows)
	r.ShowTexts(rows)
	return r
}

// elements counts a page's elements by name.
func elements(t *testing.T, page []byte) map[string]int {
	t.Helper()
	z, n := html.NewTokenizer(bytes.NewReader(page)), map[string]int{}
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF {
				t.Fatal(z.Err())
			}
			return n
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			n[string(name)]++
		}
	}
}

var address = regexp.MustCompile(`(?i)(src|href|url\()\s*=?\s*["']?[a-z]*:?//`)

func TestHTML(t *testing.T) {
	r := report(t, false)
	var page, again bytes.Buffer
	if err := errors.Join(HTML(&page, r, Options{Command: hostile}), HTML(&again, r, Options{Command: hostile})); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page.Bytes(), again.Bytes()) {
		t.Error("the same report gives other bytes")
	}
	got := elements(t, page.Bytes())
	if got["script"] > 0 || got["svg"] != 2 || got["img"] > 0 || got["link"] > 0 || address.Match(page.Bytes()) {
		t.Errorf("%v", got)
	}
	for _, want := range []string{"1 of 6 rows are right", "Labels to look at", "Surest mistakes", "Rows without an answer", "sha256:00ff", r.Dataset, "prefers-color-scheme: dark", "&lt;script&gt;"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if strings.Contains(page.String(), "#010203") || strings.Contains(page.String(), "<?xml") {
		t.Error("plots do not follow the page's colours")
	}
}

func TestMarkdown(t *testing.T) {
	r := report(t, false)
	var b bytes.Buffer
	if err := Markdown(&b, r, Options{Command: "classify eval\n-x"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Evaluation of &lt;script", "| accuracy | 0.1667 | 0.0301 to 0.5635 |", "\n    classify eval -x\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, "script") && strings.Count(line, "|")-strings.Count(line, `\|`) > 7 || strings.Contains(line, "<script") {
			t.Errorf("a label has broken out: %s", line)
		}
	}
}

// Where no probabilities were told, there are no figures and plots of them.
func TestWithoutProbabilities(t *testing.T) {
	r := report(t, true)
	var page, md bytes.Buffer
	if err := errors.Join(HTML(&page, r, Options{}), Markdown(&md, r, Options{})); err != nil {
		t.Fatal(err)
	}
	if got := elements(t, page.Bytes()); got["svg"] != 0 || strings.Contains(page.String(), "ECE") || strings.Contains(md.String(), "ECE") {
		t.Errorf("%v\n%s", got, md.String())
	}
}
