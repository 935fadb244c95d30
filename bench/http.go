package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	"cubby/eval"
)

// maxBody bounds what is read of a peer's answer.
const maxBody = 1 << 20

// textByText is a peer that takes one text a call. Many texts go to it at
// once; it has a queue of its own.
type textByText func(ctx context.Context, text string) (eval.Answer, error)

func (f textByText) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers := make([]eval.Answer, len(texts))
	var wg sync.WaitGroup
	for i, text := range texts {
		wg.Go(func() {
			var err error
			if answers[i], err = f(ctx, text); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return answers, context.Cause(ctx)
}

// newHTTPClient keeps a connection open for each client of a load.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 1024
	return &http.Client{Transport: t}
}

// post sends in as JSON and decodes the answer into out, where out is not nil.
func post(ctx context.Context, c *http.Client, url string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return send(ctx, c, url, bytes.NewReader(raw), out)
}

func send(ctx context.Context, c *http.Client, url string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s: %.200s", url, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
