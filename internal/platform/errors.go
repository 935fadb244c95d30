package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Kind is what went wrong, for errors.Is. Its text is the first half of a message.
type Kind string

// The kinds, and the statuses of the API that mean them.
const (
	Network    Kind = "the platform cannot be reached"
	Auth       Kind = "the platform does not accept the login"     // 401, and 403, which it answers to an expired token
	Payment    Kind = "the account's credits do not cover this"    // 402
	NotFound   Kind = "the platform has nothing under that name"   // 404
	NotReady   Kind = "this is not ready yet"                      // 409, and an address that is null
	Gone       Kind = "the platform has removed this route"        // 410
	RateLimit  Kind = "the platform asks to slow down"             // 429
	Server     Kind = "the platform failed"                        // 5xx
	Refused    Kind = "the platform refused the request"           // any other 4xx
	Expired    Kind = "the download address has expired"           // 403 from where files lie
	Unreadable Kind = "the platform's answer cannot be understood" // 200, and not what is documented
	NoLogin    Kind = "not logged in"                              // nothing is kept for this platform
	BadLogin   Kind = "the kept login cannot be used"              // the file of credentials is damaged, or open to others
)

// Error makes a kind a target for errors.Is.
func (k Kind) Error() string { return string(k) }

// next says by kind what to do about it.
var next = map[Kind]string{
	Network:    "check the connection and the proxy, then try again",
	Auth:       "log in again: fetch login",
	Payment:    "see the balance in the platform's console, or use files that you already have",
	NotFound:   "see what there is: fetch list",
	NotReady:   "wait until fetch list shows success, then try again",
	Gone:       "this version of fetch is too old for the platform: update it",
	RateLimit:  "wait, then try again",
	Server:     "try again in a few minutes",
	Refused:    "see what the platform says about it",
	Expired:    "try again: a new one is asked for each time",
	NoLogin:    "run fetch login, or set " + TokenVariable,
	BadLogin:   "run fetch login, which replaces it",
	Unreadable: "check the platform's address, and that no proxy or sign-in page answers in its place; else update fetch",
}

// Error is a request that failed. It never holds a token, nor the query of an
// address, which in a presigned one is a key.
type Error struct {
	Kind       Kind
	Request    string        // method and route
	Status     int           // of the answer; 0 for none
	Detail     string        // what the platform said, bounded and cleaned
	RetryAfter time.Duration // how long it asks to wait; 0 where it did not say
	Hint       string        // what to do next; empty for what the kind suggests
	Err        error         // what lies below, for Network
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(strings.TrimPrefix(e.Request+": ", ": ") + string(e.Kind))
	sep := " ("
	part := func(text string) {
		b.WriteString(sep + text)
		sep = ": "
	}
	if e.Status != 0 {
		part("HTTP " + strconv.Itoa(e.Status))
	}
	if e.Err != nil {
		part(e.Err.Error())
	}
	if e.Detail != "" {
		part(e.Detail)
	}
	if sep == ": " {
		b.WriteString(")")
	}
	hint := e.Hint
	if hint == "" {
		hint = next[e.Kind]
	}
	if e.Kind == RateLimit && e.RetryAfter > 0 && e.Hint == "" {
		hint = fmt.Sprintf("try again in %v", e.RetryAfter.Round(time.Second))
	}
	if hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// Is makes errors.Is(err, platform.NotFound) work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap returns what lies below.
func (e *Error) Unwrap() error { return e.Err }

// kindOf is the only place where a status becomes a kind.
func kindOf(status int) Kind {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Auth
	case status == http.StatusPaymentRequired:
		return Payment
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusConflict:
		return NotReady
	case status == http.StatusGone:
		return Gone
	case status == http.StatusTooManyRequests:
		return RateLimit
	case status >= 500:
		return Server
	case status >= 400:
		return Refused
	}
	return Unreadable // a redirect that nobody follows, or no content
}

// answerError describes an answer that is no success.
func answerError(request string, r *http.Response, body []byte, secrets ...Secret) *Error {
	e := &Error{Kind: kindOf(r.StatusCode), Request: request, Status: r.StatusCode, Detail: scrub(detail(body), secrets...)}
	e.RetryAfter = retryAfter(r.Header, time.Now())
	if strings.Contains(strings.ToLower(e.Detail), "email confirmation required") {
		e.Kind, e.Hint = Auth, "confirm the address in the mail that distil labs sent, then try again"
	}
	return e
}

// networkError describes a request without a whole answer. The address of a
// url.Error is dropped: it may hold a key.
func networkError(ctx context.Context, request, host string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", request, ctx.Err())
	}
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return &Error{Kind: Network, Request: request, Err: err, Hint: "check the connection and the proxy, and the address " + host + ", then try again"}
}

func unreadable(request, format string, args ...any) *Error {
	return &Error{Kind: Unreadable, Request: request, Detail: fmt.Sprintf(format, args...)}
}

// maxDetail bounds what of an answer goes into a message.
const maxDetail = 300

// detail finds the words in the body of an error. Its shape is not documented; the
// statuses of validation are those of pydantic, whose errors are a list under
// "detail", each with "loc" and "msg".
func detail(body []byte) string {
	var o map[string]json.RawMessage
	if json.Unmarshal(body, &o) != nil {
		var text string
		if json.Unmarshal(body, &text) == nil {
			return clean(text, maxDetail)
		}
		if trimmed := strings.TrimSpace(string(body)); strings.HasPrefix(trimmed, "<") {
			return ""
		}
		return clean(string(body), maxDetail)
	}
	for _, key := range []string{"detail", "message", "error", "msg", "errors"} {
		if raw, ok := o[key]; ok {
			if text := detailOf(raw); text != "" {
				return clean(text, maxDetail)
			}
		}
	}
	return ""
}

func detailOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(raw, &list) == nil {
		var parts []string
		for _, e := range list {
			if e.Msg != "" {
				parts = append(parts, strings.TrimPrefix(strings.TrimSpace(fmt.Sprintln(e.Loc...))+": ", ": ")+e.Msg)
			}
		}
		return strings.Join(parts, "; ")
	}
	var one struct {
		Message, Msg, Detail string
	}
	if json.Unmarshal(raw, &one) == nil {
		return one.Message + one.Msg + one.Detail
	}
	return ""
}

// clean makes text of a server fit for one line of a terminal: printable
// characters only, and at most limit bytes.
func clean(text string, limit int) string {
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil || !at.After(now) {
		return 0
	}
	return at.Sub(now)
}
