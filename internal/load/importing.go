package load

import (
	"context"
	"errors"
	"math"

	"cubby/internal/rows"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
)

// Starter runs the models that are being imported into the store home, on the
// processor.
func Starter(home string) importer.Starter {
	return func(m *models.Model) (importer.Running, error) {
		r, err := Opened(m, Options{Home: home, Llama: Llama{GPULayers: "0"}, QueueTokens: math.MaxInt32})
		if err != nil {
			return nil, err // not a Running that holds a nil pointer
		}
		return importing{r}, nil
	}
}

// ReadRows reads a test set: CSV or JSONL in any form of package rows.
func ReadRows(file string) ([]importer.Row, error) {
	r, err := rows.Open(file, nil, rows.Labeled)
	if err != nil {
		return nil, err
	}
	list, err := r.ReadAll()
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	out := make([]importer.Row, len(list))
	for i, row := range list {
		out[i] = importer.Row(row)
	}
	return out, nil
}

// importing is a model whose only caller is its import.
type importing struct{ *runtime.Model }

func (r importing) Answer(ctx context.Context, texts []string) ([]importer.Answer, error) {
	results, err := r.Score(ctx, runtime.Request{Texts: texts})
	if err != nil {
		return nil, err
	}
	answers := make([]importer.Answer, len(results))
	for i, result := range results {
		answers[i] = importer.Answer{Distribution: result.Distribution, Truncated: result.Truncated}
		if result.Err != nil {
			answers[i] = importer.Answer{Err: result.Err}
		}
	}
	return answers, nil
}
