// Package runtime turns texts into label distributions: it tokenises, admits,
// batches, runs an engine and scores the label trie. It knows no HTTP.
package runtime

import (
	"context"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// Backend answers texts with distributions. The server, eval and bulk see only
// this (or a narrower interface of their own). Safe for concurrent use.
type Backend interface {
	// Score answers every text of the request, in order. A text that cannot be
	// scored carries its own error in its Result; the call itself fails only
	// when the whole request was refused or abandoned: see Error.
	Score(ctx context.Context, req Request) ([]Result, error)
	Info() Info
	// Close stops admission, answers what was admitted, and frees the engine.
	Close() error
}

// Request is one caller's texts. The context's deadline and cancellation apply.
type Request struct {
	Texts   []string
	Scoring models.Scoring // empty: the manifest's
	// NoTruncate refuses a text that is too long instead of cutting its end.
	NoTruncate bool
	// Bulk yields to interactive requests while both wait.
	Bulk bool
}

// Result answers one text.
type Result struct {
	Distribution labels.Distribution // one probability a label, in the set's order
	Review       bool                // the policy sends this text to a person
	Tokens       int                 // tokens of the text that were scored
	Truncated    int                 // tokens cut off its end
	// Unresolved is the probability that was shared out evenly among labels, where
	// there are too many to tell apart all that are improbable: no probability is
	// off by more, before calibration.
	Unresolved float64
	LabelOnly  bool          // the distribution is 1 for a label that was named, and no probability
	Queue      time.Duration // from admission to the start of its pass
	Compute    time.Duration // length of its pass
	Cached     bool          // answered from the cache, without a pass
	Err        *Error        // nil when answered
}

// Info describes what answers.
type Info struct {
	Model      string // name in the manifest
	Artifact   string // digest of the manifest: "sha256:…"
	Source     models.Source
	Labels     *labels.Set
	Scoring    models.Scoring
	Calibrated bool
	Engine     engine.Info
	Choice     string // why this engine computes it, for people
	// MaxTextTokens is the longest text that fits the model's context with
	// prompt and answers.
	MaxTextTokens int
}
