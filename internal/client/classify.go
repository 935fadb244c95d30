package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// Request is any number of texts for one model.
type Request struct {
	Model   string // empty: the server's default
	Texts   []string
	Scoring string // empty: the model's own
	// NoTruncate refuses a text that is too long instead of cutting its end.
	NoTruncate bool
}

// Score is one label's probability.
type Score struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
}

// Result answers one text, or says in Error why not.
type Result struct {
	Index       int     `json:"index"`
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
	Scores      []Score `json:"scores"` // every label, best first
	Review      bool    `json:"review"`
	Calibrated  bool    `json:"calibrated"`
	Tokens      int     `json:"tokens"`
	Truncated   int     `json:"truncated"`
	Unresolved  float64 `json:"unresolved"`
	LabelOnly   bool    `json:"label_only"` // the probabilities are none
	Error       *Error  `json:"error"`
}

// Response answers a Request: one Result a text, in order.
type Response struct {
	Model    string   `json:"model"`
	Artifact string   `json:"artifact"`
	Results  []Result `json:"results"`
}

type body struct {
	Model    string            `json:"model,omitempty"`
	Input    []json.RawMessage `json:"input"`
	Scoring  string            `json:"scoring,omitempty"`
	Truncate *bool             `json:"truncate,omitempty"`
}

// item is a text as it goes over the wire, and its place in the request.
type item struct {
	place int
	raw   json.RawMessage
}

// Classify sends all texts of the request and gathers the answers. A text that
// is not UTF-8 is not sent, as JSON would change it. If the artifact changes
// under way the answers would not belong together, and the call fails.
func (c *Client) Classify(ctx context.Context, req Request) (*Response, error) {
	whole := &Response{Results: make([]Result, len(req.Texts))}
	items := make([]item, 0, len(req.Texts))
	for i, text := range req.Texts {
		whole.Results[i].Index = i
		if !utf8.ValidString(text) {
			whole.Results[i].Error = &Error{Code: "invalid_utf8", Message: "text is not valid UTF-8"}
			continue
		}
		raw, err := json.Marshal(text)
		if err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		items = append(items, item{i, raw})
	}
	for len(items) > 0 {
		n := chunk(items)
		if err := c.send(ctx, req, items[:n], whole); err != nil {
			return nil, err
		}
		items = items[n:]
	}
	return whole, nil
}

// chunk returns how many items go into the next request, at least one.
func chunk(items []item) int {
	size, n := 0, 0
	for n < len(items) && n < chunkTexts {
		size += len(items[n].raw) + 1
		if n > 0 && size > chunkBytes {
			break
		}
		n++
	}
	return n
}

// send answers one chunk into whole. A chunk that the server finds too large
// or cannot do in time is sent in halves; a single such text is a failed text.
func (c *Client) send(ctx context.Context, req Request, items []item, whole *Response) error {
	part, err := c.post(ctx, req, items)
	if e, ok := errors.AsType[*Error](err); ok && e.tooMuch() {
		if len(items) == 1 {
			whole.Results[items[0].place].Error = e
			return nil
		}
		half := len(items) / 2
		if err := c.send(ctx, req, items[:half], whole); err != nil {
			return err
		}
		return c.send(ctx, req, items[half:], whole)
	}
	if err != nil {
		return err
	}
	return whole.add(part, items)
}

func (whole *Response) add(part *Response, items []item) error {
	if len(part.Results) != len(items) {
		return fmt.Errorf("the server gave %d results to %d texts", len(part.Results), len(items))
	}
	if whole.Artifact != "" && whole.Artifact != part.Artifact {
		return fmt.Errorf("the server changed its model under way, from %s to %s; run again", whole.Artifact, part.Artifact)
	}
	whole.Model, whole.Artifact = part.Model, part.Artifact
	for i, r := range part.Results {
		if r.Index != i {
			return fmt.Errorf("the server's result %d has the index %d", i, r.Index)
		}
		r.Index = items[i].place
		whole.Results[r.Index] = r
	}
	return nil
}

// post sends one chunk.
func (c *Client) post(ctx context.Context, req Request, items []item) (*Response, error) {
	b := body{Model: req.Model, Scoring: req.Scoring, Input: make([]json.RawMessage, len(items))}
	for i, it := range items {
		b.Input[i] = it.raw
	}
	if req.NoTruncate {
		b.Truncate = new(bool)
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	out := &Response{}
	return out, c.retry(ctx, http.MethodPost, "/v1/classify", raw, out)
}
