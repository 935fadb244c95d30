package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"cubby/eval"
	"cubby/internal/client"
	"cubby/internal/target"
	"cubby/runtime"
)

// record is one answer as a line of JSON; its keys are those of the server's
// results.
type record struct {
	Index    int    `json:"index"` // from 0
	Line     int    `json:"line,omitempty"`
	Artifact string `json:"artifact"`
	*answered
	Error *itemError `json:"error,omitempty"`
}

type answered struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
	Scores      []score `json:"scores"` // best first
	Review      bool    `json:"review"`
	Calibrated  bool    `json:"calibrated"`
	Tokens      int     `json:"tokens"`
	Truncated   int     `json:"truncated"`
	Unresolved  float64 `json:"unresolved,omitempty"`
	LabelOnly   bool    `json:"label_only,omitempty"`
}

type score struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
}

type itemError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// newRecord makes the record of one answer, with the topK best scores or, for
// 0, all.
func newRecord(f target.Facts, index, line int, a eval.Answer, topK int) record {
	r := record{Index: index, Line: line, Artifact: f.Artifact}
	if a.Err != nil {
		r.Error = newItemError(a.Err)
		return r
	}
	if topK == 0 {
		topK = len(a.Distribution)
	}
	scores := best(f, a, topK)
	top := best(f, a, 1)[0]
	r.answered = &answered{
		Label: top.Label, Probability: top.Probability, Scores: scores,
		Review: a.Review, Calibrated: f.Calibrated, Tokens: a.Tokens, Truncated: a.Truncated, Unresolved: a.Unresolved, LabelOnly: a.LabelOnly,
	}
	return r
}

func best(f target.Facts, a eval.Answer, k int) []score {
	top := a.Distribution.Top(k)
	scores := make([]score, len(top))
	for i, label := range top {
		scores[i] = score{f.Labels.Name(label), a.Distribution[label]}
	}
	return scores
}

// newItemError keeps the code that the runtime or the server gave.
func newItemError(err error) *itemError {
	if e, ok := errors.AsType[*runtime.Error](err); ok {
		return &itemError{string(e.Code), e.Message}
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return &itemError{e.Code, e.Message}
	}
	return &itemError{"failed", err.Error()}
}

const (
	// readingK is how many labels an answer for reading shows by default.
	readingK = 4
	// shownUnresolved is how much must be untold to be worth a line.
	shownUnresolved = 0.001
	// headingWidth is how much of a text stands above its answer.
	headingWidth = 72
)

// heading introduces text i where there are several.
func heading(texts []string, i int) string {
	if len(texts) == 1 {
		return ""
	}
	return fmt.Sprintf("%d  %s\n", i, shorten(clean(texts[i]), headingWidth))
}

// writeAnswer writes one answer for reading: the label, the runners-up
// indented below it, and what the reader should know.
func writeAnswer(w io.Writer, f target.Facts, heading string, a eval.Answer, topK int) error {
	var b strings.Builder
	b.WriteString(heading)
	if a.Err != nil {
		e := newItemError(a.Err)
		fmt.Fprintf(&b, "error: %s (%s)\n", clean(e.Message), e.Code)
		_, err := io.WriteString(w, b.String())
		return err
	}
	if topK == 0 {
		topK = readingK
	}
	t := table{right: []bool{false, true}}
	for i, s := range best(f, a, topK) {
		indent := "  "
		if i == 0 {
			indent = ""
		}
		t.add(indent+clean(s.Label), probability(s.Probability))
	}
	b.WriteString(t.String())
	if a.Review {
		b.WriteString("review: the probability is below the model's threshold\n")
	}
	if a.LabelOnly {
		b.WriteString("label only: the server named it, and told no probability\n")
	}
	if a.Unresolved > shownUnresolved {
		fmt.Fprintf(&b, "unresolved: %.4f of the probability could not be told apart and is shared out evenly\n", a.Unresolved)
	}
	if a.Truncated > 0 {
		fmt.Fprintf(&b, "truncated: the last %d tokens of the text did not fit and were left out\n", a.Truncated)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// probability shows four digits; what they cannot show is not called zero or
// one.
func probability(p float64) string {
	switch {
	case p > 0 && p < 0.00005:
		return "<0.0001"
	case p < 1 && p >= 0.99995:
		return ">0.9999"
	}
	return fmt.Sprintf("%.4f", p)
}

// clean makes foreign text safe for a terminal: whatever steers one is shown
// as U+FFFD, and line breaks as spaces.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r) && r != '\u200d':
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
