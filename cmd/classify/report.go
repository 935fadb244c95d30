package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cubby/eval"
)

const (
	// labelWidth is how many columns of a label's name a report shows.
	labelWidth = 60
	// maxMatrix is how many labels a confusion matrix on a terminal may have;
	// above it the most frequent confusions are listed.
	maxMatrix = 20
	// maxListed is how many confusions or failures are listed; JSON has all.
	maxListed = 20
)

// reportText renders a report for reading.
func reportText(r *eval.Report) string {
	var b strings.Builder
	b.WriteString(summary(r))
	b.WriteString("\n" + classTable(r))
	if len(r.Labels) <= maxMatrix {
		b.WriteString("\nconfusion (row: true label, column: predicted)\n" + matrix(r))
	} else {
		b.WriteString("\nmost frequent confusions\n" + confusions(r))
	}
	if len(r.Failures) > 0 {
		b.WriteString("\nrows without an answer\n" + failures(r))
	}
	return b.String()
}

func summary(r *eval.Report) string {
	var t table
	t.add("model", clean(r.Model)+"  "+r.Artifact)
	t.add("scoring", r.Scoring)
	rows := strconv.Itoa(r.Rows)
	if r.Errors > 0 {
		rows += fmt.Sprintf(", %d without an answer, counted as wrong", r.Errors)
	}
	t.add("rows", rows)
	t.add("accuracy", fmt.Sprintf("%.4f  (%d of %d; 95 %% %s)", r.Accuracy, r.Correct, r.Rows, interval(r.AccuracyInterval)))
	t.add("macro-F1", fmt.Sprintf("%.4f  (%s); weighted %.4f", r.MacroF1, interval(r.MacroF1Interval), r.WeightedF1))
	t.add("MCC", fmt.Sprintf("%.4f", r.MCC))
	if len(r.TopK) > 1 {
		t.add("top "+strconv.Itoa(len(r.TopK)), fmt.Sprintf("%.4f have the true label among the best %d; %.4f among 2", r.TopK[len(r.TopK)-1], len(r.TopK), r.TopK[1]))
	}
	if r.LogLoss != nil {
		t.add("log loss", fmt.Sprintf("%.4f", *r.LogLoss))
		t.add("confidence", fmt.Sprintf("%.4f on average", *r.MeanConfidence))
	}
	if c := r.Calibration; c != nil {
		t.add("calibration", fmt.Sprintf("Brier %.4f; ECE %.4f (%s), %s", c.Brier, c.ECE, interval(c.ECEInterval), besideNoise(c)))
	}
	if r.Coverage != nil {
		t.add("risk", fmt.Sprintf("%.4f is the area under risk by coverage", r.Coverage.AURC))
	}
	if r.Review > 0 {
		t.add("review", fmt.Sprintf("%d of %d rows are below the threshold", r.Review, r.Rows))
	}
	if r.Truncated > 0 {
		t.add("truncated", fmt.Sprintf("%d of %d rows lost their end", r.Truncated, r.Rows))
	}
	speed := fmt.Sprintf("%.1f rows/s", r.RowsPerSecond)
	if l := r.Latency; l != nil {
		speed += fmt.Sprintf("; one text alone %.1f ms (median), %.1f ms (95 of 100)", l.P50, l.P95)
	}
	t.add("speed", speed)
	if r.Cost != nil {
		t.add("cost", fmt.Sprintf("%.4f for 1,000 rows", *r.Cost))
	}
	return t.String()
}

func interval(i [2]float64) string { return fmt.Sprintf("interval %.4f to %.4f", i[0], i[1]) }

// besideNoise says whether a calibration error shows a fault.
func besideNoise(c *eval.Calibration) string {
	if c.ECE <= c.ECENoise {
		return fmt.Sprintf("no more than chance gives without fault (%.4f)", c.ECENoise)
	}
	return fmt.Sprintf("more than chance gives without fault (%.4f)", c.ECENoise)
}

func classTable(r *eval.Report) string {
	t := table{right: []bool{true, false, true, true, true, true, true}}
	t.add("", "label", "precision", "recall", "F1", "F1 95 %", "support")
	for i, c := range r.PerClass {
		t.add(strconv.Itoa(i+1), shorten(clean(c.Label), labelWidth),
			fmt.Sprintf("%.3f", c.Precision), fmt.Sprintf("%.3f", c.Recall), fmt.Sprintf("%.3f", c.F1),
			fmt.Sprintf("%.3f-%.3f", c.F1Interval[0], c.F1Interval[1]), strconv.Itoa(c.Support))
	}
	return t.String()
}

// matrix shows labels by their number in the class table.
func matrix(r *eval.Report) string {
	t := table{right: slices.Repeat([]bool{true}, len(r.Labels)+2)}
	header := []string{""}
	for i := range r.Labels {
		header = append(header, strconv.Itoa(i+1))
	}
	if r.Errors > 0 {
		header = append(header, "none")
	}
	t.add(header...)
	for i, row := range r.Confusion {
		cells := []string{strconv.Itoa(i + 1)}
		for _, n := range row {
			cells = append(cells, count(n))
		}
		if r.Errors > 0 {
			cells = append(cells, count(r.PerClass[i].Errors))
		}
		t.add(cells...)
	}
	return t.String()
}

// count shows a zero as a dot, so that the others stand out.
func count(n int) string {
	if n == 0 {
		return "."
	}
	return strconv.Itoa(n)
}

type confusion struct{ truth, predicted, rows int }

func confusions(r *eval.Report) string {
	var list []confusion
	for i, row := range r.Confusion {
		for j, n := range row {
			if i != j && n > 0 {
				list = append(list, confusion{i, j, n})
			}
		}
	}
	if len(list) == 0 {
		return "none\n"
	}
	slices.SortStableFunc(list, func(a, b confusion) int { return cmp.Compare(b.rows, a.rows) })
	t := table{right: []bool{true}}
	t.add("rows", "true label", "predicted")
	for _, c := range list[:min(len(list), maxListed)] {
		t.add(strconv.Itoa(c.rows), shorten(clean(r.Labels[c.truth]), labelWidth), shorten(clean(r.Labels[c.predicted]), labelWidth))
	}
	return t.String() + more(len(list))
}

func failures(r *eval.Report) string {
	t := table{right: []bool{true}}
	t.add("line", "true label", "error")
	for _, f := range r.Failures[:min(len(r.Failures), maxListed)] {
		t.add(strconv.Itoa(f.Line), shorten(clean(f.Answer), labelWidth), clean(f.Error))
	}
	return t.String() + more(len(r.Failures))
}

func more(listed int) string {
	if listed <= maxListed {
		return ""
	}
	return fmt.Sprintf("and %d more: see -json\n", listed-maxListed)
}
