package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"cubby/eval"
	"cubby/internal/rows"
)

// eval measures the target on the labelled rows of -data.
func (p *program) eval(ctx context.Context, args []string) (err error) {
	if err := onlyFlags("eval", args); err != nil {
		return err
	}
	list, err := p.allRows(rows.Labeled)
	if err != nil {
		return err
	}
	t, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer closing(t, &err)
	report, err := eval.Run(ctx, t, t.Facts().Labels, evalRows(list), eval.Options{Progress: p.progress()})
	if err != nil {
		return fmt.Errorf("%s: %w", p.data, err)
	}
	f := t.Facts()
	report.Model, report.Artifact, report.Scoring = f.Model, f.Artifact, f.Scoring
	if p.json {
		err = writeJSON(p.stdout, report)
	} else {
		_, err = io.WriteString(p.stdout, reportText(report))
	}
	if err == nil && report.Errors > 0 {
		err = fmt.Errorf("%w: %d of %d", errPartial, report.Errors, report.Rows)
	}
	return err
}

func evalRows(list []rows.Row) []eval.Row {
	out := make([]eval.Row, len(list))
	for i, r := range list {
		out[i] = eval.Row{Line: r.Line, Text: r.Text, Answer: r.Answer}
	}
	return out
}

// progress shows a count on a terminal and nothing elsewhere.
func (p *program) progress() func(done, total int) {
	f, ok := p.stderr.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(done, total int) {
		if done == total {
			fmt.Fprint(f, "\r\x1b[K") // leave no trace of it above the report
			return
		}
		fmt.Fprintf(f, "\r%d of %d rows", done, total)
	}
}

// writeJSON writes v on one line, as all JSON of this program: a confusion
// matrix with one number a line helps nobody.
func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
