package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/eval/baseline"
	"cubby/internal/load"
	"cubby/internal/rows"
	"cubby/internal/target"
	"cubby/labels"
	"cubby/models/importer"
)

func (p *program) compareFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "train", Usage: "`FILE` of labelled rows, for the baseline and -shots", TakesFile: true, Local: true, Destination: &p.train},
		&cli.IntFlag{Name: "shots", Usage: "show chat models `N` rows of -train as examples, each label in turn", Local: true, Destination: &p.shots},
		&cli.StringFlag{Name: "cache", Usage: "keep chat models' answers in `FOLDER`", DefaultText: "answers in the store's folder", Local: true, Destination: &p.cache},
		&cli.StringSliceFlag{Name: "price", Usage: "what answers cost: `LABEL=PRICE/h` of the machine, or LABEL=PROMPT/ANSWER of a million tokens; may be repeated", Local: true, Destination: &p.prices},
	}
}

// compareRun is one run of compare.
type compareRun struct {
	*program
	rows, train []eval.Row
	task        chatTask
	prices      map[string]price
	set         *labels.Set // of the first contestant
	list        []eval.Contestant
	notes       []string
}

// compare runs several classifiers on the labelled rows of -data.
func (p *program) compare(ctx context.Context, args []string) error {
	contestants, err := parseContestants(args)
	if err != nil {
		return err
	}
	r := &compareRun{program: p, prices: map[string]price{}}
	if err := r.prepare(contestants); err != nil {
		return err
	}
	for _, c := range contestants {
		if err := r.enter(ctx, c); err != nil {
			return fmt.Errorf("contestant %s: %w", c.given, err)
		}
	}
	report, err := r.conclude(ctx)
	if err != nil {
		return err
	}
	if p.json {
		return writeJSON(p.stdout, report)
	}
	_, err = io.WriteString(p.stdout, comparisonText(report))
	return err
}

func parseContestants(args []string) ([]contestant, error) {
	if len(args) == 0 {
		return nil, usagef("compare needs something to compare: compare -data FILE CONTESTANT [CONTESTANT…]\n%s", contestantHelp)
	}
	var list []contestant
	for _, given := range args {
		c, err := parseContestant(given)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o contestant) bool { return o.name == c.name }) {
			return nil, usagef("two contestants are called %s: give them labels, as in a=%s", c.name, c.what)
		}
		list = append(list, c)
	}
	return list, nil
}

// prepare reads what all contestants need, before the first is opened.
func (r *compareRun) prepare(contestants []contestant) error {
	for _, given := range r.program.prices {
		label, p, err := parsePrice(given)
		if err != nil {
			return err
		}
		if label != baseline.Name && !slices.ContainsFunc(contestants, func(c contestant) bool { return c.name == label }) {
			return usagef("-price %q: there is no contestant %s", given, label)
		}
		r.prices[label] = p
	}
	if err := r.readTask(); err != nil {
		return err
	}
	if r.model == "" {
		r.model = contestants[0].what // whose test set it is, if there is no -data
	}
	list, err := r.allRows(rows.Labeled)
	if err != nil {
		return err
	}
	r.rows = evalRows(list)
	own := r.program.train == ""
	if own {
		r.program.train = r.ownTrain(contestants)
	}
	if r.program.train != "" {
		if r.train, err = r.trainRows(r.program.train); err != nil && !own {
			return err
		}
		if err != nil {
			r.notes = append(r.notes, fmt.Sprintf("the training rows that came with the model are not used: %v", err))
			r.program.train = ""
		}
		if seen := trainedOn(r.rows, r.train); seen != "" {
			r.notes = append(r.notes, seen)
		}
	} else if r.shots > 0 {
		return usagef("-shots takes examples from -train FILE, which is missing")
	}
	if r.cache == "" {
		store, err := r.local.Store()
		if err != nil {
			return err
		}
		r.cache = filepath.Join(store.Root(), "answers")
	}
	return nil
}

// ownTrain is the training file of the first model that has one with it.
func (r *compareRun) ownTrain(contestants []contestant) string {
	for _, c := range contestants {
		if !slices.Contains([]string{onServer, fromFile, fromLabels, load.Chat}, c.kind) {
			if file := r.ownFile(c.what, "train.jsonl", "train.csv"); file != "" {
				return file
			}
		}
	}
	return ""
}

func (r *compareRun) readTask() error {
	if r.local.Remote.Job == "" {
		return nil
	}
	job, err := importer.ReadJob(r.local.Remote.Job)
	if err != nil {
		return err
	}
	r.task.task = job.Task
	r.task.labels, err = labels.NewSet(job.Labels)
	return err
}

// enter lets a contestant answer the rows.
func (r *compareRun) enter(ctx context.Context, c contestant) (err error) {
	switch c.kind {
	case fromFile:
		return r.enterFile(c)
	case fromLabels:
		return r.enterLabels(c)
	}
	r.task.shots = nil
	if r.task.labels != nil {
		r.task.shots = shots(r.task.labels, r.train, r.shots)
	}
	o, err := r.openContestant(ctx, c, r.task)
	if err != nil {
		return err
	}
	defer closing(o, &err)
	f := o.Facts()
	if r.task.labels == nil {
		r.task.labels = f.Labels
	}
	report, answers, err := r.run(ctx, o, f.Labels, r.progress())
	if err != nil {
		return fmt.Errorf("%s: %w", r.data, err)
	}
	report.Model, report.Artifact, report.Scoring, report.Engine = f.Model, f.Artifact, f.Scoring, f.Engine.Setup()
	var spent target.Spent
	if o.cached != nil {
		spent = o.cached.Spent()
		report.Timing = eval.NewTiming(spent.Times)
		if spent.FromCache > 0 {
			r.notes = append(r.notes, fmt.Sprintf("%s: %d of %d answers are from %s, with the times they took when they were given", c.name, spent.FromCache, len(r.rows), r.cache))
		}
	}
	return r.add(c.name, report, f.Labels, answers, spent)
}

// run lets a classifier answer the rows.
func (r *compareRun) run(ctx context.Context, c eval.Classifier, set *labels.Set, progress func(done, total int)) (report *eval.Report, answers []eval.Answer, err error) {
	report, err = eval.Run(ctx, c, set, r.rows, eval.Options{Progress: progress, Alone: alone, Save: func(_ []eval.Row, got []eval.Answer) error {
		answers = append(answers, got...)
		return nil
	}})
	return report, answers, err
}

// enterFile takes the answers of a file of predictions.
func (r *compareRun) enterFile(c contestant) error {
	p, err := readPredictions(c.what)
	if err == nil {
		err = p.Whole(r.rows)
	}
	if err != nil {
		return err
	}
	report, err := eval.Measure(p.Set, r.rows, p.Answers)
	if err != nil {
		return err
	}
	h := p.Header
	report.Model, report.Artifact, report.Scoring, report.Engine = h.Model, h.Artifact, h.Scoring, h.Engine
	return r.add(c.name, report, p.Set, p.Answers, target.Spent{})
}

// enterLabels takes the answers of a file of labels.
func (r *compareRun) enterLabels(c contestant) error {
	set := r.task.labels
	if set == nil {
		return errors.New("it is not known which labels there are: name a model before it, or give -engine-job")
	}
	answers, err := readAnswers(c.what, set, r.rows)
	if err != nil {
		return err
	}
	report, err := eval.Measure(set, r.rows, answers)
	if err != nil {
		return err
	}
	report.Model = filepath.Base(c.what)
	return r.add(c.name, report, set, answers, target.Spent{})
}

// add enters answers into the table, in the order of the first contestant's labels.
func (r *compareRun) add(name string, report *eval.Report, set *labels.Set, answers []eval.Answer, spent target.Spent) error {
	if r.set == nil {
		r.set = set
	}
	answers, err := eval.Aligned(r.set, set, answers)
	if err != nil {
		return err
	}
	report.Dataset = eval.DatasetDigest(r.rows)
	x := eval.Contestant{Name: name, Source: strings.TrimSpace(report.Engine + " " + report.Model), Report: report, Answers: answers}
	if p, ok := r.prices[name]; ok {
		report.Cost = p.of(report, spent)
	}
	r.list = append(r.list, x)
	return nil
}

// conclude adds the baseline and compares.
func (r *compareRun) conclude(ctx context.Context) (*eval.Comparison, error) {
	warnings := r.notes
	if r.program.train == "" {
		warnings = append(warnings, "there is no baseline: without one, nobody knows how hard the rows are; give the training rows with -train")
	} else if err := r.enterBaseline(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", r.program.train, err)
	}
	if len(r.list) < 2 {
		return nil, usagef("compare needs two contestants, or one and -train for the baseline")
	}
	for _, x := range r.list {
		if n := x.Report.Errors; n > 0 {
			warnings = append(warnings, fmt.Sprintf("%s has no valid answer to %d of %d rows, which count as wrong; the first: %s", x.Name, n, len(r.rows), x.Report.Failures[0].Error))
		}
	}
	c, err := eval.NewComparison(r.set, r.rows, r.list)
	if err == nil {
		c.Warnings = append(c.Warnings, warnings...)
	}
	return c, err
}

func (r *compareRun) enterBaseline(ctx context.Context) error {
	m, err := baseline.Train(r.set, r.train)
	if err != nil {
		return err
	}
	report, answers, err := r.run(ctx, m, r.set, nil)
	if err != nil {
		return err
	}
	report.Model = strconv.Itoa(len(r.train)) + " training rows"
	return r.add(baseline.Name, report, r.set, answers, target.Spent{})
}

// comparisonText renders a comparison for reading: the verdicts first.
func comparisonText(c *eval.Comparison) string {
	var b strings.Builder
	for _, p := range c.Pairings {
		b.WriteString(clean(p.Verdict) + "\n")
	}
	t := table{right: []bool{false, true, false, true, true, true, true, true, true}}
	t.add("", "accuracy", "95 %", "macro-F1", "invalid", "p50 ms", "p95 ms", "rows/s", "cost/1000")
	for _, x := range c.Contestants {
		p50, p95, cost := "", "", ""
		if l := x.Report.Latency; l != nil {
			p50, p95 = fmt.Sprintf("%.1f", l.P50), fmt.Sprintf("%.1f", l.P95)
		}
		if x.Report.Cost != nil {
			cost = fmt.Sprintf("%.4f", *x.Report.Cost)
		}
		rate := ""
		if x.Report.RowsPerSecond > 0 {
			rate = fmt.Sprintf("%.1f", x.Report.RowsPerSecond)
		}
		i := x.Report.AccuracyInterval
		t.add(shorten(clean(x.Name), labelWidth), fmt.Sprintf("%.4f", x.Report.Accuracy), fmt.Sprintf("%.3f-%.3f", i[0], i[1]),
			fmt.Sprintf("%.4f", x.Report.MacroF1), strconv.Itoa(x.Report.Errors), p50, p95, rate, cost)
	}
	b.WriteString("\n" + t.String())
	pairs := table{right: []bool{false, true, true, true, true, true}}
	pairs.add("", "same answer", "only first", "only second", "McNemar p", "Holm p")
	for _, p := range c.Pairings {
		pairs.add(clean(p.A+" / "+p.B), fmt.Sprintf("%d of %d", p.Same, p.Rows), strconv.Itoa(p.OnlyA), strconv.Itoa(p.OnlyB), fmt.Sprintf("%.4f", p.Exact), fmt.Sprintf("%.4f", p.HolmP))
	}
	b.WriteString("\n" + pairs.String())
	for _, w := range c.Warnings {
		b.WriteString("\nwarning: " + clean(w))
	}
	if len(c.Warnings) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
