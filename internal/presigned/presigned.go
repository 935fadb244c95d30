// Package presigned makes addresses of files that are good for a while, and refuses the
// others, as Amazon's S3 does: for the servers that stand in for real ones in tests.
package presigned

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const dateForm = "20060102T150405Z"

// Key signs addresses. It keeps nobody out; it shows an address that was changed.
type Key string

// Query is what makes the address of a path good from now on.
func (k Key) Query(path string, now time.Time, lifetime time.Duration) url.Values {
	q := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"},
		"X-Amz-Date":      {now.UTC().Format(dateForm)},
		"X-Amz-Expires":   {strconv.Itoa(int(lifetime / time.Second))},
	}
	q.Set("X-Amz-Signature", k.sign(path, q))
	return q
}

func (k Key) sign(path string, q url.Values) string {
	h := hmac.New(sha256.New, []byte(k))
	fmt.Fprintf(h, "%s\n%s\n%s", path, q.Get("X-Amz-Date"), q.Get("X-Amz-Expires"))
	return hex.EncodeToString(h.Sum(nil))
}

// Refuse answers a request whose address is not good, and reports that it did. An
// address that was signed for one method is good for no other; "" stands for all.
func (k Key) Refuse(w http.ResponseWriter, r *http.Request, now time.Time, method string) bool {
	q := r.URL.Query()
	date, err := time.Parse(dateForm, q.Get("X-Amz-Date"))
	seconds, _ := strconv.Atoi(q.Get("X-Amz-Expires")) // the signature covers it
	signed := (method == "" || r.Method == method) && err == nil && hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(k.sign(r.URL.Path, q)))
	switch {
	case r.Header.Get("Authorization") != "":
		fail(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
	case !signed:
		fail(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	case !now.Before(date.Add(time.Duration(seconds) * time.Second)):
		fail(w, http.StatusForbidden, "AccessDenied", "Request has expired")
	default:
		return false
	}
	return true
}

// NoKey answers that there is no such file.
func NoKey(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func fail(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
}
