package client

import (
	"context"
	"fmt"
	"net/http"

	"cubby/labels"
)

// Model describes a model that the server has.
type Model struct {
	Name       string         `json:"name"`
	Artifact   string         `json:"artifact"`
	Scoring    string         `json:"scoring"` // of a request that names none
	Calibrated bool           `json:"calibrated"`
	Labels     []labels.Label `json:"labels"` // in the model's order
	Engine     string         `json:"engine"`
	Kernel     string         `json:"kernel"`
	Precision  string         `json:"precision"`
	Threads    int            `json:"threads"`
}

// Models lists the server's models; its default comes first.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var out struct {
		Models []Model `json:"models"`
	}
	if err := c.retry(ctx, http.MethodGet, "/v1/models", nil, &out); err != nil {
		return nil, err
	}
	if len(out.Models) == 0 {
		return nil, fmt.Errorf("%s does not answer like a classify-server: it lists no models", c.base)
	}
	return out.Models, nil
}

// Model returns the model of that name or artifact, or the default for "".
func (c *Client) Model(ctx context.Context, name string) (Model, error) {
	list, err := c.Models(ctx)
	if err != nil {
		return Model{}, err
	}
	if name == "" {
		return list[0], nil
	}
	names := make([]string, len(list))
	for i, m := range list {
		if name == m.Name || name == m.Artifact {
			return m, nil
		}
		names[i] = m.Name
	}
	return Model{}, fmt.Errorf("the server has no model %q; it has %q", name, names)
}
