package runtime

import (
	"context"
	"fmt"

	"cubby/labels"
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

// RecordCanary scores the canary text, before calibration, for the manifest of a
// model that is being imported.
func (m *Model) RecordCanary(ctx context.Context) (*models.Canary, error) {
	dist, err := m.scoreCanary(ctx, canaryText)
	if err != nil {
		return nil, err
	}
	return &models.Canary{Text: canaryText, Probabilities: dist, Tolerance: canaryTolerance}, nil
}

// CheckCanary scores the manifest's canary text and compares its distribution,
// before calibration, with the recorded one. A model without a canary passes.
func (m *Model) CheckCanary(ctx context.Context) error {
	c := m.model.Manifest.Canary
	if c == nil {
		return nil
	}
	dist, err := m.scoreCanary(ctx, c.Text)
	if err != nil {
		return err
	}
	info := m.engine.Info()
	if info.LabelOnly {
		return nil // there are no probabilities to compare
	}
	tolerance := toleranceOf(c, info)
	if d := dist.Distance(c.Probabilities); !(d <= tolerance) {
		what := "the weights or the engine are not what was imported; import the model again"
		if info.NodeByNode {
			what = "the server runs other weights than this model's"
		}
		return fmt.Errorf("%w: probabilities are %.6f away from those recorded at import, tolerance %.6f: %s", models.ErrCanary, d, tolerance, what)
	}
	return nil
}

func (m *Model) scoreCanary(ctx context.Context, canary string) (labels.Distribution, error) {
	text, failed := m.scorer.prepare(canary, "", false)
	if failed != nil {
		return nil, fmt.Errorf("canary: %w", failed)
	}
	err := m.scheduler.do(ctx, []*job{newJob(text)}, interactive)
	if err == nil && text.err != nil {
		err = text.err
	}
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	return text.dist, nil
}
