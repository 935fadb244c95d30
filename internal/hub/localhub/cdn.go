package localhub

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const amzDate = "20060102T150405Z"

// signingKey keeps nobody out; it shows an address that was changed.
const signingKey = "localhub"

func sign(path string, q url.Values) string {
	h := hmac.New(sha256.New, []byte(signingKey))
	fmt.Fprintf(h, "%s\n%s\n%s", path, q.Get("X-Amz-Date"), q.Get("X-Amz-Expires"))
	return hex.EncodeToString(h.Sum(nil))
}

// link returns a signed address of a large file, whose path is /ORG/REPO/SHA256.
func (c *CDN) link(repo string, f file) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "/" + repo + "/" + f.sha256
	q := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"},
		"X-Amz-Date":      {c.hub.opt.Now().UTC().Format(amzDate)},
		"X-Amz-Expires":   {strconv.Itoa(int(c.hub.opt.LinkLifetime / time.Second))},
	}
	q.Set("X-Amz-Signature", sign(name, q))
	return c.address + name + "?" + q.Encode()
}

// ServeHTTP answers as the hub's host for large files does.
func (c *CDN) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text := r.Header.Get("Authorization") + r.Header.Get("Cookie"); text != "" {
		c.mu.Lock()
		c.leaked = append(c.leaked, text)
		c.mu.Unlock()
	}
	c.Serve(w, r, c.file)
}

func (c *CDN) file(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	signed, err := time.Parse(amzDate, q.Get("X-Amz-Date"))
	seconds, _ := strconv.Atoi(q.Get("X-Amz-Expires")) // the signature covers it
	switch {
	case r.Header.Get("Authorization") != "":
		s3Error(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
		return
	case err != nil, !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(sign(r.URL.Path, q))):
		s3Error(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		return
	case !c.hub.opt.Now().Before(signed.Add(time.Duration(seconds) * time.Second)):
		s3Error(w, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	repo, sum := strings.TrimPrefix(path.Dir(r.URL.Path), "/"), path.Base(r.URL.Path)
	files, err := c.hub.files(repo)
	i := slices.IndexFunc(files, func(f file) bool { return f.sha256 == sum })
	if err != nil || i < 0 {
		s3Error(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	if w.Header().Get("ETag") == "" { // a fault may have set another
		w.Header().Set("ETag", `"`+sum+`"`)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	c.hub.serve(w, r, repo, files[i].path)
}

func s3Error(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
}
