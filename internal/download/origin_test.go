package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/models"
)

// secret is in every address and header of the tests, and must be in no text.
const secret = "s3cr3t-0f-th3-t3sts"

// content is a file that looks like a model and like nothing else.
func content(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	copy(b, "GGUF")
	return b
}

// origin is a server with one file. fault, where it is set, sees each request first,
// with its number from 1, and reports whether it has answered.
type origin struct {
	*httptest.Server
	data  []byte
	etag  string
	fault func(n int, w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []*http.Request
}

func newOrigin(t *testing.T, data []byte) *origin {
	o := &origin{data: data, etag: `"one"`}
	o.Server = httptest.NewUnstartedServer(o)
	o.Config.ErrorLog = log.New(io.Discard, "", 0) // some faults are against the rules
	o.Start()
	t.Cleanup(o.Close)
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.seen = append(o.seen, r)
	n, fault := len(o.seen), o.fault
	o.mu.Unlock()
	if fault == nil || !fault(n, w, r) {
		o.serve(w, r)
	}
}

// behave changes the fault, and forgets what was asked.
func (o *origin) behave(fault func(n int, w http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen, o.fault = nil, fault
}

// serve answers as a good server does.
func (o *origin) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
}

// cut answers well and breaks off after n bytes.
func (o *origin) cut(w http.ResponseWriter, r *http.Request, n int) {
	o.serve(&cutting{ResponseWriter: w, left: n}, r)
	panic(http.ErrAbortHandler)
}

type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	n, _ := c.ResponseWriter.Write(b[:c.left])
	c.left = 0
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	return n, errors.New("cut")
}

func (o *origin) address() string { return o.URL + "/models/m.gguf?X-Amz-Signature=" + secret }

func (o *origin) file() File {
	return File{
		Name:   "m.gguf",
		URL:    o.address(),
		Header: http.Header{"Authorization": {"Bearer " + secret}, "X-Api-Key": {secret}},
		Size:   int64(len(o.data)),
		SHA256: models.DigestOf(o.data),
	}
}

func (o *origin) requests() []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

// ranges lists what was asked for.
func (o *origin) ranges() []string {
	var all []string
	for _, r := range o.requests() {
		all = append(all, r.Header.Get("Range"))
	}
	return all
}

// events collects progress.
type events []Event

func (e *events) Report(v Event) { *e = append(*e, v) }

func (e events) count(k EventKind) (n int) {
	for _, v := range e {
		if v.Kind == k {
			n++
		}
	}
	return n
}

func (e events) first(k EventKind) Event {
	for _, v := range e {
		if v.Kind == k {
			return v
		}
	}
	return Event{}
}

// quick are limits that make no test wait.
func quick() *limits {
	l := defaults
	l.firstWait, l.mostWait, l.maxRetryAfter = time.Millisecond, 5*time.Millisecond, 20*time.Millisecond
	l.markEvery, l.syncEvery = 4<<10, 1<<20
	return &l
}

// onDisk is how much of a file lies in a folder's longest partial.
func onDisk(dir string) (most int64) {
	found, _ := filepath.Glob(filepath.Join(dir, ".*"+partialTag+"*", dataName))
	for _, name := range found {
		if info, err := os.Stat(name); err == nil {
			most = max(most, info.Size())
		}
	}
	return most
}

func fetch(t *testing.T, dir string, files ...File) (events, []models.File, error) {
	t.Helper()
	return fetchWith(t, &Downloader{limits: quick(), Stall: time.Minute}, dir, files...)
}

// fetchWith downloads, and holds what must hold whatever happens: no secret in a
// text, advice in an error, events in order.
func fetchWith(t *testing.T, d *Downloader, dir string, files ...File) (events, []models.File, error) {
	t.Helper()
	var ev events
	var text bytes.Buffer
	shown := []Renderer{NewLines(&text), NewJSON(&text), NewBar(&text)}
	d.Progress = tee(append([]Progress{&ev}, shown[0], shown[1], shown[2]))
	got, err := d.Fetch(t.Context(), dir, files)
	for _, r := range shown {
		if err := r.Close(); err != nil {
			t.Errorf("closing the progress: %v", err)
		}
	}
	var own *Error
	if err != nil && !errors.As(err, &own) && !errors.Is(err, context.Canceled) {
		t.Errorf("%T is no *Error: %v", err, err)
	}
	if own != nil && (own.Advice == "" || own.Kind == 0) {
		t.Errorf("no advice or kind: %#v", own)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if h, ok := e.(hidden); ok {
			text.WriteString(h.Error())
			break // its cause is for errors.Is
		}
		text.WriteString(e.Error())
	}
	if strings.Contains(text.String(), secret) {
		t.Errorf("a secret is shown:\n%s", text.String())
	}
	return ev, got, err
}

type tee []Progress

func (t tee) Report(e Event) {
	for _, p := range t {
		p.Report(e)
	}
}

// names lists a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// wantOnly fails unless the folder holds that file, and nothing else.
func wantOnly(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: %d bytes, %v, which are not the %d expected ones", name, len(got), err, len(data))
	}
	all := names(t, dir)
	if len(all) == 2 { // the record of a file whose digest was unknown
		inside := names(t, filepath.Join(dir, all[0]))
		if o, ok := parseOwner(strings.TrimPrefix(all[0], "."+name+partialTag)); ok && o.gone() && slices.Equal(inside, []string{recordName}) {
			all = all[1:]
		}
	}
	if !slices.Equal(all, []string{name}) {
		t.Errorf("the folder holds %q", all)
	}
}

// wantAbsent fails if the file has its name, or its partial is there without a use.
func wantAbsent(t *testing.T, dir string) {
	t.Helper()
	for _, name := range names(t, dir) {
		o, ok := parseOwner(strings.TrimPrefix(name, ".m.gguf"+partialTag))
		if !ok || !o.gone() {
			t.Errorf("%s is left behind", name)
		}
	}
}

// half prepares a folder in which an earlier call has left the first half, as it
// would be found by another process.
func half(t *testing.T, dir string, o *origin, f File) int64 {
	t.Helper()
	n := len(o.data) / 2
	old := o.fault
	o.behave(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			o.cut(w, r, n)
		}
		w.WriteHeader(http.StatusBadRequest)
		return true
	})
	_, _, err := fetch(t, dir, f)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Network {
		t.Fatalf("the half was prepared with %v", err)
	}
	o.behave(old)
	left := leftovers(filepath.Join(dir, f.Name))
	if len(left) != 1 || !left[0].gone || left[0].size == 0 || left[0].size > int64(n) {
		t.Fatalf("left behind: %+v", left)
	}
	return left[0].size
}

func rangeFrom(n int64) string { return fmt.Sprintf("bytes=%d-", n) }

func newTLS(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
