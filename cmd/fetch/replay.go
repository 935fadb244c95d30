package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/progress"
	"cubby/models"
	"cubby/models/importer"

	"github.com/urfave/cli/v3"
)

// checkFlags are those of every command that installs a model.
func checkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "test", Usage: "`FILE` with the model's test set, when no test.jsonl or test.csv is in the package or beside it"},
		&cli.StringFlag{Name: "predictions", Usage: "`FILE` with the platform's answers to the test set, when no predictions.jsonl is in the package or beside it"},
		&cli.IntFlag{Name: "replay-rows", Usage: "run at most `N` rows of the test set, evenly spread; 0 for all", Value: importer.DefaultReplayRows},
		&cli.BoolFlag{Name: "no-replay", Usage: "do not run the test set"},
		&cli.BoolFlag{Name: "require-replay", Usage: "install only what answers as on the platform"},
		&cli.BoolFlag{Name: "no-data", Usage: "do not keep test set, predictions and the like with the model"},
	}
}

// checks reads them.
func (p *program) checks(c *cli.Command) (importer.Checks, error) {
	k := importer.Checks{
		Test: c.String("test"), Predictions: c.String("predictions"), ReadRows: load.ReadRows, Rows: c.Int("replay-rows"),
		NoReplay: c.Bool("no-replay"), Require: c.Bool("require-replay"), NoData: c.Bool("no-data"), Progress: p.replaying(),
	}
	if k.NoReplay && k.Require {
		return k, usagef("-no-replay and -require-replay contradict each other")
	}
	if k.Rows < 0 {
		return k, usagef("-replay-rows %d: expected the most rows to run, or 0 for all", k.Rows)
	}
	if k.Rows == 0 {
		k.Rows = -1
	}
	for name, file := range map[string]string{"test": k.Test, "predictions": k.Predictions} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return k, usagef("-%s: %w", name, err)
		}
	}
	return k, nil
}

// replaying shows a count on a terminal and nothing elsewhere.
func (p *program) replaying() func(done, total int) {
	return progress.Rows(p.stderr, "replaying the test set: ")
}

// replayed prints what replaying found, now or when the model was first imported: a
// line, and on the standard error output what is wrong.
func (p *program) replayed(r *importer.Replay, kept *models.Replay, line io.Writer) {
	if r == nil {
		if kept != nil {
			fmt.Fprintf(line, "%s, at its first import\n", replayLine(kept))
		}
		return
	}
	fmt.Fprintf(line, "%s, in %.1f s\n", replayLine(&r.Replay), r.Seconds)
	if lines := linesOf(r); lines != "" {
		fmt.Fprintln(line, lines)
	}
	for _, u := range r.Unread {
		fmt.Fprintln(p.stderr, "warning: predictions,", u)
	}
	if r.Problem == "" {
		return
	}
	fmt.Fprintf(p.stderr, "WARNING: THIS MODEL DOES NOT ANSWER AS IT DID ON THE PLATFORM: %s\n", r.Problem)
	for _, cause := range r.Causes {
		fmt.Fprintln(p.stderr, "WARNING: likely cause:", cause)
	}
}

// replayLine tells the figures.
func replayLine(r *models.Replay) string {
	var b strings.Builder
	b.WriteString("replay: ")
	if r.Matched > 0 {
		fmt.Fprintf(&b, "%d of %d answers are the platform's (%s); ", r.Agree, r.Matched, share(r.Agree, r.Matched))
	}
	fmt.Fprintf(&b, "accuracy %s", share(r.Correct, r.Labeled))
	switch {
	case r.Matched > 0 && r.Labeled > r.Unpredicted:
		fmt.Fprintf(&b, ", the platform's %.1f %%", 100*float64(r.PlatformCorrect)/float64(r.Labeled-r.Unpredicted))
	case r.PlatformAccuracy != nil:
		fmt.Fprintf(&b, ", the platform's %.1f %%", 100**r.PlatformAccuracy)
	default:
		b.WriteString(", and nothing of the platform's to compare with")
	}
	for _, part := range []struct {
		n    int
		what string
	}{{r.Outside, "predictions of no label"}, {r.Failed, "rows without an answer"}, {r.Truncated, "rows cut"}, {r.Rows - r.Matched, "rows without a prediction"}} {
		if part.n > 0 && (r.Matched > 0 || part.what != "rows without a prediction") {
			fmt.Fprintf(&b, "; %d %s", part.n, part.what)
		}
	}
	fmt.Fprintf(&b, "; %d rows", r.Rows)
	if r.Rows < r.Of {
		fmt.Fprintf(&b, ", evenly spread over all %d", r.Of)
	}
	return b.String()
}

// share is a percentage with Wilson's interval at 95 %.
func share(part, whole int) string {
	if whole == 0 {
		return "unknown"
	}
	low, high := eval.Wilson(part, whole)
	return fmt.Sprintf("%.1f %%, 95 %% interval %.1f to %.1f %%", 100*float64(part)/float64(whole), 100*low, 100*high)
}

// maxLines is how many line numbers are printed.
const maxLines = 20

// linesOf names the rows that differ by their lines.
func linesOf(r *importer.Replay) string {
	if len(r.Differ) == 0 {
		return ""
	}
	var lines []string
	for _, d := range r.Differ[:min(len(r.Differ), maxLines)] {
		lines = append(lines, fmt.Sprint(d.Line))
	}
	of := "test set"
	if r.Test == (models.Digest{}) {
		of = "predictions"
	}
	text := fmt.Sprintf("lines of the %s that differ: %s", of, strings.Join(lines, ", "))
	if more := r.Matched - r.Agree - len(lines); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
