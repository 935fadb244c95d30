package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/internal/progress"
	"cubby/internal/rows"
	"cubby/internal/target"
)

func (p *program) evalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "predictions", Usage: "keep every answer in `FILE`, as lines of JSON; the same command goes on with a file that is not whole", TakesFile: true, Local: true, Destination: &p.predictions},
		&cli.StringSliceFlag{Name: "report", Usage: "write a report to `FILE`: a page where its name ends in .html, Markdown in .md, all figures in .json; may be repeated", TakesFile: true, Local: true, Destination: &p.reports},
		&cli.BoolFlag{Name: "texts", Usage: "show texts in -report and -json", Local: true, Destination: &p.texts},
		&cli.StringFlag{Name: "price", Usage: "what the machine costs, as `PRICE/h`: the report tells the cost of 1,000 rows", Local: true, Destination: &p.hourly},
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
	read, err := p.allRows(rows.Labeled)
	if err != nil {
		return err
	}
	list := evalRows(read)
	if err := p.checkReports(); err != nil {
		return err
	}
	var cost price
	if p.hourly != "" {
		if _, cost, err = parsePrice("this=" + p.hourly); err != nil || cost.hour == 0 {
			return usagef("-price %q: expected PRICE/h", p.hourly)
		}
	}
	p.warnTrainedOn(list)
	report, ownScoring, err := p.evaluate(ctx, list)
	if err != nil {
		return err
	}
	if p.hourly != "" {
		report.Cost = cost.of(report, target.Spent{})
	}
	if p.texts {
		report.ShowTexts(list)
	}
	if p.json {
		err = writeJSON(p.stdout, report)
	} else {
		_, err = io.WriteString(p.stdout, reportText(report))
	}
	if err := p.keepReport(report, ownScoring); err != nil {
		fmt.Fprintln(p.stderr, "warning: the report cannot be kept in the store:", err)
	}
	err = errors.Join(err, p.writeReports(report), p.writePlatform(report))
	if err == nil && report.Errors > 0 {
		err = fmt.Errorf("%w: %d of %d", errPartial, report.Errors, report.Rows)
	}
	return err
}

// evaluate runs the rows through the target, and tells the model's own scoring.
func (p *program) evaluate(ctx context.Context, list []eval.Row) (report *eval.Report, ownScoring string, err error) {
	t, err := p.open(ctx)
	if err != nil {
		return nil, "", err
	}
	defer closing(t, &err)
	f := t.Facts()
	header := eval.PredictionsHeader{
		Model: f.Model, Artifact: f.Artifact, Scoring: f.Scoring, Engine: f.Engine.Setup(), Dataset: eval.DatasetDigest(list), Rows: len(list),
	}
	opts := eval.Options{Progress: p.progress(), Alone: alone}
	if p.predictions != "" {
		if _, err := eval.Truth(f.Labels, list); err != nil {
			return nil, "", fmt.Errorf("%s: %w", p.data, err)
		}
		kept, err := openPredictions(p.predictions, f.Labels, list, header)
		if err != nil {
			return nil, "", err
		}
		defer closing(kept, &err)
		opts.Answered, opts.Save = kept.answered, kept.save
	}
	if report, err = eval.Run(ctx, t, f.Labels, list, opts); err != nil {
		return nil, "", fmt.Errorf("%s: %w", p.data, err)
	}
	report.Model, report.Artifact, report.Scoring = header.Model, header.Artifact, header.Scoring
	report.Engine, report.Dataset = header.Engine, header.Dataset
	return report, f.OwnScoring, nil
}

// trainRows reads a file of training rows.
func (p *program) trainRows(file string) ([]eval.Row, error) {
	in, err := rows.Open(file, p.stdin, rows.Labeled)
	if err != nil {
		return nil, err
	}
	list, err := in.ReadAll()
	return evalRows(list), errors.Join(err, in.Close())
}

// trainedOn says which rows the model has been trained on; empty for none.
func trainedOn(list, train []eval.Row) string {
	lines := eval.Overlap(list, train)
	if len(lines) == 0 {
		return ""
	}
	shown := strings.ReplaceAll(strings.Trim(fmt.Sprint(lines[:min(len(lines), maxListed)]), "[]"), " ", ", ")
	if len(lines) > maxListed {
		shown += ", …"
	}
	return fmt.Sprintf("%d of %d texts are among the training rows, which flatters: lines %s", len(lines), len(list), shown)
}

// warnTrainedOn tells of rows that are among those that came with the model.
func (p *program) warnTrainedOn(list []eval.Row) {
	file := p.ownFile(p.model, "train.jsonl", "train.csv")
	if file == "" {
		return
	}
	train, err := p.trainRows(file)
	if err != nil {
		fmt.Fprintln(p.stderr, "warning: the training rows that came with the model are not compared:", err)
		return
	}
	if seen := trainedOn(list, train); seen != "" {
		fmt.Fprintln(p.stderr, "warning:", seen)
	}
}

func evalRows(list []rows.Row) []eval.Row {
	out := make([]eval.Row, len(list))
	for i, r := range list {
		out[i] = eval.Row{Line: r.Line, Text: r.Text, Answer: r.Answer}
	}
	return out
}

// progress shows a count on a terminal and nothing elsewhere.
func (p *program) progress() func(done, total int) { return progress.Rows(p.stderr, "") }

// writeJSON writes v on one line, as all JSON of this program: a confusion
// matrix with one number a line helps nobody.
func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
