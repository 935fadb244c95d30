package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Kind is what went wrong, for errors.Is.
type Kind string

// The kinds. Where the hub names an error in X-Error-Code, that decides.
const (
	Network    Kind = "the hub cannot be reached"
	Server     Kind = "the hub failed"
	RateLimit  Kind = "the hub asks to slow down"
	BadToken   Kind = "the hub does not take the token"
	Gated      Kind = "the model is gated: its files are for those only who have accepted its licence"
	Hidden     Kind = "the hub shows no such model to those who are not logged in"
	NotFound   Kind = "the hub has no such model, or it is private"
	NoRevision Kind = "the model has no such revision"
	Refused    Kind = "the hub refuses access"
	Unreadable Kind = "the hub's answer cannot be understood"
)

// Error makes a kind a target for errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is a request that failed. It never holds a token.
type Error struct {
	Kind       Kind
	What       string        // the model, as users name it
	Status     int           // of the answer; 0 for none
	Detail     string        // what the hub said, bounded and cleaned
	Advice     string        // what to do next
	RetryAfter time.Duration // how long the hub asks to wait; 0 where it did not say
	Err        error         // what lies below, for Network
}

func (e *Error) Error() string {
	s := e.What + ": " + string(e.Kind)
	var parts []string
	if e.Status != 0 {
		parts = append(parts, "HTTP "+strconv.Itoa(e.Status))
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if len(parts) > 0 {
		s += " (" + strings.Join(parts, ": ") + ")"
	}
	return s + "; " + e.Advice
}

// Is makes errors.Is(err, hub.Gated) work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap returns what lies below.
func (e *Error) Unwrap() error { return e.Err }

// What the hub writes into X-Error-Code and X-Error-Message.
const (
	codeGated      = "GatedRepo"
	codeNoRepo     = "RepoNotFound"
	codeNoRevision = "RevisionNotFound"
	badCredentials = "Invalid credentials in Authorization header"
)

// refuse describes an answer that is no success. Without a token, the hub answers
// 401 for what is private and for what does not exist.
func (c *Client) refuse(repo, rev string, resp *http.Response) *Error {
	code, text := resp.Header.Get("X-Error-Code"), resp.Header.Get("X-Error-Message")
	e := &Error{What: short + "/" + repo, Status: resp.StatusCode, Detail: c.scrub(text), RetryAfter: retryAfter(resp.Header, time.Now())}
	status := resp.StatusCode
	anonymous := c.token.value == ""
	switch {
	case code == codeGated:
		e.Kind, e.Advice = Gated, c.gatedAdvice(repo)
	case code == codeNoRevision:
		e.Kind, e.Detail, e.Advice = NoRevision, "", fmt.Sprintf("see the branches, tags and commits at %s, and name one with @REVISION; %.80q is none", c.page(repo), rev)
	case status == http.StatusUnauthorized && !anonymous && (text == badCredentials || code != codeNoRepo):
		e.Kind, e.Advice = BadToken, fmt.Sprintf("the token of %s is wrong or has expired: make one at %s/settings/tokens, then set HF_TOKEN or run hf auth login", c.token.From, c.endpoint)
	case status == http.StatusUnauthorized && anonymous:
		e.Kind, e.Detail = Hidden, ""
		e.Advice = "check the name; if it is private, log in: " + c.loginAdvice()
	case status == http.StatusNotFound, code == codeNoRepo:
		e.Kind, e.Detail = NotFound, ""
		e.Advice = fmt.Sprintf("check the name at %s, and that the token may read it", c.page(repo))
		if anonymous {
			e.Advice = "check the name; if it is private, log in: " + c.loginAdvice()
		}
	case status == http.StatusForbidden:
		e.Kind, e.Advice = Refused, fmt.Sprintf("see what the hub says at %s, and what the token may read", c.page(repo))
	case status == http.StatusTooManyRequests:
		e.Kind, e.Advice = RateLimit, "wait some minutes, then run the same command again"
		if e.RetryAfter > 0 {
			e.Advice = fmt.Sprintf("run the same command again in %v", e.RetryAfter.Round(time.Second))
		}
		if anonymous {
			e.Advice += "; who is logged in may ask more often: " + c.loginAdvice()
		}
	case status >= 500:
		e.Kind, e.Advice = Server, "run the same command again in some minutes"
	default:
		e.Kind, e.Advice = Unreadable, "check HF_ENDPOINT, and that no proxy answers in the hub's place"
	}
	return e
}

func (c *Client) page(repo string) string { return c.endpoint + "/" + repo }

func (c *Client) loginAdvice() string {
	return fmt.Sprintf("make a token at %s/settings/tokens, then set HF_TOKEN or run hf auth login", c.endpoint)
}

func (c *Client) gatedAdvice(repo string) string {
	if c.token.value == "" {
		return fmt.Sprintf("accept the licence at %s, log in (%s), then run the same command again", c.page(repo), c.loginAdvice())
	}
	return fmt.Sprintf("ask for access at %s with the account whose token %s holds; where it was granted, let the token read gated models (%s/settings/tokens); then run the same command again",
		c.page(repo), c.token.From, c.endpoint)
}

func unreadable(repo, format string, args ...any) *Error {
	return &Error{Kind: Unreadable, What: short + "/" + repo, Detail: fmt.Sprintf(format, args...),
		Advice: "check HF_ENDPOINT, and that no proxy or sign-in page answers in the hub's place"}
}

// networkError describes a request without a whole answer.
func (c *Client) networkError(ctx context.Context, repo string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err // its text repeats the address
	}
	if text := err.Error(); c.scrub(text) != text {
		err = errors.New(c.scrub(text)) // a broken answer is quoted
	}
	return &Error{Kind: Network, What: short + "/" + repo, Err: err,
		Advice: "check the connection and the proxy, and the hub's address " + c.endpoint + " (HF_ENDPOINT), then run the same command again"}
}

// maxDetail bounds what of an answer goes into a message, in bytes.
const maxDetail = 300

// scrub makes text of the hub's fit for one line of a terminal.
func (c *Client) scrub(text string) string {
	if c.token.value != "" {
		text = strings.ReplaceAll(text, c.token.value, "…")
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// retryAfter reads Retry-After, in seconds or as a date, or the seconds t that the
// field RateLimit has until the window of requests begins anew: "api";r=0;t=55.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	fields := strings.Split(strings.ReplaceAll(h.Get("RateLimit"), " ", ""), ";")
	wait, spent := time.Duration(0), false
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		n, err := strconv.ParseUint(value, 10, 31)
		switch {
		case err != nil:
		case key == "r":
			spent = n == 0
		case key == "t":
			wait = time.Duration(n) * time.Second
		}
	}
	if !spent {
		return 0
	}
	return wait
}
