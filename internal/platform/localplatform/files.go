package localplatform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// filesPrefix is where files lie; on the real platform they have a host of their
// own.
const filesPrefix = "/s3/"

const amzDate = "20060102T150405Z"

// link returns a presigned address of a file of a task's folder, nil where it is
// absent.
func (p *Platform) link(r *http.Request, m *Model, file string) any {
	if m.dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(m.dir, file)); err != nil {
		return nil
	}
	path := filesPrefix + m.Task + "/" + file
	q := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"},
		"X-Amz-Date":      {p.opt.Now().UTC().Format(amzDate)},
		"X-Amz-Expires":   {strconv.Itoa(int(p.opt.LinkLifetime / time.Second))},
	}
	q.Set("X-Amz-Signature", sign(path, q))
	u := url.URL{Scheme: "http", Host: r.Host, Path: path, RawQuery: q.Encode()}
	return u.String()
}

// signingKey keeps nobody out; it shows an address that was changed.
const signingKey = "localplatform"

func sign(path string, q url.Values) string {
	h := hmac.New(sha256.New, []byte(signingKey))
	fmt.Fprintf(h, "%s\n%s\n%s", path, q.Get("X-Amz-Date"), q.Get("X-Amz-Expires"))
	return hex.EncodeToString(h.Sum(nil))
}

// file serves a presigned address as S3 does. It was signed for GET only.
func (p *Platform) file(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	signed, err := time.Parse(amzDate, q.Get("X-Amz-Date"))
	seconds, _ := strconv.Atoi(q.Get("X-Amz-Expires")) // the signature covers it
	switch {
	case r.Header.Get("Authorization") != "":
		s3Error(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
		return
	case r.Method != http.MethodGet, err != nil, !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(sign(r.URL.Path, q))):
		s3Error(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		return
	case !p.opt.Now().Before(signed.Add(time.Duration(seconds) * time.Second)):
		s3Error(w, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	f, err := os.Open(filepath.Join(p.opt.Packages, filepath.FromSlash(strings.TrimPrefix(r.URL.Path, filesPrefix))))
	if err != nil {
		s3Error(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		s3Error(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	if w.Header().Get("ETag") == "" { // a fault may have set another
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", r.URL.Path, info.Size(), info.ModTime().UnixNano()))
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	}
	w.Header().Set("Content-Type", "binary/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func s3Error(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
}
