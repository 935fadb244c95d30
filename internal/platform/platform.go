// Package platform is a client of distil labs' training platform: it logs in, lists
// what was trained, and finds the addresses of its files. It downloads small files
// itself; the model's package is a [Link] for a downloader.
//
// The platform has changed its routes several times and publishes no version of
// them. Whether an account sees the old ones, the new ones or both is found out by
// asking: the newest first, and a 404 or 410 leads to the older ones. Answers are
// read leniently: every shape that the platform's notebooks, its CLI's
// documentation and its own examples show is understood, and what is missing is
// left empty rather than guessed.
//
// The routes and shapes are those of distil-labs/distil-cli-skill (api-reference.md,
// backend-api.md, cli-reference.md) and of the notebooks in
// distil-labs/distil-labs-examples.
package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"cubby/internal/wait"
)

const (
	// DefaultURL is the platform of distil labs.
	DefaultURL = "https://api.distillabs.ai"
	// devHost is the platform's own testing ground, with accounts of its own.
	devHost = "api-dev.distillabs.ai"
)

const (
	// maxAnswer bounds an answer of the API. The longest is a list of 10,000 models
	// of less than 1 KiB each.
	maxAnswer = 32 << 20
	// answerTime bounds one request to the API, body included.
	answerTime = 90 * time.Second
	// maxAttempts is how often a request is sent that fails for a reason that may
	// pass: no connection, a server error, too many requests.
	maxAttempts = 3
	// maxPause is the longest wait that a client obeys by itself; a longer
	// Retry-After is returned as an error, for the caller to decide.
	maxPause = 30 * time.Second
	// firstPause is the wait behind the first failure where the platform names none.
	firstPause = time.Second
)

// Options say which platform to ask, and as whom.
type Options struct {
	// URL is the base of all routes; empty for DefaultURL. Plain http is accepted
	// only on this machine, because each request carries a token.
	URL string
	// Tokens are sent with each request to the API, and with none to a Link.
	Tokens TokenSource
	// HTTP sends the requests; nil for one with sensible limits.
	HTTP *http.Client
}

// Client asks one platform on behalf of one account. It may be used from many
// goroutines.
type Client struct {
	base   string
	tokens TokenSource
	api    *http.Client // follows redirects to its own host only
	files  *http.Client // carries no token
	wait   func(context.Context, time.Duration) error
	// form is how this platform wants the token: unknown until it accepted one.
	form atomic.Int32
	// absent remembers by family that this platform does not have its routes.
	absent [families]atomic.Bool
}

// New returns a client. It sends nothing.
func New(opt Options) (*Client, error) {
	base, err := CleanURL(opt.URL)
	if err != nil {
		return nil, err
	}
	if opt.Tokens == nil {
		return nil, errors.New("a client of the platform needs a source of tokens")
	}
	hc := opt.HTTP
	if hc == nil {
		hc = NewHTTP()
	}
	api, files := *hc, *hc
	api.CheckRedirect = sameHost
	files.CheckRedirect = noDowngrade
	api.Timeout = answerTime
	return &Client{base: base, tokens: opt.Tokens, api: &api, files: &files, wait: wait.For}, nil
}

// URL is the base of the platform's routes, as credentials are filed under it.
func (c *Client) URL() string { return c.base }

// CleanURL checks the base address of a platform and brings it into the one form
// under which credentials are filed. Empty stands for DefaultURL.
func CleanURL(text string) (string, error) {
	if text == "" {
		return DefaultURL, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("the platform's address %.80q is not one: it looks like %s", withoutUser(text), DefaultURL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("the platform's address at %.80q must hold neither a user nor a query: log in with fetch login", u.Host)
	}
	if u.Scheme == "http" && !isLoopback(u) {
		return "", fmt.Errorf("the platform's address %.80q would send the token unencrypted: use https (http is for this machine only)", text)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/"), nil
}

// withoutUser hides what may be a password in an address that does not parse.
func withoutUser(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// NewHTTP returns an HTTP client that gives up on a server that is silent, and has
// no limit on how long a body may take.
func NewHTTP() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: t}
}

// sameHost keeps a token from following a redirect to somebody else.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("it redirects in a circle")
	}
	if from := via[0].URL; req.URL.Host != from.Host || req.URL.Scheme != from.Scheme {
		return fmt.Errorf("it redirects to another host, %.80q", req.URL.Host)
	}
	return nil
}

// noDowngrade keeps a download that began encrypted encrypted.
func noDowngrade(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("it redirects in a circle")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("it redirects from https to an unencrypted address")
	}
	return nil
}
