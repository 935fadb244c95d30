package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"cubby/eval"
	"cubby/internal/client"
	"cubby/runtime"
)

// TestTableAligns: every cell of a column begins, or ends, at the same place
// on a terminal, whatever characters stand in it.
func TestTableAligns(t *testing.T) {
	cell := rapid.SampledFrom([]string{"", "a", "fee", "日本語", "e\u0301te\u0301", "👩‍🔬", "Straße", "naïve label"})
	rapid.Check(t, func(rt *rapid.T) {
		tab := table{right: []bool{false, true}}
		n := rapid.IntRange(1, 8).Draw(rt, "rows")
		for range n {
			tab.add(cell.Draw(rt, "left"), cell.Draw(rt, "right")+"|", "end")
		}
		at := -1
		for _, line := range strings.Split(strings.TrimSuffix(tab.String(), "\n"), "\n") {
			before, _, ok := strings.Cut(line, "|")
			if !ok {
				rt.Fatalf("no mark in %q", line)
			}
			if w := uniseg.StringWidth(before); at >= 0 && w != at {
				rt.Fatalf("the mark stands at %d and at %d:\n%s", at, w, tab.String())
			} else {
				at = w
			}
		}
	})
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{
		{"label", 5, "label"}, {"labels", 5, "labe…"}, {"日本語", 5, "日本…"}, {"日本語", 6, "日本語"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"}, {"", 3, ""},
	} {
		if got := shorten(tt.in, tt.width); got != tt.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	if got, want := clean("a\x1b]0;x\x07\n\tb\u202ec\u200d\u0085é"), "a\ufffd]0;x\ufffd  b\ufffdc\u200d é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProbability(t *testing.T) {
	for p, want := range map[float64]string{0: "0.0000", 1e-9: "<0.0001", .00005: "0.0001", .5: "0.5000", .99994: "0.9999", .99999: ">0.9999", 1: "1.0000"} {
		if got := probability(p); got != want {
			t.Errorf("%v is shown as %s, want %s", p, got, want)
		}
	}
}

func TestItemError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want itemError
	}{
		{&runtime.Error{Code: runtime.CodeEmptyText, Message: "m"}, itemError{"empty_text", "m"}},
		{fmt.Errorf("w: %w", &client.Error{Code: "text_too_long", Message: "m"}), itemError{"text_too_long", "m"}},
		{errors.New("m"), itemError{"failed", "m"}},
	} {
		if got := newItemError(tt.err); *got != tt.want {
			t.Errorf("%v: %+v", tt.err, got)
		}
	}
}

// TestManyLabels: above the matrix's size the confusions are listed, most
// frequent first, and long lists are cut with a word.
func TestManyLabels(t *testing.T) {
	const n = 77
	r := &eval.Report{Rows: 3 * n, Labels: make([]string, n), PerClass: make(eval.PerClass, n), Confusion: make([][]int, n)}
	for i := range n {
		r.Labels[i] = fmt.Sprintf("label %d %s", i, strings.Repeat("long ", 20))
		r.PerClass[i] = eval.Class{Label: r.Labels[i]}
		r.Confusion[i] = make([]int, n)
		r.Confusion[i][(i+1)%n] = 1
	}
	r.Confusion[5][9] = 7
	for i := range 25 {
		r.Failures = append(r.Failures, eval.Failure{Line: i + 2, Answer: r.Labels[0], Error: "the text is empty"})
	}
	out := reportText(r)
	for _, want := range []string{"\n77  label 76 ", "most frequent confusions\nrows  true label", "\n   7  label 5 ", "and 58 more: see -json", "and 5 more: see -json"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if w := uniseg.StringWidth(line); w > 2*labelWidth+20 {
			t.Errorf("a line of %d columns: %s", w, line)
		}
	}
	if got := confusions(&eval.Report{}); got != "none\n" {
		t.Errorf("without confusions: %q", got)
	}
}
