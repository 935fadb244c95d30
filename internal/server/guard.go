package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// guard keeps strangers out. Rule: a listener that others can reach asks for
// an API key; one that only this machine can reach must still not be reached
// through a web page in the user's browser, neither by a request across
// origins nor by a host name that an attacker points at 127.0.0.1.
type guard struct {
	key   *[sha256.Size]byte // hash of the key; nil: none is asked
	local bool
	cross *http.CrossOriginProtection
}

func newGuard(key string, local bool) guard {
	g := guard{local: local, cross: http.NewCrossOriginProtection()}
	if key != "" {
		sum := sha256.Sum256([]byte(key))
		g.key = &sum
	}
	return g
}

// all is the guard of everything that tells or costs something.
func (g guard) all(r *http.Request) error {
	if err := g.host(r); err != nil {
		return err
	}
	if err := g.cross.Check(r); err != nil {
		return &failure{Code: codeCrossOrigin, Message: "requests from web pages of other sites are refused"}
	}
	return g.authorize(r)
}

// host refuses names that are not this machine's own, where no key protects
// the server.
func (g guard) host(r *http.Request) error {
	if !g.local || g.key != nil || localHost(r.Host) {
		return nil
	}
	return &failure{Code: codeBadHost, Message: "this server answers only to localhost and to addresses"}
}

// localHost reports an address or a name that no resolver outside this machine
// answers for.
func localHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func (g guard) authorize(r *http.Request) error {
	if g.key == nil {
		return nil
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(key)))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], g.key[:]) != 1 {
		return &failure{Code: codeUnauthorized, Message: "the API key is missing or wrong"}
	}
	return nil
}

// ReadKey returns the API key in a file, or else the given one, trimmed.
func ReadKey(file, key string) (string, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", Usage("API key: %v", err)
		}
		key = string(raw)
		if strings.TrimSpace(key) == "" {
			return "", Usage("API key: %s is empty", file)
		}
	}
	key = strings.TrimSpace(key)
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", Usage("API key holds a space, a line break or a character that a header cannot carry")
	}
	if key != "" && len(key) < minKeyLength {
		return "", Usage("API key has %d characters: at least %d are needed; make one with: openssl rand -hex 16", len(key), minKeyLength)
	}
	return key, nil
}
