package importer

import (
	"context"

	"cubby/labels"
	"cubby/models"
)

// Starter puts an engine behind a model that is being imported, which nobody else
// sees yet. It owns the model from then on: Close of the result closes it, and so
// does a failure to start.
type Starter func(*models.Model) (Running, error)

// Running is a model with its engine, loaded once for all that an import asks.
type Running interface {
	// RecordCanary scores the canary text, before calibration.
	RecordCanary(ctx context.Context) (*models.Canary, error)
	// CheckCanary scores the canary of the model's manifest: models.ErrCanary is in the
	// chain of its error where the model does not answer so.
	CheckCanary(ctx context.Context) error
	// AnswerMass tells, for each form of answer, the probability that the model writes
	// a label in it behind the canary text; nil where it cannot be known.
	AnswerMass(ctx context.Context, forms []models.Answer) ([]float64, error)
	// Answer answers every text, in order. A text that cannot be answered carries
	// its error in its Answer; the call fails only as a whole.
	Answer(ctx context.Context, texts []string) ([]Answer, error)
	Close() error
}

// Answer is what the model says about one text.
type Answer struct {
	Distribution labels.Distribution // in the set's order; nil where Err is set
	Truncated    int                 // tokens cut off the text's end
	Err          error               // the text is empty, or the engine cannot compute it
}

// Row is a labelled text of a test set.
type Row struct {
	Line   int // of its file, from 1
	Text   string
	Answer string // the label's name
}
