package page

import (
	"fmt"
	"io"
	"strings"

	"cubby/eval"
)

// maxMarked is how many rows a table of mistakes has in Markdown.
const maxMarked = 10

// Markdown writes the report for a pull request.
func Markdown(w io.Writer, r *eval.Report, o Options) error {
	v := newView(r, o)
	var b strings.Builder
	fmt.Fprintf(&b, "# Evaluation of %s\n\n%s\n", plain(r.Model), v.Verdict)
	b.WriteString("\n| figure | value | 95 % interval |\n|---|---:|---|\n")
	row := func(name string, value float64, interval *[2]float64) {
		if interval == nil {
			fmt.Fprintf(&b, "| %s | %.4f | |\n", name, value)
			return
		}
		fmt.Fprintf(&b, "| %s | %.4f | %.4f to %.4f |\n", name, value, interval[0], interval[1])
	}
	row("accuracy", r.Accuracy, &r.AccuracyInterval)
	row("macro-F1", r.MacroF1, &r.MacroF1Interval)
	row("weighted F1", r.WeightedF1, &r.WeightedF1Interval)
	row("MCC", r.MCC, nil)
	if r.LogLoss != nil {
		row("log loss", *r.LogLoss, nil)
	}
	if c := r.Calibration; c != nil {
		row("Brier", c.Brier, nil)
		row("ECE", c.ECE, &c.ECEInterval)
	}
	if c := r.Coverage; c != nil {
		row("AURC", c.AURC, nil)
	}
	b.WriteString("\n| label | precision | recall | F1 | rows |\n|---|---:|---:|---:|---:|\n")
	for _, c := range r.PerClass {
		fmt.Fprintf(&b, "| %s | %.4f | %.4f | %.4f | %d |\n", plain(c.Label), c.Precision, c.Recall, c.F1, c.Support)
	}
	marked(&b, "Labels to look at", v.Suspects)
	marked(&b, "Surest mistakes", r.Mistakes)
	fmt.Fprintf(&b, "\nModel %s, artefact `%s`, engine %s, scoring %s, dataset `%s`, %d rows, %d without an answer.\n",
		plain(r.Model), r.Artifact, plain(r.Engine), r.Scoring, r.Dataset, r.Rows, r.Errors)
	if o.Command != "" {
		fmt.Fprintf(&b, "\n    %s\n", strings.Join(strings.Fields(o.Command), " "))
	}
	fmt.Fprintf(&b, "\nTiming: %.1f rows/s", r.RowsPerSecond)
	if l := r.Latency; l != nil {
		fmt.Fprintf(&b, ", one text alone %.1f ms (median), %.1f ms (95 of 100)", l.P50, l.P95)
	}
	b.WriteString(".\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func marked(b *strings.Builder, title string, list []eval.Mistake) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n| line | true label | predicted | probability | text |\n|---:|---|---|---:|---|\n", title)
	for _, m := range list[:min(len(list), maxMarked)] {
		fmt.Fprintf(b, "| %d | %s | %s | %.4f | %s |\n", m.Line, plain(m.Answer), plain(m.Predicted), m.Probability, plain(m.Text))
	}
	if more := len(list) - maxMarked; more > 0 {
		fmt.Fprintf(b, "\nand %d more.\n", more)
	}
}

// special are the characters that mean something in a table of Markdown, or in HTML.
var special = strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "#", `\#`, "~", `\~`, "!", `\!`, "@", "@\u200b")

// plain shows foreign text as it is, on one line.
func plain(s string) string { return special.Replace(strings.Join(strings.Fields(s), " ")) }
