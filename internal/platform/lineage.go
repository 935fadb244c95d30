package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
)

// Lineage tells which data was made from which: by id, what it was made from.
type Lineage map[string]string

// datasetRoutes list what SLMs are trained on, newest platform first, with the keys
// under which an item names what it was made from. The newest one's are documented; the
// one before names a parent by its kind.
var datasetRoutes = []struct {
	route   string
	parents []string
}{
	{"/datasets", []string{"parent_dataset_id", "parent_prepared_traces_id"}},
	{"/training-datasets", []string{"seed_dataset_id", "parent_dataset_id"}},
}

// Lineage lists the account's datasets. A platform that does not tell what they were
// made from has an empty one.
func (c *Client) Lineage(ctx context.Context) (Lineage, error) {
	l := Lineage{}
	for _, d := range datasetRoutes {
		known := map[string]bool{}
		err := c.pages(ctx, d.route, func(raw json.RawMessage) (fresh bool, err error) {
			o := asObject(raw)
			id := o.text("id")
			if id == "" || known[id] {
				return false, nil
			}
			known[id] = true
			if parent := o.text(d.parents...); parent != "" {
				l[id] = parent
			}
			return true, nil
		})
		if err != nil && !absent(err) && !invalid(err) && !errors.Is(err, Auth) {
			return nil, err
		}
	}
	return l, nil
}

// Root is where the data of an SLM begins: equal ones are of one task. It is empty where
// the platform does not tell what the model was trained on.
func (l Lineage) Root(m Model) string {
	id := cmp.Or(m.Dataset, m.TrainingDataset)
	for range len(l) + 1 { // a chain; what goes in a circle ends somewhere
		parent, ok := l[id]
		if !ok {
			break
		}
		id = parent
	}
	return id
}
