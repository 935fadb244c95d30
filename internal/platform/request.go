package platform

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// How a platform wants its token. The notebooks send it bare, the documentation of
// the CLI behind the word Bearer; both name the same host.
const (
	formUnknown int32 = iota
	formBearer
	formBare
)

// get asks a route and returns the body of a success. What may pass is tried
// again.
func (c *Client) get(ctx context.Context, route string, query url.Values) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		body, err := c.authorized(ctx, route, query)
		pause, again := retry(err, attempt)
		if !again {
			return body, err
		}
		if werr := c.wait(ctx, pause); werr != nil {
			return nil, werr
		}
	}
}

// retry reports whether to send a request again that failed with err, and after
// which pause.
func retry(err error, attempt int) (time.Duration, bool) {
	var e *Error
	if attempt >= maxAttempts || !errors.As(err, &e) {
		return 0, false
	}
	pause := max(e.RetryAfter, firstPause<<(attempt-1))
	switch e.Kind {
	case Network, RateLimit, Server:
		return pause, pause <= maxPause
	}
	return 0, false
}

// authorized sends one request with a token that the platform accepts, and renews
// a refused one once.
func (c *Client) authorized(ctx context.Context, route string, query url.Values) ([]byte, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.inForm(ctx, route, query, token)
	var refused *Error
	if !errors.As(err, &refused) || refused.Kind != Auth {
		return body, err
	}
	fresh, rerr := c.tokens.Renew(ctx, token)
	var e *Error
	switch {
	case rerr == nil:
		return c.inForm(ctx, route, query, fresh)
	case ctx.Err() != nil || errors.As(rerr, &e):
		return nil, rerr
	case refused.Hint == "":
		refused.Hint = rerr.Error()
	}
	return nil, refused
}

// inForm sends one request with the token in the form that this platform wants,
// or, while that is unknown, in one and then the other.
func (c *Client) inForm(ctx context.Context, route string, query url.Values, token Secret) ([]byte, error) {
	if form := c.form.Load(); form != formUnknown {
		return c.send(ctx, route, query, token, form)
	}
	body, err := c.send(ctx, route, query, token, formBearer)
	if !errors.Is(err, Auth) {
		c.learn(err, formBearer)
		return body, err
	}
	body, second := c.send(ctx, route, query, token, formBare)
	if errors.Is(second, Auth) {
		return nil, err
	}
	c.learn(second, formBare)
	return body, second
}

// learn remembers the form of a token behind which the platform looked at the
// request itself.
func (c *Client) learn(err error, form int32) {
	var e *Error
	if err == nil || errors.As(err, &e) && e.Kind != Network && e.Kind != Server && e.Kind != RateLimit && e.Kind != Unreadable {
		c.form.CompareAndSwap(formUnknown, form)
	}
}

// send sends one request, once.
func (c *Client) send(ctx context.Context, route string, query url.Values, token Secret, form int32) ([]byte, error) {
	request := "GET " + route
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+route, nil)
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = query.Encode()
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Authorization", string(token))
	if form == formBearer {
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	resp, err := c.api.Do(req)
	if err != nil {
		return nil, networkError(ctx, request, c.base, err)
	}
	defer resp.Body.Close()
	body, err := readAnswer(ctx, request, c.base, resp, maxAnswer)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, answerError(request, resp, body, token)
	}
	return body, nil
}

const userAgent = "cubby-fetch"

// maxRefusal is how much of the body of an error is read.
const maxRefusal = 64 << 10

// readAnswer reads a body that must not be longer than limit. Of an error, what
// came of it will do.
func readAnswer(ctx context.Context, request, host string, resp *http.Response, limit int64) ([]byte, error) {
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, networkError(ctx, request, host, err)
	}
	if int64(len(body)) > limit {
		return nil, unreadable(request, "it is longer than %d bytes", limit)
	}
	return body, nil
}

// Read downloads a small file, such as a job description or a test set. It sends
// no token, and asks once for a new address where the old one has expired.
func (c *Client) Read(ctx context.Context, l Link, limit int64) ([]byte, error) {
	if l.Expired(time.Now()) {
		fresh, err := l.Renew(ctx)
		if err != nil {
			return nil, err
		}
		l = fresh
	}
	data, err := c.readLink(ctx, l, limit)
	if errors.Is(err, Expired) {
		fresh, rerr := l.Renew(ctx)
		if rerr != nil {
			return nil, rerr
		}
		data, err = c.readLink(ctx, fresh, limit)
	}
	return data, err
}

// readLink is Read with the same retries as a route of the API has.
func (c *Client) readLink(ctx context.Context, l Link, limit int64) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		data, err := c.readOnce(ctx, l, limit)
		pause, again := retry(err, attempt)
		if !again {
			return data, err
		}
		if werr := c.wait(ctx, pause); werr != nil {
			return nil, werr
		}
	}
}

func (c *Client) readOnce(ctx context.Context, l Link, limit int64) ([]byte, error) {
	request := "GET " + l.String()
	limited, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, l.URL, nil)
	if err != nil {
		return nil, unreadable(request, "the address is not one")
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.files.Do(req)
	if err != nil {
		return nil, networkError(ctx, request, req.URL.Host, err)
	}
	defer resp.Body.Close()
	body, err := readAnswer(ctx, request, req.URL.Host, resp, limit)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		e := answerError(request, resp, body)
		if e.Kind == Auth || e.Kind == Refused && strings.Contains(string(body), "<Code>") && strings.Contains(string(body), "xpired") {
			e.Kind = Expired
		}
		return nil, e
	}
	return body, nil
}

// readTime bounds the download of one small file.
const readTime = 5 * time.Minute
