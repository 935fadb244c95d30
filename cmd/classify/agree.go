package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/rows"
	"cubby/internal/target"
	"cubby/labels"
)

func (p *program) agreeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "engines", Usage: "compare `LIST` of engines, with commas between them, such as native,llama,ollama=http://127.0.0.1:11434", Destination: &p.engines},
	}
}

// agreeReport is the outcome of agree.
type agreeReport struct {
	Scoring string        `json:"scoring"`
	Engines []agreeEngine `json:"engines"`
	Pairs   []agreePair   `json:"pairs"`

	set *labels.Set
}

type agreeEngine struct {
	Engine   string `json:"engine"` // as given
	Setup    string `json:"setup"`
	Model    string `json:"model"`
	Artifact string `json:"artifact"`
	Errors   int    `json:"errors"`

	answers []eval.Answer
}

type agreePair struct {
	A string `json:"a"`
	B string `json:"b"`
	eval.Agreement
	Rows []agreeRow `json:"rows_that_differ"`
}

// agreeRow is a row on which two engines differ.
type agreeRow struct {
	Line int       `json:"line"`
	A    agreeSaid `json:"a"`
	B    agreeSaid `json:"b"`
}

// agreeSaid is what an engine said of a row.
type agreeSaid struct {
	Label       string  `json:"label,omitempty"`
	Probability float64 `json:"probability,omitempty"`
	Error       string  `json:"error,omitempty"`
}

// agree runs one model on several engines, one after the other, and compares
// their answers pair by pair.
func (p *program) agree(ctx context.Context, args []string) error {
	if err := onlyFlags("agree", args); err != nil {
		return err
	}
	if p.server != "" {
		return usagef("agree runs the model itself: -server is of no use")
	}
	list, err := p.engineOptions()
	if err != nil {
		return err
	}
	texts, err := p.allRows(rows.Text)
	if err != nil {
		return err
	}
	r := &agreeReport{}
	for i, o := range list {
		e := agreeEngine{Engine: strings.TrimSpace(strings.Split(p.engines, ",")[i])}
		if err := p.runEngine(ctx, o, texts, r, &e); err != nil {
			return fmt.Errorf("engine %s: %w", e.Engine, err)
		}
		r.Engines = append(r.Engines, e)
	}
	for i := range r.Engines {
		for j := range i {
			r.Pairs = append(r.Pairs, r.pair(&r.Engines[j], &r.Engines[i], texts))
		}
	}
	if p.json {
		return writeJSON(p.stdout, r)
	}
	_, err = io.WriteString(p.stdout, r.text())
	return err
}

// engineOptions reads -engines: ENGINE or ENGINE=URL.
func (p *program) engineOptions() ([]load.Options, error) {
	var list []load.Options
	seen := map[string]bool{}
	for _, given := range strings.Split(p.engines, ",") {
		given = strings.TrimSpace(given)
		o := p.local
		name, url, found := strings.Cut(given, "=")
		o.Engine = name
		if found {
			o.Remote.URL = url
		}
		if err := o.Check(); err != nil || name == "" {
			return nil, usagef("-engines %q: expected two or more of %s, with commas between them", p.engines, strings.Join(load.Engines(), ", "))
		}
		if seen[given] {
			return nil, usagef("-engines %q: %s is given twice", p.engines, given)
		}
		seen[given] = true
		list = append(list, o)
	}
	if len(list) < 2 {
		return nil, usagef("-engines %q: one engine agrees with itself; give two or more of %s", p.engines, strings.Join(load.Engines(), ", "))
	}
	return list, nil
}

// runEngine answers the rows on one engine.
func (p *program) runEngine(ctx context.Context, o load.Options, list []rows.Row, r *agreeReport, e *agreeEngine) (err error) {
	b, err := p.load(p.model, o)
	if err != nil {
		return err
	}
	t := target.Local(b, p.scoring)
	defer closing(t, &err)
	f := t.Facts()
	if r.set != nil && !slices.Equal(r.set.Names(), f.Labels.Names()) {
		return fmt.Errorf("its labels, or their order, are not those of the engines before it: they cannot be compared")
	}
	e.Model, e.Artifact, r.Scoring = f.Model, f.Artifact, f.Scoring
	e.Setup = f.Engine.Engine + " on " + f.Engine.Device
	if f.Engine.Kernel != "" {
		e.Setup += ", " + f.Engine.Kernel
	}
	answers, err := eval.Answers(ctx, t, f.Labels, evalRows(list), eval.Options{Progress: p.progress()})
	if err != nil {
		return err
	}
	e.answers, r.set = answers, f.Labels
	for _, a := range answers {
		if a.Err != nil {
			e.Errors++
		}
	}
	return nil
}

// pair compares two engines.
func (r *agreeReport) pair(a, b *agreeEngine, list []rows.Row) agreePair {
	pair := agreePair{A: a.Engine, B: b.Engine, Agreement: eval.Agree(a.answers, b.answers), Rows: []agreeRow{}}
	for _, i := range pair.Differ {
		pair.Rows = append(pair.Rows, agreeRow{Line: list[i].Line, A: r.said(a.answers[i]), B: r.said(b.answers[i])})
	}
	return pair
}

func (r *agreeReport) said(a eval.Answer) agreeSaid {
	if a.Err != nil {
		return agreeSaid{Error: a.Err.Error()}
	}
	best, p := a.Distribution.Best()
	return agreeSaid{Label: r.set.Name(best), Probability: p}
}

// text renders the report for reading.
func (r *agreeReport) text() string {
	var b strings.Builder
	var head table
	head.add("scoring", r.Scoring)
	for _, e := range r.Engines {
		line := e.Setup + ", model " + clean(e.Model) + "  " + e.Artifact
		if e.Errors > 0 {
			line += fmt.Sprintf(", %d rows without an answer", e.Errors)
		}
		head.add(e.Engine, line)
	}
	b.WriteString(head.String() + "\n")
	pairs := table{right: []bool{false, true, true, true, true}}
	pairs.add("engines", "rows", "same label", "mean TV", "max TV")
	for _, p := range r.Pairs {
		share := "none"
		if p.Compared > 0 {
			share = fmt.Sprintf("%d of %d (%.2f %%)", p.Same, p.Compared, 100*float64(p.Same)/float64(p.Compared))
		}
		pairs.add(p.A+" / "+p.B, strconv.Itoa(p.Agreement.Rows), share, fmt.Sprintf("%.5f", p.Mean), fmt.Sprintf("%.5f", p.Max))
	}
	b.WriteString(pairs.String())
	for _, p := range r.Pairs {
		if len(p.Rows) > 0 {
			fmt.Fprintf(&b, "\nrows on which %s and %s differ\n%s", p.A, p.B, differences(p))
		}
	}
	return b.String()
}

func differences(p agreePair) string {
	t := table{right: []bool{true}}
	t.add("line", p.A, p.B)
	for _, row := range p.Rows[:min(len(p.Rows), maxListed)] {
		t.add(strconv.Itoa(row.Line), row.A.text(), row.B.text())
	}
	s := t.String()
	if more := len(p.Rows) - maxListed; more > 0 {
		s += fmt.Sprintf("and %d more: -json lists all\n", more)
	}
	return s
}

func (s agreeSaid) text() string {
	if s.Error != "" {
		return shorten(clean(s.Error), labelWidth)
	}
	return fmt.Sprintf("%s %.4f", shorten(clean(s.Label), labelWidth), s.Probability)
}
