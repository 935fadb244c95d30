package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var dialer = &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}

// Error is what the server said about a request or a text it did not answer.
type Error struct {
	Code       string        `json:"code"`
	Message    string        `json:"message"`
	Hint       string        `json:"hint"` // what to do about it; may be empty
	Status     int           `json:"-"`    // of the response; 0 for a single text's error
	RetryAfter time.Duration `json:"-"`    // 0 where the server named none
}

func (e *Error) Error() string {
	switch {
	case e.Message == "" && e.Status != 0:
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	case e.Message == "":
		return e.Code
	case e.Hint == "":
		return e.Message
	}
	return e.Message + ": " + e.Hint
}

// tooMuch reports a refusal that fewer texts may cure.
func (e *Error) tooMuch() bool {
	return e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusGatewayTimeout
}

// busy reports a refusal that time may cure.
func (e *Error) busy() bool {
	return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
}

// retry makes one request again until it is answered, refused for good, or the
// server has been busy maxTries times.
func (c *Client) retry(ctx context.Context, method, path string, payload []byte, out any) error {
	for try := 1; ; try++ {
		err := c.do(ctx, method, path, payload, out)
		e, ok := errors.AsType[*Error](err)
		if !ok || !e.busy() || try == maxTries {
			return err
		}
		if err := c.wait(ctx, backoff(e.RetryAfter, try)); err != nil {
			return err
		}
	}
}

// backoff is what the server asked for, or else 250 ms doubling.
func backoff(asked time.Duration, try int) time.Duration {
	if asked > 0 {
		return min(asked, maxRetryAfter)
	}
	return min(250*time.Millisecond<<(try-1), maxRetryAfter)
}

// do makes one request and decodes a 200 answer into out. Any other status is
// an *Error.
func (c *Client) do(ctx context.Context, method, path string, payload []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	if len(payload) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("cannot reach the server: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(raw) > maxBody {
		return fmt.Errorf("the server's answer is longer than %d MiB", maxBody>>20)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s does not answer like a classify-server: %w", c.base, err)
	}
	return nil
}

// refusal reads the server's error object; something else in between, a proxy,
// may answer without one.
func refusal(resp *http.Response, raw []byte) error {
	var b struct {
		Error *Error `json:"error"`
	}
	e := &Error{}
	if json.Unmarshal(raw, &b) == nil && b.Error != nil {
		e = b.Error
	}
	e.Status, e.RetryAfter = resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))
	if resp.StatusCode == http.StatusUnauthorized {
		e.Message, e.Hint = "the server asks for an API key, and this one is missing or wrong", "set CUBBY_API_KEY"
	}
	return e
}

// retryAfter reads the header's form in seconds, the only one our server uses.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || seconds <= 0 {
		return 0
	}
	return min(time.Duration(min(seconds, 1<<20))*time.Second, maxRetryAfter)
}
