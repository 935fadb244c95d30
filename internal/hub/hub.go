package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"cubby/internal/wait"
)

const (
	defaultEndpoint = "https://" + host
	// maxAnswer bounds one answer of the API, in bytes: a page of a listing has 1,000
	// files of less than 1 KiB each; what is said of a repo, a line for each file.
	maxAnswer = 32 << 20
	// answerTime bounds one request to the API, body included.
	answerTime = 90 * time.Second
	// maxAttempts is how often a request is sent that fails for a reason that may pass.
	maxAttempts = 4
	// maxPause is the longest wait that is obeyed; the hub counts requests in windows
	// of five minutes.
	maxPause = 5*time.Minute + 10*time.Second
	// firstPause is the wait behind the first failure where the hub names none; doubles.
	firstPause   = time.Second
	maxRedirects = 5
	userAgent    = "cubby-fetch"
)

// Options say which hub to ask, and as whom.
type Options struct {
	Endpoint string // empty for https://huggingface.co; plain http on this machine only
	Token    Token  // its zero value for nobody
	// Wait hears of a wait that the hub asks for; nil: nobody.
	Wait func(time.Duration)
}

// Client asks one hub. It may be used from many goroutines.
type Client struct {
	endpoint string
	token    Token
	waiting  func(time.Duration)
	http     *http.Client
	sleep    func(context.Context, time.Duration) error
}

// FromEnvironment says what Hugging Face's own programs would take from the
// environment and the user's files.
func FromEnvironment() (Options, error) {
	token, err := FindToken()
	return Options{Endpoint: os.Getenv("HF_ENDPOINT"), Token: token}, err
}

// Offline reports whether HF_HUB_OFFLINE keeps Hugging Face's programs from asking
// the hub.
func Offline() bool {
	switch strings.ToUpper(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// New returns a client. It sends nothing.
func New(o Options) (*Client, error) {
	endpoint, err := cleanEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	c := &Client{endpoint: endpoint, token: o.Token, waiting: o.Wait, sleep: wait.For}
	c.http = &http.Client{Transport: t, Timeout: answerTime, CheckRedirect: ownHost}
	return c, nil
}

func cleanEndpoint(text string) (string, error) {
	if text == "" {
		return defaultEndpoint, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("HF_ENDPOINT is no address: it looks like %s", defaultEndpoint)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("HF_ENDPOINT at %.80q must hold neither a user nor a query", u.Host)
	case u.Scheme == "http" && !isLoopback(u):
		return "", fmt.Errorf("HF_ENDPOINT at %.80q would send the token and the models unencrypted: use https (http is for this machine only)", u.Host)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/"), nil
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// ownHost lets a renamed repo lead to its new name, and the token nowhere else.
func ownHost(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("it redirects in a circle")
	}
	if from := via[0].URL; req.URL.Host != from.Host || req.URL.Scheme != from.Scheme {
		return fmt.Errorf("it redirects to another host, %.80q", req.URL.Host)
	}
	return nil
}

// route is one request to the API about a repo.
type route struct {
	repo, rev string
	path      string // escaped, behind the endpoint
	query     url.Values
}

// get asks a route and decodes its answer into out, nil for none. What may pass is
// tried again.
func (c *Client) get(ctx context.Context, r route, out any) (http.Header, error) {
	for attempt := 1; ; attempt++ {
		header, err := c.send(ctx, r, out)
		var e *Error
		if err == nil || !errors.As(err, &e) || attempt == maxAttempts {
			return header, err
		}
		pause := max(e.RetryAfter, firstPause<<(attempt-1))
		if e.Kind != Network && e.Kind != Server && e.Kind != RateLimit || pause > maxPause {
			return nil, err
		}
		if e.RetryAfter > 0 && c.waiting != nil {
			c.waiting(pause)
		}
		if err := c.sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// send sends one request, once.
func (c *Client) send(ctx context.Context, r route, out any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint+r.path, nil)
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = r.query.Encode()
	req.Header = c.header()
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.networkError(ctx, r.repo, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.refuse(r.repo, r.rev, resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, c.networkError(ctx, r.repo, err)
	}
	if len(body) > maxAnswer {
		return nil, unreadable(r.repo, "it is longer than %d MiB", maxAnswer>>20)
	}
	if out == nil {
		return resp.Header, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, unreadable(r.repo, "it is not the JSON that is documented")
	}
	return resp.Header, nil
}

// header is what every request to the hub carries, and none to another host.
func (c *Client) header() http.Header {
	h := http.Header{"User-Agent": {userAgent}}
	if c.token.value != "" {
		h.Set("Authorization", "Bearer "+c.token.value)
	}
	return h
}
