package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"cubby/internal/platform"
)

// document is a file beside the package.
type document struct {
	name string
	data []byte
}

// Names of the files beside a package, as the platform's own packages have them.
const (
	jobName         = "job_description.json"
	configName      = "config.yaml"
	clientName      = "model_client.py"
	predictionsName = "predictions.jsonl"
	metricsName     = "metrics.json"
	testName        = "test"  // and the ending that it has on the platform
	trainName       = "train" // the same
)

// Bounds of the files beside a package.
const (
	maxDescription = 4 << 20
	maxRows        = 256 << 20
)

// wanted is a file beside the package, and where it lies.
type wanted struct {
	name  string
	link  *platform.Link
	limit int64
}

// readDocuments downloads what the platform has beside the package and gives for
// nothing: what the import needs, and what the model was trained and tested on.
func (p *puller) readDocuments(ctx context.Context) error {
	list := []wanted{
		{jobName, p.pack.JobDescription, maxDescription},
		{configName, p.pack.Config, maxDescription},
		{clientName, p.pack.Client, maxDescription},
	}
	needed := len(list)
	list, err := p.dataset(ctx, list)
	if err != nil {
		return err
	}
	if p.checked() {
		predictions, err := p.measured(ctx)
		if err := p.spare(ctx, "its predictions", err); err != nil {
			return err
		}
		list = append(list, predictions)
	}
	for i, w := range list {
		if w.link == nil {
			continue
		}
		data, err := p.Client.Read(ctx, *w.link, w.limit)
		check := p.optional(w.name, err)
		if i >= needed {
			check = p.spare(ctx, w.name, err)
		}
		if check != nil {
			return check
		}
		if err == nil {
			p.docs = append(p.docs, document{w.name, data})
		}
	}
	return nil
}

// checked reports whether anybody wants what the model was tested on.
func (p *puller) checked() bool { return p.Files != "" || !p.Checks.NoData || !p.Checks.NoReplay }

// dataset adds what lies with the dataset. Where that may cost a credit, none is
// spent.
func (p *puller) dataset(ctx context.Context, list []wanted) ([]wanted, error) {
	if !p.checked() && list[0].link != nil {
		return list, nil
	}
	metered, err := p.metered(ctx)
	if err != nil {
		return list, err
	}
	if metered {
		if p.Files != "" {
			p.warn("the test set stays on the platform: it costs a credit there")
		}
		return list, nil
	}
	data, err := p.Client.Data(ctx, p.model)
	if list[0].link == nil && p.Job == "" {
		err = p.optional("the dataset", err)
	} else {
		err = p.spare(ctx, "the dataset", err)
	}
	if err != nil || data == nil {
		return list, err
	}
	if list[0].link == nil {
		list[0].link = data.JobDescription
	}
	if list[1].link == nil {
		list[1].link = data.Config
	}
	for _, w := range []wanted{{testName, data.Test, maxRows}, {trainName, data.Train, maxRows}} {
		if w.link != nil && p.checked() {
			w.name += ending(w.link.URL)
			list = append(list, w)
		}
	}
	return list, nil
}

// metered reports whether the dataset's download costs a credit. A model found by
// its training is asked about once more: it may not have told its dataset.
func (p *puller) metered(ctx context.Context) (bool, error) {
	m := p.model
	if m.Dataset == "" && m.TrainingDataset == "" && m.Upload == "" {
		full, err := p.Client.Get(ctx, m.ID)
		if err != nil {
			return true, p.optional("the dataset", err)
		}
		m = full
	}
	return m.TrainingDataset != "", nil
}

// measured keeps the platform's figures, without the addresses that come with them,
// and returns where its predictions are.
func (p *puller) measured(ctx context.Context) (predictions wanted, err error) {
	predictions = wanted{name: predictionsName, limit: maxRows}
	metrics, err := p.Client.Metrics(ctx, p.model)
	if err != nil {
		return predictions, err
	}
	predictions.link = metrics.Predictions
	if metrics.Tuned == nil {
		return predictions, nil
	}
	data, err := json.MarshalIndent(map[string]any{
		"tuned_model_performance": metrics.Tuned, "base_model_performance": metrics.Base, "teacher_performance": metrics.Teacher,
	}, "", "  ")
	if err == nil {
		p.docs = append(p.docs, document{metricsName, append(data, '\n')})
	}
	return predictions, err
}

// ending is that of a file of rows.
func ending(address string) string {
	if u, err := url.Parse(address); err == nil && path.Ext(u.Path) == ".csv" {
		return ".csv"
	}
	return ".jsonl"
}

// optional lets pass that the platform does not have a file, or not for nothing.
func (p *puller) optional(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, platform.Payment):
		p.warn("%s stays on the platform: it costs credits there", what)
		return nil
	case absent(err):
		return nil
	}
	return err
}

// spare lets pass what keeps a file away that no import needs: a model is installed
// without its test set too.
func (p *puller) spare(ctx context.Context, what string, err error) error {
	if err = p.optional(what, err); err == nil || p.Files != "" || ctx.Err() != nil {
		return err
	}
	p.warn("%s cannot be had, so the model is not held against it: %v", what, err)
	return nil
}

// writeFiles puts the files beside the package where the user wants them. A file
// that is there and different stays.
func (p *puller) writeFiles() error {
	if p.Files == "" {
		return nil
	}
	if err := os.MkdirAll(p.Files, 0o755); err != nil {
		return fmt.Errorf("the model is installed, but its files cannot be written: %w; name another folder with -files", err)
	}
	for _, d := range p.docs {
		name := filepath.Join(p.Files, d.name)
		if old, err := os.ReadFile(name); err == nil {
			if !bytes.Equal(old, d.data) {
				p.warn("%s is there already and differs from the platform's: it stays as it is", name)
				continue
			}
		} else if err := os.WriteFile(name, d.data, 0o644); err != nil {
			return fmt.Errorf("the model is installed, but its files cannot be written: %w; name another folder with -files", err)
		}
		p.res.Files = append(p.res.Files, name)
	}
	return nil
}
