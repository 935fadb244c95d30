package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/internal/rows"
)

func (p *program) evalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "predictions", Usage: "keep every answer in `FILE`, as lines of JSON; the same command goes on with a file that is not whole", TakesFile: true, Local: true, Destination: &p.predictions},
		&cli.StringSliceFlag{Name: "report", Usage: "write a report to `FILE`: a page where its name ends in .html, Markdown in .md, all figures in .json; may be repeated", TakesFile: true, Local: true, Destination: &p.reports},
		&cli.BoolFlag{Name: "texts", Usage: "show texts in -report and -json", Local: true, Destination: &p.texts},
		&cli.StringFlag{Name: "platform", Usage: "write the figures to `FILE` in the form of distil labs' platform", TakesFile: true, Local: true, Destination: &p.platform},
	}
}

// alone is how many rows go one at a time, so that latencies are those of single texts.
const alone = 32

// eval measures the target on the labelled rows of -data.
func (p *program) eval(ctx context.Context, args []string) error {
	if err := onlyFlags("eval", args); err != nil {
		return err
	}
	list, err := p.allRows(rows.Labeled)
	if err != nil {
		return err
	}
	if err := p.checkReports(); err != nil {
		return err
	}
	report, err := p.evaluate(ctx, evalRows(list))
	if err != nil {
		return err
	}
	if p.texts {
		report.ShowTexts(evalRows(list))
	}
	if err := errors.Join(p.writeReports(report), p.keepReport(report)); err != nil {
		return err
	}
	if p.platform != "" {
		metrics, err := report.PlatformMetrics()
		if err := errors.Join(err, os.WriteFile(p.platform, metrics, 0o644)); err != nil {
			return err
		}
	}
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

// evaluate runs the rows through the target.
func (p *program) evaluate(ctx context.Context, list []eval.Row) (report *eval.Report, err error) {
	t, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer closing(t, &err)
	f := t.Facts()
	header := eval.PredictionsHeader{
		Model: f.Model, Artifact: f.Artifact, Scoring: f.Scoring, Engine: f.Engine.Setup(), Dataset: eval.DatasetDigest(list), Rows: len(list),
	}
	opts := eval.Options{Progress: p.progress(), Alone: alone}
	if p.predictions != "" {
		if _, err := eval.Truth(f.Labels, list); err != nil {
			return nil, fmt.Errorf("%s: %w", p.data, err)
		}
		kept, err := openPredictions(p.predictions, f.Labels, list, header)
		if err != nil {
			return nil, err
		}
		defer closing(kept, &err)
		opts.Answered, opts.Save = kept.answered, kept.save
	}
	if report, err = eval.Run(ctx, t, f.Labels, list, opts); err != nil {
		return nil, fmt.Errorf("%s: %w", p.data, err)
	}
	report.Model, report.Artifact, report.Scoring = header.Model, header.Artifact, header.Scoring
	report.Engine, report.Dataset = header.Engine, header.Dataset
	return report, nil
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
