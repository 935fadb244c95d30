package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/models/predictions"
)

const (
	// WantedShare is the least agreement with the platform that passes without a
	// warning: what Q8_0 rounds changes one label in a hundred.
	WantedShare = 0.97
	// replayBatch is how many texts are asked at once: progress moves in these steps.
	replayBatch = 64
	// maxListed bounds the rows that a result names.
	maxListed = 50
)

// Replay is what running the test set found.
type Replay struct {
	models.Replay
	// Problem is empty where the model answers as on the platform, or nothing is known
	// of that; Causes are what was seen that may explain it, the likeliest first.
	Problem string   `json:"problem,omitempty"`
	Causes  []string `json:"causes,omitempty"`
	// Differ are rows that the platform answers otherwise, Unmatched the lines of rows
	// that it has no answer to: the first 50 of each.
	Differ    []Difference `json:"differ"`
	Unmatched []int        `json:"unmatched,omitempty"`
	Unread    []string     `json:"unread,omitempty"` // lines of the predictions that are none
	Seconds   float64      `json:"seconds"`
}

// Difference is a row that model and platform answer otherwise.
type Difference struct {
	Line        int     `json:"line"` // of the test set, or of the predictions where there is none
	Text        string  `json:"text"`
	Label       string  `json:"label"` // empty without an answer
	Probability float64 `json:"probability"`
	Platform    string  `json:"platform"` // as it is written there
	Answer      string  `json:"answer"`   // the test set's
	Error       string  `json:"error,omitempty"`
}

// player runs a test set on a model.
type player struct {
	Options
	manifest *models.Manifest
	set      *labels.Set
	sources  sources
	client   conversation // its user message is around the text; zero without one
	rows     []Row
	platform []predictions.Row
	at       []int // for each row, its prediction; -1 for none
	answers  []Answer
	seen     seen
	// otherBase is the base that an adapter names, where it was merged into another;
	// coarse the type of weights that are quantised below Q8_0.
	otherBase, coarse string
	warnings          []string
	result            Replay
}

// replay runs the test set, or without one the texts of the predictions. It returns
// nil where there is neither.
func (pl *player) replay(ctx context.Context, running Running) (*Replay, error) {
	if err := pl.read(); err != nil || len(pl.rows) == 0 {
		return nil, err
	}
	start := time.Now()
	var err error
	if pl.answers, err = askAll(ctx, running, pl.rows, pl.Progress); err != nil {
		return nil, err
	}
	pl.result.Seconds = time.Since(start).Seconds()
	pl.result.Differ = []Difference{}
	for i := range pl.rows {
		pl.compare(i)
	}
	pl.judge()
	return &pl.result, nil
}

// read reads the predictions, and decides which rows are run.
func (pl *player) read() (err error) {
	if pl.set, err = labels.NewSet(pl.manifest.Labels); err != nil {
		return err
	}
	if err := pl.readPredictions(); err != nil {
		return err
	}
	pl.rows = pl.sources.test.Rows
	if len(pl.rows) == 0 {
		for _, r := range pl.platform {
			pl.rows = append(pl.rows, Row{Line: r.Line, Text: r.Text, Answer: r.Reference})
		}
	}
	if len(pl.rows) == 0 {
		return nil
	}
	if !slices.ContainsFunc(pl.rows, func(r Row) bool { return predictions.ReadLabel(pl.set, r.Answer).Label >= 0 }) {
		return pl.foreign()
	}
	pl.result.Of = len(pl.rows)
	if err := pl.match(); err != nil {
		return err
	}
	return pl.digests()
}

// foreign gives up a test set that has none of the model's labels.
func (pl *player) foreign() error {
	what := "the test set is"
	if len(pl.sources.test.Rows) == 0 {
		what = "the predictions are"
	}
	why := fmt.Sprintf("%s another model's: none of the labels is one of this one's, which has %q", what, pl.set.Name(0))
	if pl.Test != "" || pl.Predictions != "" {
		return errors.New(why)
	}
	pl.warnings = append(pl.warnings, why+"; it is not used")
	pl.rows, pl.result.Unread, pl.sources.test, pl.sources.predictions, pl.sources.metrics, pl.sources.train = nil, nil, TestSet{}, "", "", ""
	return nil
}

func (pl *player) readPredictions() error {
	if pl.sources.predictions == "" {
		return nil
	}
	f, err := os.Open(pl.sources.predictions)
	if err != nil {
		return err
	}
	defer f.Close()
	rows, bad, err := predictions.Read(f)
	if err != nil && pl.Predictions != "" {
		return fmt.Errorf("%s: %w", pl.Predictions, err)
	}
	if err != nil {
		pl.warnings = append(pl.warnings, fmt.Sprintf("the predictions are not used: %v", err))
		pl.sources.predictions = ""
		return nil
	}
	for i := range rows {
		rows[i].Text = predictions.Unwrap(rows[i].Text, pl.client.Before, pl.client.After)
	}
	for _, b := range bad[:min(len(bad), maxListed)] {
		pl.result.Unread = append(pl.result.Unread, b.Error())
	}
	pl.platform = rows
	return nil
}

func (pl *player) digests() (err error) {
	r := &pl.result.Replay
	if r.Test, err = digestFile(pl.sources.test.File); err != nil {
		return err
	}
	r.Predictions, err = digestFile(pl.sources.predictions)
	return err
}

// digestFile is zero for no file.
func digestFile(name string) (models.Digest, error) {
	if name == "" {
		return models.Digest{}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return models.Digest{}, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return models.Digest(hash.Sum(nil)), err
}

// match finds the prediction of each row, and then thins the rows out.
func (pl *player) match() error {
	texts := make([]string, len(pl.rows))
	for i, r := range pl.rows {
		texts[i] = r.Text
	}
	at, unused := predictions.Match(texts, pl.platform)
	if why := pl.strangers(unused); why != "" && pl.Predictions != "" {
		return fmt.Errorf("%s: %s", pl.Predictions, why)
	} else if why != "" {
		pl.warnings = append(pl.warnings, "the predictions are not used: "+why)
		pl.platform, pl.result.Unread, pl.sources.predictions = nil, nil, ""
		at, _ = predictions.Match(texts, nil)
	}
	var rows []Row
	for i, from := range evenly(len(pl.rows), pl.Options.Rows) {
		rows, at[i] = append(rows, pl.rows[from]), at[from]
	}
	pl.rows, pl.at = rows, at[:len(rows)]
	return nil
}

// strangers says why the predictions are not of the test set, with so many of them that
// match no row; it is empty where they are, or there are none.
func (pl *player) strangers(unused int) string {
	known := func(written string) bool { return predictions.ReadLabel(pl.set, written).Label >= 0 }
	switch {
	case len(pl.platform) == 0:
		return ""
	case unused == len(pl.platform):
		return "they are of other texts than the test set"
	case !slices.ContainsFunc(pl.platform, func(r predictions.Row) bool { return known(r.Written) || known(r.Reference) }):
		return fmt.Sprintf("none of their labels is one of the model's, which has %q", pl.set.Name(0))
	}
	return ""
}

// evenly picks at most so many of n rows, evenly spread: 0 stands for
// DefaultReplayRows, and what is less for all.
func evenly(n, most int) []int {
	if most == 0 {
		most = DefaultReplayRows
	}
	if most < 0 || most > n {
		most = n
	}
	list := make([]int, most)
	for i := range list {
		list[i] = i * n / most
	}
	return list
}

// askAll has every row of a test set answered, so many at once; progress, which may
// be nil, hears how many are.
func askAll(ctx context.Context, running Running, rows []Row, progress func(done, of int)) ([]Answer, error) {
	var all []Answer
	for from := 0; from < len(rows); from += replayBatch {
		part := rows[from:min(from+replayBatch, len(rows))]
		texts := make([]string, len(part))
		for i, r := range part {
			texts[i] = r.Text
		}
		answers, err := running.Answer(ctx, texts)
		if err != nil {
			return nil, fmt.Errorf("the test set: %w", err)
		}
		if len(answers) != len(texts) {
			return nil, fmt.Errorf("the test set: %d answers to %d texts", len(answers), len(texts))
		}
		all = append(all, answers...)
		if progress != nil {
			progress(len(all), len(rows))
		}
	}
	return all, nil
}

// compare counts one row.
func (pl *player) compare(i int) {
	r, row, a := &pl.result, pl.rows[i], pl.answers[i]
	r.Rows++
	label, p := -1, 0.0
	if a.Err != nil {
		r.Failed++
	} else {
		label, p = a.Distribution.Best()
	}
	if a.Truncated > 0 {
		r.Truncated++
	}
	truth := predictions.ReadLabel(pl.set, row.Answer).Label
	said := predictions.Said{Label: -1}
	if pl.at[i] >= 0 {
		prediction := pl.platform[pl.at[i]]
		said = predictions.ReadLabel(pl.set, prediction.Written)
		pl.see(prediction, said, truth)
		pl.agree(i, label, p, said)
	} else if len(pl.platform) > 0 && len(r.Unmatched) < maxListed {
		r.Unmatched = append(r.Unmatched, row.Line)
	}
	if truth < 0 {
		return
	}
	r.Labeled++
	if label == truth {
		r.Correct++
	}
	switch {
	case said.Label == truth:
		r.PlatformCorrect++
	case pl.at[i] < 0 && len(pl.platform) > 0:
		r.Unpredicted++
	}
}

// agree holds an answer against the platform's.
func (pl *player) agree(i, label int, p float64, said predictions.Said) {
	r, row, a := &pl.result, pl.rows[i], pl.answers[i]
	r.Matched++
	if said.Label < 0 {
		r.Outside++
	}
	if label == said.Label && label >= 0 {
		r.Agree++
		return
	}
	if a.Truncated > 0 {
		pl.seen.cut++
	}
	if len(r.Differ) == maxListed {
		return
	}
	d := Difference{Line: row.Line, Text: row.Text, Probability: p, Platform: pl.platform[pl.at[i]].Written, Answer: row.Answer}
	if a.Err != nil {
		d.Error = a.Err.Error()
	} else {
		d.Label = pl.set.Name(label)
	}
	r.Differ = append(r.Differ, d)
}

// judge says what is wrong, if something is, and looks for what explains it.
func (pl *player) judge() {
	r := &pl.result
	if r.Matched == 0 {
		pl.readAccuracy()
	}
	switch a := r.PlatformAccuracy; {
	case r.Share() < WantedShare:
		r.Problem = fmt.Sprintf("only %d of %d answers (%.1f %%) are the platform's, and %.0f %% are expected", r.Agree, r.Matched, 100*r.Share(), 100*WantedShare)
	case r.Outside > 0:
		r.Problem = fmt.Sprintf("%d of the platform's %d answers are no label of the model", r.Outside, r.Matched)
	case a != nil && r.Labeled > 0 && math.Abs(r.Accuracy()-*a) > 1-WantedShare+1e-9:
		r.Problem = fmt.Sprintf("the accuracy is %.1f %% on the test set, and the platform's %.1f %%", 100*r.Accuracy(), 100**a)
	case r.Matched == 0 && len(pl.platform) > 0:
		r.Problem = "none of the rows that were run has a prediction"
	}
	if r.Problem != "" {
		r.Causes = pl.causes()
	}
}

// shows is empty where enough was compared to say that the model answers as on the
// platform, and otherwise what is missing.
func (r *Replay) shows() string {
	switch {
	case r.Matched == 0 && r.PlatformAccuracy == nil:
		return "nothing of the platform's was there to compare with; name its predictions with -predictions"
	case r.Matched > 0 && float64(r.Matched) < WantedShare*float64(r.Rows):
		return fmt.Sprintf("only %d of %d rows have a prediction to compare with", r.Matched, r.Rows)
	}
	return ""
}

// readAccuracy takes the platform's from its metrics.
func (pl *player) readAccuracy() {
	if pl.sources.metrics == "" {
		return
	}
	data, err := readSmall(pl.sources.metrics, metricsName, maxJSON)
	if err != nil {
		pl.warnings = append(pl.warnings, err.Error())
		return
	}
	if a, ok := predictions.Accuracy(data); ok {
		pl.result.PlatformAccuracy = &a
	}
}
