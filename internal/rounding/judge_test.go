package rounding_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cubby/internal/rounding"
	"cubby/labels"
	"cubby/models/importer"
	"cubby/models/quantize"
)

var set, _ = labels.NewSet([]labels.Label{{Name: "a"}, {Name: "b"}})

// testRows are n rows of the label a.
func testRows(n int) []importer.Row {
	rows := make([]importer.Row, n)
	for i := range rows {
		rows[i] = importer.Row{Line: i + 1, Text: fmt.Sprint(i), Answer: "a"}
	}
	return rows
}

// answers are sure of a, but for the first rows: wrong ones are of b, and failed ones
// none.
func answers(n, wrong, failed int, sure float64) []importer.Answer {
	list := make([]importer.Answer, n)
	for i := range list {
		list[i].Distribution = labels.Distribution{sure, 1 - sure}
		if i < wrong {
			list[i].Distribution = labels.Distribution{1 - sure, sure}
		}
		if i >= n-failed {
			list[i] = importer.Answer{Err: errors.New("no")}
		}
	}
	return list
}

func judge(t *testing.T, n, wrong int) *rounding.Judge {
	t.Helper()
	j := &rounding.Judge{}
	if err := j.Prepare(set, testRows(n)); err != nil {
		t.Fatal(err)
	}
	if err := j.Reference("F16", 1000, answers(n, wrong, 0, 0.9)); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestRule(t *testing.T) {
	for _, c := range []struct {
		name            string
		n, wrong        int // of the weights as they came
		now, failed     int // of the type
		sure            float64
		passed          bool
		why             string
		worse, lossUpTo float64
	}{
		{"the same", 96, 5, 5, 0, 0.9, true, "indistinguishable", 1, 0.0307},
		{"just enough rows", 59, 0, 0, 0, 0.9, true, "indistinguishable", 1, 0.0495},
		{"one lost of 59", 59, 0, 1, 0, 0.9, false, "up to 7.8 % of texts may lose", 0.5, 0.0778},
		{"two lost of 96", 96, 5, 7, 0, 0.9, false, "up to 6.4 % of texts may lose", 0.25, 0.0642},
		{"two gained of 96", 96, 5, 3, 0, 0.9, false, "the same label on 97.9 %", 1, 0.0307},
		{"nine lost of 1000", 1000, 50, 59, 0, 0.9, false, "worse: p = 0.002", 0.00195, 0.0157},
		{"four lost of 1000", 1000, 50, 54, 0, 0.9, true, "indistinguishable", 0.0625, 0.0091},
		{"other probabilities", 96, 0, 0, 0, 0.87, false, "move by up to 0.0300, more than 0.02", 1, 0.0307},
		{"no answer", 96, 0, 0, 1, 0.9, false, "leaves 1 rows without an answer", 0.5, 0.0485},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := judge(t, c.n, c.wrong)
			accepted, err := j.Accept(quantize.Q8_0, 500, answers(c.n, c.now, c.failed, c.sure))
			if err != nil || accepted != c.passed {
				t.Fatalf("accepted %v, %v", accepted, err)
			}
			got := j.Decision().Tried[1]
			if got.Passed != c.passed || !strings.Contains(got.Why, c.why) {
				t.Errorf("%v: %s", got.Passed, got.Why)
			}
			if d := got.Compared; d.Worse-c.worse > 1e-4 || c.worse-d.Worse > 1e-4 || d.LossUpper-c.lossUpTo > 1e-4 || c.lossUpTo-d.LossUpper > 1e-4 {
				t.Errorf("worse %.4f, loss up to %.4f", d.Worse, d.LossUpper)
			}
		})
	}
}

// A smaller type is not taken by luck where a larger one failed.
func TestFailureEndsTheTaking(t *testing.T) {
	j := judge(t, 200, 10)
	for _, c := range []struct {
		scheme quantize.Scheme
		wrong  int
		want   bool
	}{{quantize.Q8_0, 10, true}, {quantize.Q6_K, 30, false}, {quantize.Q5_K_M, 10, false}, {quantize.Q4_K_M, 40, false}} {
		if got, err := j.Accept(c.scheme, 500, answers(200, c.wrong, 0, 0.9)); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", c.scheme, got, err)
		}
	}
	r := j.Decision()
	if r.Chosen != "q8_0" || !strings.Contains(r.Tried[3].Why, "passes, but the larger q6_k does not") {
		t.Errorf("%+v", r)
	}
	var table bytes.Buffer
	if err := j.Write(&table); err != nil || strings.Count(table.String(), "\n") != 6 || !strings.Contains(table.String(), "chosen: indistinguishable") {
		t.Errorf("%v\n%s", err, table.String())
	}
	data, err := j.Report()
	var again rounding.Report
	if err != nil || json.Unmarshal(data, &again) != nil || again.Chosen != r.Chosen || again.Tried[2].Compared.Lost != 20 {
		t.Errorf("%v\n%s", err, data)
	}
}

func TestFewRowsAreTold(t *testing.T) {
	j := judge(t, 96, 0)
	var table bytes.Buffer
	if err := j.Write(&table); err != nil || !strings.Contains(table.String(), "96 rows are few: a loss on up to 3.1 % of all texts may not show in them") {
		t.Errorf("%v\n%s", err, table.String())
	}
	table.Reset()
	if err := judge(t, 149, 0).Write(&table); err != nil || strings.Contains(table.String(), "few") {
		t.Errorf("%v\n%s", err, table.String())
	}
	if err := (&rounding.Judge{}).Write(&table); err != nil {
		t.Error(err)
	}
}

func TestJudgeRefuses(t *testing.T) {
	j := &rounding.Judge{}
	if err := j.Prepare(set, testRows(58)); err == nil || !strings.Contains(err.Error(), "58 different rows are too few to choose a type by") {
		t.Error(err)
	}
	rows := testRows(100)
	rows[7].Answer = "c"
	if err := j.Prepare(set, rows); err == nil || !strings.Contains(err.Error(), `line 8: label "c"`) {
		t.Error(err)
	}
	if err := j.Prepare(set, testRows(60)); err != nil {
		t.Fatal(err)
	}
	if err := j.Reference("F16", 1, answers(60, 0, 60, 0.9)); err == nil || !strings.Contains(err.Error(), "answers no row of the test set") {
		t.Error(err)
	}
}
