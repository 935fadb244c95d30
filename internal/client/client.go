// Package client speaks to a running classify-server over HTTP.
//
// Goal: any number of texts goes through one call and comes back complete and
// in order. Rule: texts are sent in chunks below the server's body limit; a
// refusal for load (503, 429) is retried when the server says to, within the
// caller's context; a chunk that is too large, or too much work for one
// request, is sent in halves; a text that fails keeps its own error.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cubby/internal/wait"
)

const (
	// chunkBytes is how much JSON goes into one request: far below the server's
	// default body limit of 1 MiB, so that a slow machine answers in time.
	chunkBytes = 128 << 10
	// chunkTexts keeps a request of many short texts small for the same reason.
	chunkTexts = 256
	// maxBody bounds what is read of one response.
	maxBody = 256 << 20
	// maxTries is how often one chunk is sent before a busy server is an error.
	maxTries = 10
	// maxRetryAfter caps what a server may ask to wait.
	maxRetryAfter = time.Minute
	// dialTimeout and responseTimeout bound a server that does not answer.
	dialTimeout     = 10 * time.Second
	responseTimeout = 5 * time.Minute
)

// Client is safe for concurrent use.
type Client struct {
	base *url.URL
	key  string
	http *http.Client
	wait func(ctx context.Context, d time.Duration) error
}

// New returns a client of the server at base, "http://host:port" with or
// without a path. A key that is not empty is sent as a bearer token.
func New(base, key string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server address %q is not of the form http://host:port", base)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("server address must have no user, query or fragment; an API key belongs in CUBBY_API_KEY")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	transport.ResponseHeaderTimeout = responseTimeout
	transport.MaxIdleConnsPerHost = 64
	return &Client{
		base: u, key: key, wait: wait.For,
		http: &http.Client{Transport: transport, CheckRedirect: sameHost},
	}, nil
}

// sameHost follows a redirect only within the server: texts go nowhere else.
func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("the server redirects to %s://%s; give that address if it is meant", req.URL.Scheme, req.URL.Host)
	}
	if len(via) >= 5 {
		return errors.New("the server redirects in circles")
	}
	return nil
}

// Close drops idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}
