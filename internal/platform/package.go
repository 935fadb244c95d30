package platform

import (
	"context"
	"errors"
	"net/url"
)

// Package is where the files of a trained model lie.
type Package struct {
	Model   Model
	Archive Link // the tar, of hundreds of MB to GBs; maybe compressed
	// What an SLM has beside its tar; nil for what the platform does not have.
	Config, JobDescription, Client *Link
}

// Package returns the addresses of a model's files. It asks
// GET /slms/{id}/download and GET /slms/{id}/download-metadata, or
// GET /trainings/{id}/model. While the model is being trained it fails with
// NotReady.
func (c *Client) Package(ctx context.Context, m Model) (*Package, error) {
	if m.Family == Trained {
		return c.trainedPackage(ctx, m)
	}
	route, err := m.route("/download")
	if err != nil {
		return nil, err
	}
	links, err := ask{c: c, route: route, required: true}.links(ctx, []string{"model_url", "s3_url", "download_url", "url"}, []string{"config_url"})
	if err != nil {
		return nil, err
	}
	if links[0] == nil {
		return nil, &Error{Kind: NotReady, Request: "GET " + route, Detail: "it has no model_url yet"}
	}
	p := &Package{Model: m, Archive: *links[0], Config: links[1]}
	meta, err := c.metadata(ctx, m)
	switch {
	case err == nil:
		p.JobDescription, p.Client = meta[1], meta[2]
		if p.Config == nil {
			p.Config = meta[0]
		}
	case !absent(err):
		return nil, err
	}
	return p, nil
}

// metadata returns the addresses of the configuration, the job description and the
// client of an SLM.
func (c *Client) metadata(ctx context.Context, m Model) ([]*Link, error) {
	route, err := m.route("/download-metadata")
	if err != nil {
		return nil, err
	}
	return ask{c: c, route: route}.links(ctx, []string{"config_url"}, []string{"job_description_url"}, []string{"model_client_url"})
}

func (c *Client) trainedPackage(ctx context.Context, m Model) (*Package, error) {
	route, err := m.route("/model")
	if err != nil {
		return nil, err
	}
	links, err := ask{c: c, route: route, required: true}.links(ctx, urlKeys)
	if err != nil {
		return nil, err
	}
	if links[0] == nil {
		return nil, &Error{Kind: NotReady, Request: "GET " + route, Detail: "it has no address yet"}
	}
	return &Package{Model: m, Archive: *links[0]}, nil
}

// absent reports whether the platform has no such file, or not yet.
func absent(err error) bool {
	return errors.Is(err, NotFound) || errors.Is(err, Gone) || errors.Is(err, NotReady)
}

// Data is where the files lie that a model was trained and tested with; nil for
// what the platform does not have.
type Data struct {
	Train, Test, Traces, Config, JobDescription *Link
}

// Data returns the addresses of a model's dataset. It asks
// GET /datasets/{id}/download; GET /training-datasets/{id}/download, which may
// cost a credit on a platform that meters it, and then fails with Payment where
// there is none; or GET /uploads/{id}/download. The first platform had no route
// for it: that is NotFound.
func (c *Client) Data(ctx context.Context, m Model) (*Data, error) {
	if m.Dataset == "" && m.TrainingDataset == "" && m.Upload == "" {
		full, err := c.Get(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		m = full
	}
	var missing error
	for _, route := range m.dataRoutes() {
		links, err := ask{c: c, route: route + "/download"}.links(ctx, []string{"train_data_url"}, []string{"test_data_url"}, []string{"traces_url", "unstructured_data_url"},
			[]string{"config_url"}, []string{"job_description_url"})
		switch {
		case err == nil:
			return &Data{links[0], links[1], links[2], links[3], links[4]}, nil
		case errors.Is(err, NotFound), errors.Is(err, Gone):
			missing = err
		default:
			return nil, err
		}
	}
	return nil, noFile(m, "the dataset", missing)
}

func (m Model) dataRoutes() (routes []string) {
	add := func(prefix, id string) {
		if id != "" {
			routes = append(routes, prefix+url.PathEscape(id))
		}
	}
	add("/datasets/", m.Dataset)
	add("/training-datasets/", m.TrainingDataset)
	add("/datasets/", m.TrainingDataset)
	add("/uploads/", m.Upload)
	return routes
}

// noFile says that the platform does not have a file, and what to do without it.
func noFile(m Model, what string, cause error) *Error {
	e := &Error{Kind: NotFound, Request: what + " of model " + m.label(), Status: statusOf(cause), Detail: detailIn(cause)}
	e.Hint = "use the file that the model was trained with"
	return e
}

// Bounds of small files. The platform's limit is 30,000 characters a row.
const (
	maxDescription = 4 << 20
	maxRows        = 256 << 20
)

// JobDescription downloads job_description.json: the task and its classes.
func (c *Client) JobDescription(ctx context.Context, m Model) ([]byte, error) {
	return c.described(ctx, m, 1, "the job description", func(d *Data) *Link { return d.JobDescription })
}

// Config downloads config.yaml: the student model and how it was trained.
func (c *Client) Config(ctx context.Context, m Model) ([]byte, error) {
	return c.described(ctx, m, 0, "the configuration", func(d *Data) *Link { return d.Config })
}

// described reads a small file from the metadata of an SLM, which is free, or else
// from its dataset.
func (c *Client) described(ctx context.Context, m Model, at int, what string, of func(*Data) *Link) ([]byte, error) {
	if m.Family == SLM {
		meta, err := c.metadata(ctx, m)
		switch {
		case err == nil && meta[at] != nil:
			return c.Read(ctx, *meta[at], maxDescription)
		case err != nil && !absent(err):
			return nil, err
		}
	}
	return c.fromData(ctx, m, what, maxDescription, of)
}

func (c *Client) fromData(ctx context.Context, m Model, what string, limit int64, of func(*Data) *Link) ([]byte, error) {
	d, err := c.Data(ctx, m)
	if err != nil {
		return nil, err
	}
	l := of(d)
	if l == nil {
		return nil, noFile(m, what, nil)
	}
	return c.Read(ctx, *l, limit)
}

// TestSet downloads the rows that the model was tested on: JSONL, or CSV from the
// first platform. See Data for what it may cost.
func (c *Client) TestSet(ctx context.Context, m Model) ([]byte, error) {
	return c.fromData(ctx, m, "the test set", maxRows, func(d *Data) *Link { return d.Test })
}

// Predictions downloads what the tuned model answered on its test set: JSONL.
func (c *Client) Predictions(ctx context.Context, m Model) ([]byte, error) {
	metrics, err := c.Metrics(ctx, m)
	if err != nil {
		return nil, err
	}
	if metrics.Predictions == nil {
		return nil, noFile(m, "the predictions", nil)
	}
	return c.Read(ctx, *metrics.Predictions, maxRows)
}
