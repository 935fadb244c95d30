// Package page shows an evaluation as one HTML file that needs nothing else, for screens
// in light and dark and for paper, and as Markdown for a pull request. The same report
// gives the same bytes, but for its timing section.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"cubby/eval"
)

//go:embed page.html
var source string

// Options say what is on the page beside the report.
type Options struct {
	Command string // that made the report
}

// view is what the template sees.
type view struct {
	*eval.Report
	Options
	Verdict      string
	Reliability  template.HTML
	RiskCoverage template.HTML
	Matrix       []matrixRow
	Suspects     []eval.Mistake
}

// matrixRow is one true label of the confusion matrix.
type matrixRow struct {
	Label string
	Cells []cell
	None  int // rows without an answer
}

type cell struct {
	Rows  int
	Share float64 // of the true label's rows
	Right bool
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"figure":  func(x float64) string { return fmt.Sprintf("%.4f", x) },
	"percent": func(x float64) string { return fmt.Sprintf("%.1f", 100*x) },
	"number":  func(i int) int { return i + 1 },
}).Parse(source))

// HTML writes the page.
func HTML(w io.Writer, r *eval.Report, o Options) error {
	v := newView(r, o)
	var err error
	if c := r.Calibration; c != nil {
		if v.Reliability, err = reliability(c); err != nil {
			return err
		}
	}
	if c := r.Coverage; c != nil {
		if v.RiskCoverage, err = riskCoverage(c); err != nil {
			return err
		}
	}
	return page.Execute(w, v)
}

func newView(r *eval.Report, o Options) *view {
	v := &view{Report: r, Options: o, Verdict: Verdict(r)}
	for i, row := range r.Confusion {
		m := matrixRow{Label: r.Labels[i], None: r.PerClass[i].Errors}
		for j, n := range row {
			c := cell{Rows: n, Right: i == j}
			if s := r.PerClass[i].Support; s > 0 {
				c.Share = float64(n) / float64(s)
			}
			m.Cells = append(m.Cells, c)
		}
		v.Matrix = append(v.Matrix, m)
	}
	for _, m := range r.Mistakes {
		if m.Suspect {
			v.Suspects = append(v.Suspects, m)
		}
	}
	return v
}

// Verdict says in two or three sentences what the data support.
func Verdict(r *eval.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d rows are right: accuracy %.1f %%, and with 95 %% confidence between %.1f and %.1f %% on rows like these.",
		r.Correct, r.Rows, 100*r.Accuracy, 100*r.AccuracyInterval[0], 100*r.AccuracyInterval[1])
	if r.Errors > 0 {
		fmt.Fprintf(&b, " %d rows have no answer and count as wrong.", r.Errors)
	}
	if c := r.Calibration; c != nil {
		if c.ECE <= c.ECENoise {
			b.WriteString(" No fault of the probabilities is shown.")
		} else {
			how := "too sure"
			if r.MeanConfidence != nil && *r.MeanConfidence < float64(r.Correct)/float64(r.Rows-r.Errors) {
				how = "not sure enough"
			}
			fmt.Fprintf(&b, " The probabilities are off by %.1f points on average, the model being %s: calibrate it.", 100*c.ECE, how)
		}
	}
	return b.String()
}
