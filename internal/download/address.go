package download

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// show is an address without what may be secret in it: the signature of a
// presigned address is in its query.
func show(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func isLoopback(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// secure allows https, and plain http to this machine.
func secure(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u))
}

// parse reads the address of a file.
func (t *transfer) parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, usageError(t.Name, "its address cannot be read") // the cause would repeat it
	}
	if !secure(u) {
		return nil, usageError(t.Name, "the address %s is not https", show(u))
	}
	return u, nil
}

// sameHost compares hosts with their ports, and schemes: a secret for one is not
// for the other.
func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// follow decides about a redirect. What the caller's header says is meant for the
// first host alone, and is not sent again once a redirect has left it. The query
// of a presigned address is not told to the next host either. This machine is
// reached by plain http only from itself.
func (t *transfer) follow(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	fail := func(problem string) error {
		return &Error{Kind: Network, File: t.Name, From: show(first), Problem: problem,
			Advice: "check the address; the file may have to be downloaded by hand"}
	}
	if len(via) > maxRedirects {
		return fail(fmt.Sprintf("more than %d redirects", maxRedirects))
	}
	if !secure(req.URL) || req.URL.Scheme == "http" && !isLoopback(first) {
		return fail("it redirects to " + show(req.URL) + ", which is not https")
	}
	req.Header.Del("Referer")
	foreign := !sameHost(req.URL, first)
	for _, r := range via {
		foreign = foreign || !sameHost(r.URL, first)
	}
	if foreign {
		for key := range t.Header {
			if !ours(key) {
				req.Header.Del(key)
			}
		}
		req.Header.Del("Cookie")
	}
	return nil
}

// ours lists the fields of a request that the downloader sets itself.
func ours(key string) bool {
	switch http.CanonicalHeaderKey(key) {
	case "Range", "If-Range", "Accept-Encoding":
		return true
	}
	return false
}
