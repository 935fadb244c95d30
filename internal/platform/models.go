package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Family says which of the platform's routes a model lives under.
type Family int

// The families, newest first.
const (
	// SLM models are trained from datasets, have no name, and live under /slms.
	SLM Family = iota
	// Trained models have a name, uploads and a training, and live under /models and
	// /trainings.
	Trained
	families = iota
)

var familyRoutes = [families]string{"/slms", "/models"}

// String is the family's first route.
func (f Family) String() string { return strings.TrimPrefix(familyRoutes[f], "/") }

// Model is a trained model, or one being trained, as the platform describes it.
type Model struct {
	ID       string
	Family   Family
	Name     string    // empty for an SLM that no model of the family Trained belongs to
	Alias    string    // empty where the platform knows none
	Created  time.Time // zero where it is not said
	Status   Status    // unknown in lists of SLMs; Detail asks
	Accuracy *float64  // of the tuned model on its test set; nil where unknown; Detail asks

	Dataset         string // id of what an SLM was trained on
	TrainingDataset string // the same on a platform where reading it costs a credit
	Upload          string // id of the newest upload of a Trained model
	Training        string // id of the training of a Trained model; empty for none yet
	// Old is the id of the model of the family Trained that an SLM's training belongs to,
	// on a platform that has both; List and Find tell.
	Old string
}

const (
	// pageSize is the documented size of a page.
	pageSize = 100
	// maxModels is how many the platform's own CLI lists at most.
	maxModels = 10_000
	// maxID is far above the 36 characters of the platform's ids.
	maxID = 200
)

// List returns all models of the account, newest first, at most 10,000 of each
// family. It asks GET /slms and GET /models; a family that the platform does not
// have, or no longer, is left out.
func (c *Client) List(ctx context.Context) ([]Model, error) {
	var all []Model
	var missing error
	found := false
	for f := range Family(families) {
		if c.absent[f].Load() {
			continue
		}
		list, err := c.listFamily(ctx, f)
		switch {
		case err == nil:
			found = true
			all = merge(all, list)
		case errors.Is(err, NotFound) || errors.Is(err, Gone):
			c.absent[f].Store(true)
			missing = err
		case found && errors.Is(err, Auth): // the token was good for the newer routes: these are closed
			c.absent[f].Store(true)
		default:
			return nil, err
		}
	}
	if !found {
		return nil, noRoutes(missing)
	}
	slices.SortStableFunc(all, func(a, b Model) int { return b.Created.Compare(a.Created) })
	return all, nil
}

// noRoutes is the error of a server without any of the routes.
func noRoutes(err error) error {
	e := &Error{Kind: Gone, Request: "GET " + familyRoutes[SLM]}
	var last *Error
	if errors.As(err, &last) {
		e = last
	}
	if e.Kind == NotFound {
		e.Hint = "this does not look like the platform: check its address"
	}
	return e
}

// merge adds the models of an older family that the newer one does not list: in
// the time between both, a training was an SLM too, which then has the older one's
// name.
func merge(all, older []Model) []Model {
	at := make(map[string]int, len(all))
	for i, m := range all {
		at[m.ID] = i
	}
	for _, m := range older {
		i, known := at[m.ID]
		if !known && m.Training != "" {
			i, known = at[m.Training]
		}
		if !known {
			all = append(all, m)
			continue
		}
		all[i].Name, all[i].Alias, all[i].Old = cmp.Or(all[i].Name, m.Name), cmp.Or(all[i].Alias, m.Alias), m.ID
	}
	return all
}

// listFamily lists the models of a family.
func (c *Client) listFamily(ctx context.Context, f Family) (all []Model, err error) {
	route := familyRoutes[f]
	known := map[string]bool{}
	err = c.pages(ctx, route, func(raw json.RawMessage) (fresh bool, err error) {
		m, err := parseModel("GET "+route, raw, f)
		if err != nil || known[m.ID] {
			return false, err
		}
		known[m.ID] = true
		all = append(all, m)
		return true, nil
	})
	return all, err
}

// pages hands on the items of a list, at most 10,000, until a page brings nothing
// fresh: a platform that knows pages ends with an empty one, a platform that does not
// answers with the same.
func (c *Client) pages(ctx context.Context, route string, item func(json.RawMessage) (fresh bool, err error)) error {
	query := url.Values{"start": {"0"}, "count": {strconv.Itoa(pageSize)}}
	for all := 0; ; {
		body, err := c.get(ctx, route, query)
		if invalid(err) && all == 0 && len(query) > 0 { // it wants no parameters
			query = nil
			body, err = c.get(ctx, route, nil)
		}
		if err != nil {
			return err
		}
		p, err := parsePage("GET "+route, body)
		if err != nil {
			return err
		}
		before := all
		for _, raw := range p.items {
			fresh, err := item(raw)
			if err != nil {
				return err
			}
			if fresh {
				if all++; all == maxModels {
					return nil
				}
			}
		}
		if all == before || query == nil {
			return nil
		}
		query.Set("start", strconv.Itoa(all))
		if p.cursor != "" {
			query.Set("pagination-cursor", p.cursor)
		}
	}
}

// Get returns one model by its id, with its status: of either family, or of a
// training.
func (c *Client) Get(ctx context.Context, id string) (Model, error) {
	if err := validID(id); err != nil {
		return Model{}, err
	}
	var missing error
	for f := range Family(families) {
		route := familyRoutes[f] + "/" + url.PathEscape(id)
		body, err := c.get(ctx, route, nil)
		switch {
		case err == nil:
			return parseModel("GET "+route, body, f)
		case errors.Is(err, NotFound), errors.Is(err, Gone), missing != nil && errors.Is(err, Auth), invalid(err):
			missing = cmp.Or(missing, err)
		default:
			return Model{}, err
		}
	}
	route := "/trainings/" + url.PathEscape(id) + "/status"
	body, err := c.get(ctx, route, nil)
	switch {
	case err == nil:
		return Model{ID: id, Family: Trained, Training: id, Status: parseStatus(body)}, nil
	case errors.Is(err, NotFound), errors.Is(err, Gone), errors.Is(err, Auth), invalid(err):
		return Model{}, &Error{Kind: NotFound, Request: fmt.Sprintf("model %q", clean(id, maxID)), Status: statusOf(missing), Detail: detailIn(missing)}
	}
	return Model{}, err
}

// invalid reports whether a refusal is one of validation: of parameters that the
// platform does not know, or of an id that is of another form than its own.
func invalid(err error) bool {
	s := statusOf(err)
	return errors.Is(err, Refused) && (s == 400 || s == 422)
}

func statusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

func detailIn(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Detail
	}
	return ""
}

// validID refuses what cannot stand in a route.
func validID(id string) error {
	if id == "" || len(id) > maxID || id != clean(id, maxID) || id == "." || id == ".." {
		return &Error{Kind: NotFound, Request: fmt.Sprintf("model %q", clean(id, 40)), Detail: "that is no name or id of the platform's"}
	}
	return nil
}

// Find returns one model by its id, its name or alias, or the beginning of an id
// that only one model has.
func (c *Client) Find(ctx context.Context, ref string) (Model, error) {
	m, missing := c.Get(ctx, ref)
	if missing == nil || !errors.Is(missing, NotFound) || validID(ref) != nil {
		return m, missing
	}
	list, err := c.List(ctx)
	if err != nil {
		return Model{}, err
	}
	hits := slices.DeleteFunc(slices.Clone(list), func(m Model) bool { return m.Name != ref && m.Alias != ref })
	if len(hits) == 0 && len(ref) >= minPrefix {
		hits = slices.DeleteFunc(slices.Clone(list), func(m Model) bool { return !strings.HasPrefix(m.ID, ref) })
	}
	switch len(hits) {
	case 0:
		return Model{}, missing
	case 1:
		m, err := c.Get(ctx, hits[0].ID)
		m.Name, m.Alias, m.Old = cmp.Or(m.Name, hits[0].Name), cmp.Or(m.Alias, hits[0].Alias), hits[0].Old
		return m, err
	}
	var ids []string
	for _, h := range hits[:min(len(hits), 10)] {
		ids = append(ids, h.ID)
	}
	return Model{}, &Error{Kind: NotFound, Request: fmt.Sprintf("model %q", clean(ref, 40)), Detail: fmt.Sprintf("%d models have that name", len(hits)),
		Hint: "give the id of one: " + strings.Join(ids, ", ")}
}

// minPrefix is how much of an id must be given: less is a typing error.
const minPrefix = 4

// Detail fills in the status and the accuracy that a list of SLMs does not tell.
// Where the platform has no metrics, the accuracy stays unknown.
func (c *Client) Detail(ctx context.Context, m Model) (Model, error) {
	if m.Status == StatusUnknown {
		s, err := c.Status(ctx, m)
		if err != nil {
			return m, err
		}
		m.Status = s
	}
	if m.Accuracy == nil && m.Status == StatusSuccess {
		metrics, err := c.Metrics(ctx, m)
		switch {
		case err == nil && metrics.Tuned != nil:
			m.Accuracy = metrics.Tuned.Accuracy
		case err != nil && !errors.Is(err, NotFound) && !errors.Is(err, NotReady) && !errors.Is(err, Gone):
			return m, err
		}
	}
	return m, nil
}

// maxDetails is how many models are asked about at the same time.
const maxDetails = 4

// DetailAll does for many models what Detail does for one, in place. It goes on
// behind one that fails, unless the login or the connection does, and returns what
// failed.
func (c *Client) DetailAll(ctx context.Context, list []Model) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	turn := make(chan struct{}, maxDetails)
	for i := range list {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if context.Cause(ctx) != nil {
				return
			}
			m, err := c.Detail(ctx, list[i])
			list[i] = m
			if err == nil || context.Cause(ctx) != nil {
				return
			}
			errs[i] = err
			if errors.Is(err, Auth) || errors.Is(err, Network) || errors.Is(err, RateLimit) {
				stop(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// Status asks how far a model is: GET /slms/{id}/status, or
// GET /trainings/{id}/status.
func (c *Client) Status(ctx context.Context, m Model) (Status, error) {
	route, err := m.route("/status")
	if errors.Is(err, NotReady) {
		return StatusNotStarted, nil
	}
	if err != nil {
		return StatusUnknown, err
	}
	body, err := c.get(ctx, route, nil)
	if err != nil {
		return StatusUnknown, err
	}
	s := parseStatus(body)
	if s == StatusUnknown {
		return s, unreadable("GET "+route, "it holds no status")
	}
	return s, nil
}

// route is that of the files and figures of a model: an SLM has them itself, a
// Trained model's training has them.
func (m Model) route(tail string) (string, error) {
	if m.Family == SLM {
		return familyRoutes[SLM] + "/" + url.PathEscape(m.ID) + tail, nil
	}
	if m.Training == "" {
		return "", &Error{Kind: NotReady, Request: fmt.Sprintf("model %q", m.label()), Detail: "it has not been trained", Hint: "start its training on the platform, then try again"}
	}
	return "/trainings/" + url.PathEscape(m.Training) + tail, nil
}

func (m Model) label() string { return cmp.Or(m.Name, m.Alias, m.ID) }

// parseModel reads the description of a model: an item of a list, or an answer
// about one.
func parseModel(request string, body json.RawMessage, f Family) (Model, error) {
	o := openEnvelope(body, "id")
	m := Model{
		Family:          f,
		ID:              o.text("id", "slm_id", "model_id"),
		Name:            clean(o.text("name", "model_name"), maxID),
		Alias:           clean(o.text("alias"), maxID),
		Dataset:         o.text("dataset_id"),
		TrainingDataset: o.text("training_dataset_id"),
		Created:         asTime(o.first("created_at", "created")),
	}
	if o == nil {
		return m, unreadable(request, "it is not JSON, but %s", looksLike(body))
	}
	if f == Trained {
		o.training(&m)
	}
	if raw := o.first(statusKeys...); raw != nil && m.Status == StatusUnknown {
		m.Status = parseStatus(raw)
	}
	if s := parseMetrics(body).Tuned; s != nil {
		m.Accuracy = s.Accuracy
	}
	if a, ok := asNumber(o["accuracy"]); ok {
		m.Accuracy = &a
	}
	for _, id := range []string{m.ID, m.Dataset, m.TrainingDataset, m.Upload, m.Training} {
		if id != "" && validID(id) != nil {
			return m, unreadable(request, "it holds an id that is none")
		}
	}
	if m.ID == "" {
		return m, unreadable(request, "it describes a model without an id")
	}
	return m, nil
}

// training reads what only a model of the family Trained has: uploads, newest
// first, and the training, null, an id or an object.
func (o object) training(m *Model) {
	var uploads []json.RawMessage
	if json.Unmarshal(o["upload_ids"], &uploads) == nil && len(uploads) > 0 {
		m.Upload, _ = asText(uploads[0])
	}
	m.Status = parseStatus(o.first("training_status"))
	raw := bytes.TrimSpace(o["training"])
	if t := asObject(raw); t != nil {
		m.Training = t.text("id", "training_id")
		if m.Status == StatusUnknown {
			m.Status = parseStatus(t.first(statusKeys...))
		}
	} else {
		m.Training, _ = asText(raw)
	}
	if m.Training == "" {
		m.Training = o.text("training_id")
	}
	if m.Training == "" && m.Status == StatusUnknown && o.hasKey("training") {
		m.Status = StatusNotStarted
	}
}
