// Package eval measures a classifier against labelled rows: accuracy with its
// interval, macro-F1, each class, the confusion matrix and the log loss.
//
// Rule: every row counts. A row that could not be answered is a wrong answer
// and is listed; a row whose label the classifier does not have stops the
// evaluation before it begins, because no figure would mean anything.
package eval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cubby/labels"
)

// DefaultBatch is how many texts go into one call: enough to fill an engine's
// passes, few enough that progress moves.
const DefaultBatch = 64

// Classifier is the thing under test.
type Classifier interface {
	// Classify answers every text, in order. A text that cannot be answered
	// carries its error in its Answer; the call fails only as a whole.
	Classify(ctx context.Context, texts []string) ([]Answer, error)
}

// Answer is what the classifier said about one text.
type Answer struct {
	Distribution labels.Distribution // in the set's order; nil where Err is set
	Err          error
	Review       bool    // the policy would send it to a person
	Tokens       int     // tokens of the text that were scored
	Truncated    int     // tokens cut off its end
	LabelOnly    bool    // a label was named, and no probability told
	Unresolved   float64 // probability shared out evenly among labels that were not told apart
}

// Row is one labelled text.
type Row struct {
	Line   int // where it stands in its file, from 1
	Text   string
	Answer string // the true label's name
}

// Options adjusts a run; the zero value is useful.
type Options struct {
	Batch    int                   // texts a call; 0 means DefaultBatch
	Progress func(done, total int) // called after each batch, where set
	// Alone is how many of the rows that are answered now go first and one at a time,
	// so that their times are those of single texts.
	Alone int
	// Answered are the answers that an earlier run had to the first rows.
	Answered []Answer
	// Save keeps the answers of a batch, where set.
	Save func([]Row, []Answer) error
}

// Run classifies all rows and reports. Model, Artifact and Scoring of the
// report are the caller's to fill.
func Run(ctx context.Context, c Classifier, set *labels.Set, rows []Row, opts Options) (*Report, error) {
	truth, err := Truth(set, rows)
	if err != nil {
		return nil, err
	}
	answers, times, err := classifyAll(ctx, c, set, rows, opts)
	if err != nil {
		return nil, err
	}
	report := measure(set, rows, truth, answers)
	report.Resumed = len(opts.Answered)
	report.Timing = NewTiming(times)
	return report, nil
}

func classifyAll(ctx context.Context, c Classifier, set *labels.Set, rows []Row, opts Options) (answers []Answer, times Times, err error) {
	batch := opts.Batch
	if batch <= 0 {
		batch = DefaultBatch
	}
	answers = slices.Grow(slices.Clone(opts.Answered), len(rows)-len(opts.Answered))
	for from := len(answers); from < len(rows); from = len(answers) {
		size, alone := batch, len(times.Alone) < opts.Alone
		if alone {
			size = 1
		}
		part := rows[from:min(from+size, len(rows))]
		start := time.Now()
		got, err := classify(ctx, c, set, part)
		times.add(time.Since(start), len(part), alone)
		if err != nil {
			return nil, times, fmt.Errorf("lines %d to %d: %w", part[0].Line, part[len(part)-1].Line, err)
		}
		answers = append(answers, got...)
		if opts.Save != nil {
			if err := opts.Save(part, got); err != nil {
				return nil, times, err
			}
		}
		if opts.Progress != nil {
			opts.Progress(len(answers), len(rows))
		}
	}
	return answers, times, nil
}

// classify makes one call and holds the classifier to its contract.
func classify(ctx context.Context, c Classifier, set *labels.Set, rows []Row) ([]Answer, error) {
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = r.Text
	}
	answers, err := c.Classify(ctx, texts)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(texts) {
		return nil, fmt.Errorf("the classifier gave %d answers to %d texts", len(answers), len(texts))
	}
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		if len(a.Distribution) != set.Len() {
			return nil, fmt.Errorf("line %d: the answer has %d probabilities; the task has %d labels", rows[i].Line, len(a.Distribution), set.Len())
		}
		if err := a.Distribution.Check(); err != nil {
			return nil, fmt.Errorf("line %d: the answer is no distribution: %w", rows[i].Line, err)
		}
	}
	return answers, nil
}

// Truth returns the index of every row's label in the set. Labels that are not
// in it make one error, which names the first such row and the nearest label.
func Truth(set *labels.Set, rows []Row) ([]int, error) {
	if len(rows) == 0 {
		return nil, errors.New("there are no rows to evaluate")
	}
	truth := make([]int, len(rows))
	var first *Row
	unknown := 0
	for i := range rows {
		index, ok := set.Index(rows[i].Answer)
		if !ok && unknown == 0 {
			first = &rows[i]
		}
		if !ok {
			unknown++
		}
		truth[i] = index
	}
	if unknown > 0 {
		return nil, unknownLabel(set, *first, unknown)
	}
	return truth, nil
}
