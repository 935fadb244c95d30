package runtime

import (
	"context"

	"cubby/models"
	"cubby/runtime/engine"
)

const (
	// canaryText is scored at import and before a server is ready. Its wording
	// does not matter: any change of weights, prompt or arithmetic moves the
	// probabilities of some label.
	canaryText = "Could you please look into this for me and tell me what went wrong?"
	// canaryTolerance is the total variation distance that still passes. Levels
	// of the kernel sum in different orders, which 8-bit activations round to other
	// integers, and a server may be told to compute more finely than the import
	// did: the students move by 0.02 at most. Other weights, another prompt or
	// tokenizer move it by tenths.
	canaryTolerance = 0.05
	// foreignTolerance is that of engines which round otherwise than the native one
	// that made the recording: the students moved by 0.09 at most, and on
	// llama-server from one start to the next.
	foreignTolerance = 0.15
)

// toleranceOf is the distance that passes on an engine.
func toleranceOf(c *models.Canary, info engine.Info) float64 {
	if info.Engine == nativeEngine {
		return max(c.Tolerance, canaryTolerance) // older manifests hold a narrower one
	}
	return max(c.Tolerance, foreignTolerance)
}

// nativeEngine is Info.Engine of the engine that the tolerances were measured on.
const nativeEngine = "native"

// RecordCanary scores the canary text on a model that is being imported. The
// caller keeps engine and model.
func RecordCanary(ctx context.Context, m *models.Model, eng engine.Engine) (*models.Canary, error) {
	s, err := newScorer(ctx, eng, m.Manifest, m.Labels())
	if err != nil {
		return nil, err
	}
	text, failed := s.prepare(canaryText, "", false)
	if failed != nil {
		return nil, failed
	}
	if err := s.run(ctx, []*scored{text}); err != nil {
		return nil, err
	}
	if text.err != nil {
		return nil, text.err
	}
	return &models.Canary{Text: canaryText, Probabilities: text.dist, Tolerance: canaryTolerance}, nil
}
