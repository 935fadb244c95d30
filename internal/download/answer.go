package download

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cubby/models"
)

// describe reads what an answer says about the version it is of.
func describe(resp *http.Response) identity {
	id := identity{Size: -1}
	if s := resp.Header.Get("ETag"); printable(s) {
		id.ETag = s
	}
	if s := resp.Header.Get("Last-Modified"); printable(s) {
		id.LastModified = s
	}
	return id
}

// contentRange is the field Content-Range of an answer.
type contentRange struct {
	first, last int64 // -1 where the asked range does not exist
	size        int64 // of the whole file; -1 where unknown
}

// parseContentRange reads "bytes 5-9/10", "bytes 5-9/*" and "bytes */10".
func parseContentRange(s string) (contentRange, bool) {
	none := contentRange{-1, -1, -1}
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return none, false
	}
	span, all, ok := strings.Cut(rest, "/")
	if !ok {
		return none, false
	}
	r := none
	if all != "*" {
		if r.size, ok = parseCount(all); !ok {
			return none, false
		}
	}
	if span == "*" {
		return r, r.size >= 0
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return none, false
	}
	r.first, ok = parseCount(first)
	var ok2 bool
	r.last, ok2 = parseCount(last)
	if !ok || !ok2 || r.first > r.last || r.size >= 0 && r.last >= r.size {
		return none, false
	}
	return r, true
}

// parseCount reads digits and nothing else.
func parseCount(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// retryAfter reads how long a server asks to wait; there is a limit to patience.
func retryAfter(h http.Header, now time.Time, most time.Duration) time.Duration {
	s := h.Get("Retry-After")
	if n, ok := parseCount(s); ok {
		return min(time.Duration(min(n, int64(most/time.Second)+1))*time.Second, most)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(at.Sub(now), 0), most)
	}
	return 0
}

// pages are the first bytes of documents that servers send in place of a file.
var pages = [][]byte{[]byte("<!doctype html"), []byte("<html"), []byte("<head"), []byte("<body"), []byte("<?xml"), []byte("<error")}

// isPage recognises a web page, or an error document in XML, by type or by its
// first bytes.
func isPage(resp *http.Response, begin []byte) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "text/html" || kind == "application/xhtml+xml" {
		return true
	}
	begin = bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(begin, []byte("\ufeff")), " \t\r\n"))
	for _, p := range pages {
		if bytes.HasPrefix(begin, p) {
			return true
		}
	}
	return false
}

const continues = "run the same command again: it goes on where it stopped"

// refuse turns a status that brings no bytes into an error.
func (t *transfer) refuse(resp *http.Response) *Error {
	e := t.fail(resp, Network, fmt.Sprintf("the server answers %s", status(resp.StatusCode)), nil)
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		e.Kind, e.cure = Auth, renew
		e.Problem = fmt.Sprintf("the server refuses access (%s)", status(s))
		e.Advice = "check the token and what it may read, then " + continues
		if t.Renew != nil {
			e.Advice = "log in again, then " + continues
		}
	case s == http.StatusNotFound, s == http.StatusGone:
		e.cure = renew
		e.Problem = fmt.Sprintf("there is nothing at this address (%s)", status(s))
		e.Advice = "check the name and the version; the file may have been withdrawn"
	case s == http.StatusProxyAuthRequired:
		e.Problem = "the proxy demands a login (407)"
		e.Advice = "put the user into HTTPS_PROXY, then " + continues
	case s == http.StatusTooManyRequests:
		e.cure = again
		e.Advice = "too many requests came from here: wait some minutes, then " + continues
	case s == http.StatusRequestTimeout, s >= 500:
		e.cure = again
		e.Advice = "wait some minutes, then " + continues
	default:
		e.Advice = "check the address"
	}
	if e.cure == again {
		e.wait = retryAfter(resp.Header, time.Now(), t.limits.maxRetryAfter)
	}
	return e
}

// status names a status in our words, not the server's.
func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// whole judges an answer that holds the file from its first byte, before anything
// that is on disk is given up for it.
func (t *transfer) whole(resp *http.Response, begin []byte) error {
	id := describe(resp)
	id.Size, id.SHA256 = resp.ContentLength, t.SHA256
	if err := t.plain(resp, begin); err != nil {
		return err
	}
	if t.Size > 0 {
		if id.Size >= 0 && id.Size != t.Size {
			return t.misdeclared(resp, id.Size)
		}
		id.Size = t.Size
	}
	if id.Size < 0 && (t.SHA256 == models.Digest{}) && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0 {
		e := t.fail(resp, Network, "the server does not say where the file ends", nil)
		e.Advice = "give its size or SHA-256, or download it by hand"
		return e
	}
	if t.Size <= 0 && t.Limit > 0 && id.Size > t.Limit {
		return t.tooLarge()
	}
	if t.part.have > 0 {
		if err := t.restart(resp, "the server sends the whole file again", t.part.id.differs(id)); err != nil {
			return err
		}
	}
	t.total = id.Size
	if err := t.part.begin(id); err != nil {
		return t.local(err)
	}
	return t.room(id.Size)
}

// rest judges an answer that continues the file.
func (t *transfer) rest(resp *http.Response) error {
	if err := t.plain(resp, nil); err != nil {
		return err
	}
	now := describe(resp)
	r, ok := parseContentRange(resp.Header.Get("Content-Range"))
	now.Size = r.size
	if t.part.inPlace || ok && t.part.id.differs(now) {
		return t.changed(resp)
	}
	total := max(t.part.id.Size, t.Size, r.size)
	if !ok || total <= 0 || r.first != t.part.have || r.last != total-1 || t.Size > 0 && total != t.Size ||
		resp.ContentLength >= 0 && resp.ContentLength != total-t.part.have {
		t.badRanges++
		e := t.fail(resp, Network, fmt.Sprintf("the bytes from %d were asked for, and %.80q of %d bytes came",
			t.part.have, resp.Header.Get("Content-Range"), resp.ContentLength), nil)
		e.cure, e.Advice = again, "the server, or a proxy on the way, is at fault: try another network, or "+continues
		return e
	}
	t.total = total
	return t.room(total)
}

// end judges an answer that says that there is nothing behind what is on disk.
func (t *transfer) end(resp *http.Response) error {
	r, ok := parseContentRange(resp.Header.Get("Content-Range"))
	now := describe(resp)
	now.Size = r.size
	if ok && r.first < 0 && r.size == t.part.have && !t.part.id.differs(now) {
		t.total = t.part.have
		return nil
	}
	return t.changed(resp)
}

// plain refuses bytes that are not the file's own.
func (t *transfer) plain(resp *http.Response, begin []byte) error {
	if c := resp.Header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		e := t.fail(resp, Network, fmt.Sprintf("the server sent it packed as %.40q, which was not asked for", c), nil)
		e.Advice = "a proxy on the way may do that: try without it, or download the file by hand"
		return e
	}
	if isPage(resp, begin) {
		e := t.fail(resp, Network, "a web page or an error document came instead of the file", nil)
		e.Advice = "open the address in a browser: is there a login, a licence to accept or a proxy in between? Then run the same command again"
		return e
	}
	return nil
}

// changed says that the server has another version than the one on disk.
func (t *transfer) changed(resp *http.Response) *Error {
	e := t.fail(resp, Network, "the file changed on the server while it was downloaded", nil)
	e.cure, e.Advice = startOver, "wait until it is published, then run the same command again"
	return e
}

// misdeclared says that the server announces another file than was published. What
// is on disk is kept: it may not be from there.
func (t *transfer) misdeclared(resp *http.Response, size int64) *Error {
	e := t.fail(resp, Checksum, fmt.Sprintf("the server has %d bytes of it, not the %d that were published", size, t.Size), nil)
	e.cure, e.Advice = reask, "tell who published it: what is on the server is not what was announced"
	return e
}

// wrong says that the bytes on disk are not those that were published.
func (t *transfer) wrong(problem string) *Error {
	e := t.fail(nil, Checksum, problem, nil)
	e.cure, e.Advice = refetch, "nothing of it was kept: run the same command again, over another network if there is one, and tell who published it if this stays"
	return e
}

func (t *transfer) tooLarge() *Error {
	e := t.fail(nil, Checksum, fmt.Sprintf("it has more than the %d bytes that are allowed", t.Limit), nil)
	e.cure, e.Advice = refetch, "check the address: this is not the file that was expected"
	return e
}

// fail is a final error about an answer.
func (t *transfer) fail(resp *http.Response, kind Kind, problem string, err error) *Error {
	e := &Error{Kind: kind, File: t.Name, Problem: problem, Err: hide(err, t.secrets())}
	if resp != nil && resp.Request != nil {
		e.From = show(resp.Request.URL)
	} else if t.address != nil {
		e.From = show(t.address)
	}
	return e
}
