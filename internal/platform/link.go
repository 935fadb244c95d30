package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Link is the address of one file: a presigned URL, fetched by a plain GET without
// a token. Whoever has it can download the file until it expires, so it prints
// without its signature.
type Link struct {
	URL     string
	Expires time.Time // zero where the address does not say
	renew   func(context.Context) (Link, error)
}

// String is the address without its query, where the signature is.
func (l Link) String() string {
	u, err := url.Parse(l.URL)
	if err != nil {
		return "a download address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// GoString is String.
func (l Link) GoString() string { return l.String() }

// Expired reports whether the address says that it is no longer good at a moment.
// A server's clock may differ: its 403 counts, and means Renew.
func (l Link) Expired(at time.Time) bool { return !l.Expires.IsZero() && !at.Before(l.Expires) }

// Renew asks the platform for a new address of the same file.
func (l Link) Renew(ctx context.Context) (Link, error) {
	if l.renew == nil {
		return Link{}, &Error{Kind: Expired, Request: "GET " + l.String()}
	}
	return l.renew(ctx)
}

// RenewURL is Renew for a downloader that knows addresses only.
func (l Link) RenewURL(ctx context.Context) (string, error) {
	fresh, err := l.Renew(ctx)
	return fresh.URL, err
}

// urlKeys are the names under which an answer about one file has its address, as
// the notebooks and the documentation have them.
var urlKeys = []string{"s3_url", "model_url", "download_url", "url"}

// findURL reads an address: a string, or an object with one under a documented
// name. It is empty for null.
func findURL(raw json.RawMessage, keys ...string) string {
	for range 3 {
		if s, ok := asText(raw); ok {
			if o := asObject(raw); o == nil { // not an object inside a string
				return s
			}
		}
		o := asObject(raw)
		if o == nil {
			return ""
		}
		raw = o.first(keys...)
		if raw == nil {
			raw = o.first(envelopes...)
		}
		keys = urlKeys
	}
	return ""
}

// parseLink checks an address. Empty is no link, and no error.
func (c *Client) parseLink(request, text string, renew func(context.Context) (Link, error)) (*Link, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return nil, unreadable(request, "it holds a download address that is none")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u):
		return &Link{URL: text, Expires: expiry(u.Query()), renew: renew}, nil
	}
	return nil, unreadable(request, "it holds a download address that is not encrypted: %s://%s", clean(u.Scheme, 20), clean(u.Host, 80))
}

// expiry reads when a presigned address of S3 expires: signature version 4 has a
// date and a number of seconds, version 2 the moment.
func expiry(q url.Values) time.Time {
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	seconds, serr := strconv.ParseUint(q.Get("X-Amz-Expires"), 10, 31)
	if err == nil && serr == nil {
		return signed.Add(time.Duration(seconds) * time.Second)
	}
	if unix, err := strconv.ParseUint(q.Get("Expires"), 10, 40); err == nil {
		return time.Unix(int64(unix), 0).UTC()
	}
	return time.Time{}
}

// ask is one request for addresses: an answer of several, each under a name.
type ask struct {
	c        *Client
	route    string
	required bool // the answer must speak of the first name, if only as null
}

// links sends the request and returns the addresses under the wanted names. A name
// that is absent or null has none.
func (a ask) links(ctx context.Context, names ...[]string) ([]*Link, error) {
	body, err := a.c.get(ctx, a.route, nil)
	if err != nil {
		return nil, err
	}
	return a.parse(body, names...)
}

func (a ask) parse(body []byte, names ...[]string) ([]*Link, error) {
	request := "GET " + a.route
	if !json.Valid(body) {
		return nil, unreadable(request, "it is not JSON, but %s", looksLike(body))
	}
	if a.required && !speaksOf(body, names[0]) {
		return nil, unreadable(request, "it holds no download address")
	}
	out := make([]*Link, len(names))
	for i, keys := range names {
		text := ""
		if _, bare := asText(body); i == 0 || !bare {
			text = pick(body, keys)
		}
		var err error
		out[i], err = a.c.parseLink(request, text, func(ctx context.Context) (Link, error) {
			fresh, err := a.links(ctx, names...)
			if err != nil {
				return Link{}, err
			}
			if fresh[i] == nil {
				return Link{}, &Error{Kind: NotReady, Request: request, Detail: fmt.Sprintf("it has no %s any more", keys[0])}
			}
			return *fresh[i], nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// speaksOf reports whether an answer is an address, null, or has one of the keys.
func speaksOf(body []byte, keys []string) bool {
	_, bare := asText(body)
	o := openEnvelope(body, keys...)
	return isNull(body) || o.hasKey(keys...) || bare && o == nil
}

// pick returns the address under one of the keys, flat or in an envelope.
func pick(body []byte, keys []string) string {
	if o := openEnvelope(body, keys...); o != nil {
		if raw := o.first(keys...); raw != nil {
			return findURL(raw, urlKeys...)
		}
		return ""
	}
	return findURL(body, keys...)
}
