package download

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"cubby/models"
)

const (
	bufferSize = 256 << 10
	sniffed    = 512 // bytes that tell a web page
)

// transfer is one file of a call. One goroutine works on it.
type transfer struct {
	File
	*job
	target  string
	address *url.URL // where it is asked for now
	origin  *url.URL // of File.URL: who may see Header
	part    *partial // nil before it is claimed, and where the file was there
	total   int64    // bytes of the whole file; -1 until an answer tells
	sum     models.Digest

	furthest  int64 // most bytes that were ever there of this version
	renewed   bool  // the address is new, and has brought nothing yet
	checked   bool  // what came was wrong once
	changes   int   // versions seen
	badRanges int   // answers that did not fit their question
}

// run brings the file, or finds that it is there.
func (t *transfer) run(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var err error
	if t.origin, err = t.parse(t.URL); err != nil {
		return err
	}
	t.address = t.origin
	if t.present(ctx) {
		sweep(t.target, leftovers(t.target))
		t.report(Event{Kind: Done, File: t.Name, Have: t.total, Size: t.total, SHA256: t.sum})
		return nil
	}
	t.part, err = claim(ctx, t.target, t.File, t.limits)
	if err != nil {
		return t.local(err)
	}
	t.furthest = t.part.have
	begin := Event{Kind: Started, File: t.Name, Size: t.size()}
	if t.part.have > 0 {
		begin.Kind, begin.Have = Resumed, t.part.have
	}
	t.report(begin)
	if err := t.persist(ctx); err != nil {
		return err
	}
	if err := t.part.finish(); err != nil {
		return t.local(err)
	}
	t.total = t.part.have
	t.report(Event{Kind: Done, File: t.Name, Have: t.total, Size: t.total, SHA256: t.sum})
	return nil
}

// size is what is known of it.
func (t *transfer) size() int64 {
	switch {
	case t.total >= 0:
		return t.total
	case t.Size > 0:
		return t.Size
	case t.part != nil:
		return t.part.id.Size
	}
	return -1
}

// present reports whether the file is there with the wanted digest.
func (t *transfer) present(ctx context.Context) bool {
	info, err := os.Stat(t.target)
	if (t.SHA256 == models.Digest{}) || err != nil || !info.Mode().IsRegular() || t.Size > 0 && info.Size() != t.Size {
		return false
	}
	sum, size, ok := hashFile(ctx, t.target)
	if !ok || sum != t.SHA256 {
		return false
	}
	t.sum, t.total = sum, size
	return true
}

// persist tries until the file is whole and right. What can only fail again is not
// tried again, and neither is what brings nothing, many times in a row.
func (t *transfer) persist(ctx context.Context) error {
	fails := 0
	for n := 1; ; n++ {
		err := t.try(ctx)
		if err == nil {
			err = t.verify()
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var e *Error
		if !errors.As(err, &e) {
			return err
		}
		fails++
		if t.part.have > t.furthest {
			t.furthest, t.renewed, fails = t.part.have, false, 1
		}
		if fails >= t.limits.tries || n >= t.limits.allTries {
			if e.cure == refetch {
				t.drop()
			}
			return e
		}
		if err := t.mend(ctx, e, fails); err != nil {
			return err
		}
	}
}

// mend does what must come before the next try, or returns the error that is final.
func (t *transfer) mend(ctx context.Context, e *Error, fails int) error {
	switch e.cure {
	case again:
		return t.pause(ctx, e, fails)
	case renew:
		if t.Renew == nil || t.renewed {
			return e
		}
		return t.renewAddress(ctx)
	case startOver:
		return t.restart(nil, e.Problem, true)
	case reask, refetch:
		if e.cure == refetch {
			t.drop()
		}
		if t.checked {
			return e
		}
		t.checked = true
		if e.cure == refetch {
			t.report(Event{Kind: Restarted, File: t.Name, Size: t.size(), Reason: e.Problem})
		}
		return t.pause(ctx, e, 1)
	}
	return e
}

// drop forgets what is on disk.
func (t *transfer) drop() {
	t.part.forget()
	t.furthest, t.total = 0, -1
}

// restart gives up what is on disk for another version, or for a server that does
// not continue.
func (t *transfer) restart(resp *http.Response, reason string, changed bool) error {
	if changed {
		t.changes++
		t.furthest = 0
		if t.changes > t.limits.changes {
			e := t.fail(resp, Network, "the file keeps changing on the server", nil)
			e.Advice = "wait until it is published, then run the same command again"
			return e
		}
	}
	t.part.forget()
	t.total = -1
	t.report(Event{Kind: Restarted, File: t.Name, Size: t.size(), Reason: reason})
	return nil
}

// pause waits between tries: as long as the server asks, and a random time so that
// many clients do not come back at once.
func (t *transfer) pause(ctx context.Context, e *Error, fails int) error {
	most := t.limits.mostWait
	if shift := fails - 1; shift < 20 {
		most = min(t.limits.firstWait<<shift, most)
	}
	wait := e.wait + rand.N(most+1)
	t.report(Event{Kind: Retrying, File: t.Name, Have: t.part.have, Size: t.size(), Reason: e.reason(), Wait: wait})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

func (t *transfer) renewAddress(ctx context.Context) error {
	address, err := t.Renew(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	if err != nil {
		e := t.fail(nil, Network, "its address expired, and another one could not be had", err)
		e.Advice = continues
		return e
	}
	u, err := t.parse(address)
	if err != nil {
		return err
	}
	t.address, t.renewed = u, true
	t.report(Event{Kind: Renewed, File: t.Name, Have: t.part.have, Size: t.size()})
	return nil
}

var errStalled = errors.New("no byte came in time")

// try asks for what is missing, and reads as long as bytes come.
func (t *transfer) try(parent context.Context) error {
	if t.complete() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watch := time.AfterFunc(t.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	req := t.request(ctx)
	client := *t.client
	client.CheckRedirect = t.follow
	resp, err := client.Do(req)
	if err != nil {
		return t.broken(ctx, err)
	}
	defer resp.Body.Close()
	body := &watched{Reader: resp.Body, watch: watch, stall: t.stall}
	switch ranged := req.Header.Get("Range") != ""; {
	case resp.StatusCode == http.StatusOK:
		begin := make([]byte, sniffed)
		n, err := io.ReadFull(body, begin)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return t.broken(ctx, err)
		}
		if err := t.whole(resp, begin[:n]); err != nil {
			return err
		}
		if err := t.keep(begin[:n]); err != nil {
			return err
		}
	case resp.StatusCode == http.StatusPartialContent && ranged:
		if err := t.rest(resp); err != nil {
			return err
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && ranged:
		return t.end(resp)
	default:
		return t.refuse(resp)
	}
	return t.read(ctx, body)
}

// complete reports whether what an earlier call left is the wanted file.
func (t *transfer) complete() bool {
	if (t.SHA256 == models.Digest{}) || t.part.have == 0 || t.part.sum() != t.SHA256 {
		return false
	}
	t.total = t.part.have
	return true
}

// request asks for the bytes behind those that are there, of the same version if
// the server can tell versions apart. Where a strong ETag is missing, the digest
// must tell.
func (t *transfer) request(ctx context.Context) *http.Request {
	req := (&http.Request{Method: http.MethodGet, URL: t.address, Host: t.address.Host, Header: http.Header{}}).WithContext(ctx)
	if sameHost(t.address, t.origin) {
		for key, values := range t.Header {
			req.Header[http.CanonicalHeaderKey(key)] = slices.Clone(values)
		}
	}
	req.Header.Del("Range")
	req.Header.Del("If-Range")
	req.Header.Set("Accept-Encoding", "identity")
	if t.part.have > 0 && t.part.id.resumes(t.File) && t.badRanges < 2 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.part.have))
		if tag := t.part.id.strong(); tag != "" {
			req.Header.Set("If-Range", tag)
		}
	}
	return req
}

// secrets are the values of the header, and their last words: "Bearer SECRET".
func (t *transfer) secrets() []string {
	var all []string
	for _, values := range t.Header {
		for _, v := range values {
			if words := strings.Fields(v); len(words) > 0 && len(words[len(words)-1]) >= 4 {
				all = append(all, v, words[len(words)-1])
			}
		}
	}
	return all
}

// watched winds the watch up while it waits for bytes, and for no other reason: a
// slow disk is no stalled network.
type watched struct {
	io.Reader
	watch *time.Timer
	stall time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	w.watch.Reset(w.stall)
	n, err := w.Reader.Read(p)
	w.watch.Stop()
	return n, err
}

// read appends what comes to the partial.
func (t *transfer) read(ctx context.Context, body io.Reader) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := body.Read(buf)
		if keepErr := t.keep(buf[:n]); keepErr != nil {
			return keepErr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t.broken(ctx, err)
		}
	}
	if t.part.have < t.total {
		return t.broken(ctx, fmt.Errorf("it ended after %d of %d bytes", t.part.have, t.total))
	}
	return nil
}

// keep stores bytes, and no more than were declared.
func (t *transfer) keep(b []byte) error {
	have := t.part.have + int64(len(b))
	if t.total >= 0 && have > t.total {
		return t.wrong(fmt.Sprintf("more came than the %d bytes that it should have", t.total))
	}
	if t.total < 0 && t.Limit > 0 && have > t.Limit {
		return t.tooLarge()
	}
	if len(b) == 0 {
		return nil
	}
	if err := t.part.write(b); err != nil {
		return t.local(err)
	}
	t.report(Event{Kind: Received, File: t.Name, Have: t.part.have, Size: t.size()})
	return nil
}

// verify compares a whole file with what was published.
func (t *transfer) verify() error {
	t.sum = t.part.sum()
	if t.Size > 0 && t.part.have != t.Size {
		return t.wrong(fmt.Sprintf("it has %d bytes, not the %d that were published", t.part.have, t.Size))
	}
	if (t.SHA256 != models.Digest{}) && t.sum != t.SHA256 {
		return t.wrong(fmt.Sprintf("its SHA-256 is %s, and %s was published", t.sum.Hex(), t.SHA256.Hex()))
	}
	return nil
}

// room sees whether what is missing of a file of so many bytes fits on the disk.
func (t *transfer) room(total int64) error {
	return t.job.room(t.Name, max(total, 0)-t.part.have)
}

// local makes an error of this machine's final.
func (t *transfer) local(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return diskError(t.Name, err)
}

// broken is an error on the way, which another try may mend; not what we refused
// ourselves, and not a certificate that is not to be trusted.
func (t *transfer) broken(ctx context.Context, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if errors.Is(context.Cause(ctx), errStalled) {
		err = fmt.Errorf("no byte came for %v", t.stall)
	}
	e := t.fail(nil, Network, "the connection broke", err)
	if t.part.have > 0 {
		e.Problem += " after " + bytesOf(t.part.have)
	}
	e.cure, e.Advice = again, "check the network, then "+continues
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		e.cure, e.Problem = none, "the server cannot be trusted"
		e.Advice = "check this machine's clock and certificates, and whether a proxy is in between"
	}
	return e
}
