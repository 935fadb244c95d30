package remote

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ParseURL reads a server's address: http or https, a host, perhaps a port and the
// path of a proxy, and nothing else.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil && strings.Contains(s, "@") {
		return nil, fmt.Errorf("the address of the server cannot be read: write it as http://127.0.0.1:8080, without a user or password")
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("%.200q is not the address of a server: write it as http://127.0.0.1:8080", s)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("the address of %s holds a user or password: leave it out, an API key has its own option", u.Host)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, fmt.Errorf("%.200q has a query or fragment: end it behind host and port", s)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// Base is the transport of connections to one server: http.DefaultTransport's
// settings, with as many connections kept as questions are asked at once.
func Base(client *http.Client, slots int) http.RoundTripper {
	if client != nil && client.Transport != nil {
		return client.Transport
	}
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = max(slots, DefaultSlots) + 1
	return t
}
