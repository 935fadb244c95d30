package pull

import (
	"bytes"
	"context"
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
	testName        = "test" // and the ending that it has on the platform
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
// nothing: what the import may need, and with Options.Files the rest.
func (p *puller) readDocuments(ctx context.Context) error {
	list := []wanted{
		{jobName, p.pack.JobDescription, maxDescription},
		{configName, p.pack.Config, maxDescription},
		{clientName, p.pack.Client, maxDescription},
	}
	if p.Files != "" || list[0].link == nil {
		more, err := p.dataset(ctx, list)
		if err != nil {
			return err
		}
		list = more
	}
	if p.Files != "" {
		metrics, err := p.Client.Metrics(ctx, p.model)
		if err := p.optional("its predictions", err); err != nil {
			return err
		}
		if err == nil {
			list = append(list, wanted{predictionsName, metrics.Predictions, maxRows})
		}
	}
	for _, w := range list {
		if w.link == nil {
			continue
		}
		data, err := p.Client.Read(ctx, *w.link, w.limit)
		if err := p.optional(w.name, err); err != nil {
			return err
		}
		if err == nil {
			p.docs = append(p.docs, document{w.name, data})
		}
	}
	return nil
}

// dataset adds what lies with the dataset. Where that may cost a credit, none is
// spent.
func (p *puller) dataset(ctx context.Context, list []wanted) ([]wanted, error) {
	if p.model.TrainingDataset != "" {
		if p.Files != "" {
			p.warn("the test set stays on the platform: it costs a credit there")
		}
		return list, nil
	}
	data, err := p.Client.Data(ctx, p.model)
	if err := p.optional("the dataset", err); err != nil || data == nil {
		return list, err
	}
	if list[0].link == nil {
		list[0].link = data.JobDescription
	}
	if list[1].link == nil {
		list[1].link = data.Config
	}
	if p.Files != "" && data.Test != nil {
		list = append(list, wanted{testName + ending(data.Test.URL), data.Test, maxRows})
	}
	return list, nil
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
