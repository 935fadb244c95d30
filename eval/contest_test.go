package eval

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cubby/labels"
)

// sure answers with one label.
func sure(label, classes int) Answer {
	d := make(labels.Distribution, classes)
	d[label] = 1
	return Answer{Distribution: d}
}

// TestContest: six rows, worked out on paper.
//
//	truth   a a b b a b
//	first   a a b a – a
//	second  a b b a b –
func TestContest(t *testing.T) {
	truth := []int{0, 0, 1, 1, 0, 1}
	failed := Answer{Err: errors.New("failed")}
	first := []Answer{sure(0, 2), sure(0, 2), sure(1, 2), sure(0, 2), failed, sure(0, 2)}
	second := []Answer{sure(0, 2), sure(1, 2), sure(1, 2), sure(0, 2), sure(1, 2), failed}
	c := NewContest(2, truth, first, second)
	if c.Rows != 6 || c.Same != 3 || c.BothRight != 2 || c.BothWrong != 3 || c.OnlyA != 1 || c.OnlyB != 0 || fmt.Sprint(c.RowsA, c.RowsB) != "[1] []" {
		t.Errorf("%+v", c)
	}
	// F1 of the first: a 2·2/(4+3), b 2·1/(1+3); of the second: a 2·1/(2+3), b 2·1/(3+3).
	if want := (4.0/7+2.0/4)/2 - (2.0/5+2.0/6)/2; !near(c.Accuracy.Value, 1.0/6) || !near(c.MacroF1.Value, want) {
		t.Errorf("differences %v and %v, want %v and %v", c.Accuracy.Value, c.MacroF1.Value, 1.0/6, want)
	}
}

// TestContestProperties: what two evaluations say apart is what the contest says of them.
func TestContestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := setOf(t, "a", "b", "c")
		rows := make([]Row, rapid.IntRange(1, 30).Draw(rt, "rows"))
		truth := make([]int, len(rows))
		for i := range rows {
			truth[i] = rapid.IntRange(0, 2).Draw(rt, "truth")
			rows[i] = Row{Line: i, Answer: set.Name(truth[i])}
		}
		a, b := someAnswers(rt, set, len(rows)), someAnswers(rt, set, len(rows))
		c, back := NewContest(3, truth, a, b), NewContest(3, truth, b, a)
		first, second := measure(set, rows, truth, a), measure(set, rows, truth, b)
		if !near(c.Accuracy.Value, first.Accuracy-second.Accuracy) || !near(c.MacroF1.Value, first.MacroF1-second.MacroF1) {
			rt.Errorf("differences %v, %v", c.Accuracy, c.MacroF1)
		}
		if c.BothRight+c.OnlyA != first.Correct || c.BothRight+c.OnlyB != second.Correct || c.BothRight+c.BothWrong+c.OnlyA+c.OnlyB != c.Rows {
			rt.Errorf("%+v", c)
		}
		if c.Exact != back.Exact || !near(c.Accuracy.Value, -back.Accuracy.Value) || !near(c.Accuracy.Interval[0], -back.Accuracy.Interval[1]) {
			rt.Errorf("not the same backwards: %+v, %+v", c, back)
		}
		if self := NewContest(3, truth, a, a); self.Exact != 1 || self.MacroF1 != (Difference{}) || self.Same != len(rows)-first.Errors {
			rt.Errorf("with itself %+v", self)
		}
	})
}

func TestVerdict(t *testing.T) {
	truth, right, wrong := make([]int, 96), make([]Answer, 96), make([]Answer, 96)
	for i := range truth {
		right[i], wrong[i] = sure(0, 2), sure(0, 2)
		if i < 12 {
			wrong[i] = sure(1, 2)
		}
	}
	c := NewContest(2, truth, wrong, right)
	if got := c.Verdict("old", "new", c.Exact); !strings.HasPrefix(got, "On these 96 rows new is more accurate than old by 12.5 points (95 % interval 6.2 to 18.8; p = 0.0005)") {
		t.Error(got)
	}
	few := NewContest(2, truth[:20], wrong[10:30], right[10:30])
	got := few.Verdict("old", "new", few.Exact)
	if want := "No difference is shown between new and old with n=20: 10.0 points (95 % interval 0.0 to 25.0; p = 0.5000). About 2000 rows would show a gap of 2 points."; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
