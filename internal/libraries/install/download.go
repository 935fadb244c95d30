package install

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"cubby/internal/libraries"
	"cubby/models"
)

// Limits of a download.
const (
	maxArchive   = 4 << 30 // bytes, where nobody says how many there are
	maxAnswer    = 8 << 20 // bytes of an answer of the API
	maxRedirects = 5
	tries        = 4                // of one file, each going on where the last one stopped
	answerWithin = 30 * time.Second // until the header of an answer is there
)

// stallAfter is how long a download may go without a byte; retryAfter is the most
// that is waited before the second try, and doubles. Tests shorten both.
var (
	stallAfter = 30 * time.Second
	retryAfter = time.Second
)

// client follows few redirects, and none to an address that others can listen to.
func client() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = answerWithin
	t.DisableCompression = true // an archive's bytes are wanted, and counted, as they are
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return secure(r.URL)
	}}
}

// secure allows https, and plain http to this machine.
func secure(u *url.URL) error {
	host := u.Hostname()
	ip := net.ParseIP(host)
	if u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("the address %s is not https", u.Redacted())
}

// remote is a file to download. Of its size and digest what is known is checked.
type remote struct {
	url    string
	size   int64          // 0 where unknown
	sha256 *models.Digest // nil where unknown
	limit  int64          // most bytes where the size is unknown; 0 for those of an archive
}

// download is one file on its way.
type download struct {
	remote
	client *http.Client
	file   *os.File
	have   int64
	hash   hash.Hash
	etag   string // strong, of the first answer; empty where a second try must begin anew
}

// get downloads a file. A broken transfer is taken up again; what can only fail
// again is not tried again.
func get(ctx context.Context, c *http.Client, want remote, file string) error {
	u, err := url.Parse(want.url)
	if err != nil {
		return err
	}
	if err := secure(u); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	want.limit = cmp.Or(want.size, want.limit, maxArchive)
	d := &download{remote: want, client: c, file: f, hash: sha256.New()}
	err = d.persist(ctx)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if got := models.Digest(d.hash.Sum(nil)); want.sha256 != nil && got != *want.sha256 {
		return &ChecksumError{want.url, fmt.Sprintf("its SHA-256 is %s, not %s", got.Hex(), want.sha256.Hex())}
	}
	return nil
}

// persist tries until the file is there.
func (d *download) persist(ctx context.Context) error {
	wait := retryAfter
	for n := 1; ; n++ {
		err := d.try(ctx)
		var network *NetworkError
		if err == nil || n == tries || ctx.Err() != nil || !errors.As(err, &network) || network.final {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(wait) + 1):
		}
		wait *= 2
	}
}

// try asks for what is missing, and reads it as long as bytes come.
func (d *download) try(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if d.etag == "" {
		if err := d.restart(); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return err
	}
	if d.have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
		req.Header.Set("If-Range", d.etag)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return d.broken(parent, "no answer came", err)
	}
	defer resp.Body.Close()
	if err := d.answer(resp); err != nil {
		return err
	}
	errStalled := fmt.Errorf("no byte came for %v", stallAfter)
	watch := time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	defer watch.Stop()
	if err := d.read(resp.Body, watch); err != nil {
		var sum *ChecksumError
		if errors.As(err, &sum) || isLocal(err) {
			return err
		}
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			err = cause
		}
		return d.broken(parent, "the download broke off", err)
	}
	if d.size > 0 && d.have < d.size {
		return d.broken(parent, "the download broke off", fmt.Errorf("it ended behind %d of %d bytes", d.have, d.size))
	}
	return nil
}

// restart forgets what came so far.
func (d *download) restart() error {
	d.have = 0
	d.hash.Reset()
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// answer looks at the header of an answer: is it what was asked for?
func (d *download) answer(resp *http.Response) error {
	if err := statusError(d.url, resp); err != nil {
		return err
	}
	if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/html") {
		return &NetworkError{From: d.url, Problem: "a web page came instead of an archive: is there a proxy, or a page to log in to, in between?", final: true}
	}
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.have)) || d.have == 0 {
			return &NetworkError{From: d.url, Problem: fmt.Sprintf("bytes from %d were asked for, and %q came", d.have, resp.Header.Get("Content-Range")), final: true}
		}
	} else if err := d.restart(); err != nil {
		return err
	}
	if all := d.have + resp.ContentLength; d.size > 0 && resp.ContentLength >= 0 && all != d.size {
		return &ChecksumError{d.url, fmt.Sprintf("it has %d bytes, not %d", all, d.size)}
	}
	d.etag = resp.Header.Get("ETag")
	if strings.HasPrefix(d.etag, "W/") {
		d.etag = ""
	}
	return nil
}

// statusError turns a status other than success into an error.
func statusError(from string, resp *http.Response) error {
	switch s := resp.StatusCode; {
	case s == http.StatusOK, s == http.StatusPartialContent:
		return nil
	case s == http.StatusNotFound:
		return &NetworkError{From: from, Problem: "there is nothing at this address (404)", final: true}
	case s == http.StatusTooManyRequests, s == http.StatusForbidden && resp.Header.Get("X-Ratelimit-Remaining") == "0":
		return &NetworkError{From: from, Problem: "too many requests came from this address; try again in an hour, or download the archive by hand", final: true}
	case s >= 500, s == http.StatusRequestTimeout:
		return &NetworkError{From: from, Problem: resp.Status}
	default:
		return &NetworkError{From: from, Problem: resp.Status, final: true}
	}
}

// read appends to the file; each byte that comes winds the watch up again.
func (d *download) read(body io.Reader, watch *time.Timer) error {
	buf := make([]byte, 1<<18)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			watch.Reset(stallAfter)
			if d.have+int64(n) > d.limit {
				return &ChecksumError{d.url, fmt.Sprintf("it has more than %d bytes", d.limit)}
			}
			if _, err := d.file.Write(buf[:n]); err != nil {
				return err
			}
			d.hash.Write(buf[:n])
			d.have += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// isLocal recognises errors of this machine's file system.
func isLocal(err error) bool {
	var p *os.PathError
	return errors.As(err, &p)
}

// broken is an error on the way, unless the caller gave up.
func (d *download) broken(ctx context.Context, problem string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text repeats the address
	}
	return &NetworkError{From: d.url, Problem: problem, Err: err}
}

// fetchURL downloads an archive from an address of the user's.
func (in *installer) fetchURL(ctx context.Context) ([]part, error) {
	in.say("downloading %s", in.URL)
	file, err := in.download(ctx, remote{url: in.URL, sha256: &in.SHA256})
	if err != nil {
		return nil, err
	}
	return []part{{file, libraries.Source{From: in.URL, SHA256: in.SHA256, Pinned: isPinned(in.SHA256)}}}, nil
}

// download puts a file into the stage, under the last element of its address.
func (in *installer) download(ctx context.Context, want remote) (string, error) {
	dir, err := os.MkdirTemp(in.stage, "download")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "archive")
	if base := path.Base(want.url); models.ValidName(strings.ToLower(base)) == nil {
		file = filepath.Join(dir, base)
	}
	return file, get(ctx, client(), want, file)
}
