package main

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/internal/platform"
	"cubby/internal/platform/localplatform"
	"cubby/models/importer"
)

// What can go wrong on the way has its exit code and says what to do; what came
// is kept, and the same command succeeds when the fault is gone.
func TestPullFaults(t *testing.T) {
	const part = 10 << 20
	for _, row := range []struct {
		name   string
		faults []localplatform.Fault
		code   int
		says   string
		resume bool // what came before the fault is not asked for again
	}{
		{"the connection is cut", []localplatform.Fault{{Route: "GET /s3/demo/gguf.tar", Times: 1}, {Route: "GET /s3/demo/gguf.tar", Times: 1, CutAfter: part}}, exitOK, "trying again", false},
		{"the file is refused in the middle", []localplatform.Fault{
			{Route: "GET /s3/demo/gguf.tar", Times: 1}, {Route: "GET /s3/demo/gguf.tar", Times: 1, CutAfter: part}, {Route: "GET /s3/demo/gguf.tar", Status: 403}}, exitAuth, "log in again", true},
		{"the file is withdrawn in the middle", []localplatform.Fault{
			{Route: "GET /s3/demo/gguf.tar", Times: 1}, {Route: "GET /s3/demo/gguf.tar", Times: 1, CutAfter: part}, {Route: "GET /s3/demo/gguf.tar", Status: 404}}, exitNetwork, "there is nothing at this address", true},
		{"the file is refused", []localplatform.Fault{{Route: "GET /s3/", Status: 403}}, exitAuth, "access is refused at the address that the platform gives (HTTP 403); log in again: fetch login", false},
		{"the file is withdrawn", []localplatform.Fault{{Route: "GET /s3/", Status: 404}}, exitNetwork, "may have been withdrawn: see fetch list", false},
		{"the file is not to be had", []localplatform.Fault{{Route: "GET /s3/", Status: 418}}, exitNetwork, "the server answers HTTP 418; wait some minutes", false},
		{"the package is not ready", []localplatform.Fault{{Route: "GET /slms/", Times: 1}, {Route: "GET /slms/", Status: 409}}, exitFailure, "wait until fetch list shows success", false},
		{"there is no credit", []localplatform.Fault{{Route: "GET /slms/", Times: 1}, {Route: "GET /slms/", Status: 402}}, exitFailure, "see the balance", false},
		{"the login is refused", []localplatform.Fault{{Route: "GET /slms", Status: 401}}, exitAuth, "tokens live about an hour", false},
		{"the route is gone", []localplatform.Fault{{Route: "GET /", Status: 410}}, exitFailure, "this version of fetch is too old for the platform: update it", false},
		{"a page comes instead", []localplatform.Fault{{Route: "GET /s3/", Body: "<!doctype html><p>Sign in"}}, exitNetwork, "a web page or an error document came instead", false},
		{"another file comes instead", []localplatform.Fault{{Route: "GET /s3/demo/gguf.tar", Body: "no tar at all", Header: http.Header{"Etag": {`"x"`}}}}, exitArchive, "it was removed: run the same command again", false},
		{"the header of the tar is damaged", []localplatform.Fault{{Route: "GET /s3/demo/gguf.tar", FlipAt: 20}}, exitArchive, "it was removed: run the same command again", false},
		{"the weights are damaged", []localplatform.Fault{{Route: "GET /s3/demo/gguf.tar", FlipAt: 512}}, exitFailure, "-again downloads anew", false},
		{"the job description cannot be had", []localplatform.Fault{{Route: "GET /s3/demo/job_description.json", Status: 404}}, exitOK, "", false},
		{"there is no metadata", []localplatform.Fault{{Route: "GET /slms/", Times: 2}, {Route: "GET /slms/", Times: 1, Status: 404}}, exitOK, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var sizes counting
			p := newPulling(t, localplatform.Options{Packages: demoPackages(t)}, sizes.wrap)
			for _, f := range row.faults {
				p.platform.Break(f)
			}
			args := []string{"pull", p.platform.Models()[0].ID, "-as", "sorted"}
			p.want(row.code, "", row.says, args...)
			if row.code == exitOK {
				p.whole("sorted")
				return
			}
			if err := p.store.Verify("sorted"); err == nil {
				t.Error("it was installed nevertheless")
			}
			p.platform.Heal()
			sizes.reset()
			if strings.Contains(row.says, "-again") {
				p.want(row.code, "", row.says, args...)
				args = append(args, "-again")
			}
			p.want(exitOK, "installed sorted", "", args...)
			p.whole("sorted")
			if row.resume && sizes.tar() > 20<<20 {
				t.Errorf("%d bytes of the tar were served afterwards", sizes.tar())
			}
		})
	}
}

// counting counts the bytes of the tar.
type counting struct {
	mu sync.Mutex
	n  int64
}

func (c *counting) reset()     { c.mu.Lock(); c.n = 0; c.mu.Unlock() }
func (c *counting) tar() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func (c *counting) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(countingWriter{w, c, strings.HasSuffix(r.URL.Path, ".tar")}, r)
	})
}

type countingWriter struct {
	http.ResponseWriter
	c   *counting
	tar bool
}

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	if w.tar {
		w.c.mu.Lock()
		w.c.n += int64(n)
		w.c.mu.Unlock()
	}
	return n, err
}

// Flush lets a fault end a body where it means to.
func (w countingWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// An address that expires while bytes come is renewed, and the rest comes from the
// new one; where the login has expired with it, after the next.
func TestPullExpires(t *testing.T) {
	for name, row := range map[string]struct {
		passes time.Duration
		code   int
		says   string
	}{
		"the address":           {20 * time.Minute, exitOK, "the address expired; going on with another one at"},
		"the address and login": {2 * time.Hour, exitAuth, "another one could not be had"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			now, tars := time.Now(), 0
			clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
			p := newPulling(t, localplatform.Options{Packages: demoPackages(t), Now: clock, LinkLifetime: 10 * time.Minute}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, ".tar") {
						mu.Lock()
						if tars++; tars == 3 { // behind one byte, and a part
							now = now.Add(row.passes)
						}
						mu.Unlock()
					}
					h.ServeHTTP(w, r)
				})
			})
			p.platform.Break(localplatform.Fault{Route: "GET /s3/demo/gguf.tar", Times: 1})
			p.platform.Break(localplatform.Fault{Route: "GET /s3/demo/gguf.tar", Times: 1, CutAfter: 10 << 20})
			args := []string{"pull", p.platform.Models()[0].ID, "-as", "sorted"}
			p.want(row.code, "", row.says, args...)
			if row.code != exitOK {
				t.Setenv(platform.TokenVariable, p.platform.Token())
				p.want(exitOK, "installed sorted", "going on at", args...)
			}
			p.whole("sorted")
		})
	}
}

// A model that has no package yet is refused with its status; models without a
// name, with one that is no name here, and with one that is taken get one.
func TestPullNamesAndStatuses(t *testing.T) {
	p := newPulling(t, localplatform.Options{Packages: demoPackages(t), Era: localplatform.Models}, nil)
	for status, says := range map[string]string{
		"JOB_NOT_STARTED": "its training has not begun (status not_started)", "JOB_PENDING": "status pending); wait until",
		"JOB_RUNNING": "status running); wait until fetch list shows success", "JOB_FAILURE": "ended with the status failure", "JOB_STOPPED": "ended with the status stopped",
	} {
		m := p.platform.Add("young-"+status, status, time.Now())
		p.want(exitFailure, "", says, "pull", m.Name)
	}
	if left := p.staging(); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
	// The tar has its own job description.
	p.want(exitOK, "installed demo-gguf: 2 labels", "", "pull", "demo-gguf")
	p.want(exitOK, "demo-gguf is installed already", "", "pull", "demo-gguf")
	p.want(exitOK, "installed second: 2 labels", "", "pull", "demo-gguf", "-as", "second")
	p.want(exitOK, "installed demo-gguf: 2 labels", "", "pull", "demo-gguf", "-again")
	p.want(exitFailure, "", "nothing under that name", "pull", "nosuch")
	if _, err := p.store.Remove("demo-gguf"); err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(t.TempDir(), "own.tar")
	writePackage(t, tar)
	if _, err := importer.Import(t.Context(), p.store, importer.Options{Path: tar, Name: "demo-gguf"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.Remove("second"); err != nil {
		t.Fatal(err)
	}
	p.want(exitFailure, "", "another model named demo-gguf; choose a name: fetch pull", "pull", "demo-gguf")
	p.whole("demo-gguf")

	p = newPulling(t, localplatform.Options{Packages: demoPackages(t)}, nil)
	id := p.platform.Models()[0].ID
	p.want(exitOK, "installed slm-"+id[:8]+": 2 labels", "", "pull", id[:8])
	p.whole("slm-" + id[:8])
}

// Another version on the platform takes the name.
func TestPullNewVersion(t *testing.T) {
	packages := demoPackages(t)
	p := newPulling(t, localplatform.Options{Packages: packages}, nil)
	id := p.platform.Models()[0].ID
	p.want(exitOK, "installed a:", "", "pull", id, "-as", "a")
	writePackage(t, filepath.Join(packages, "demo", "gguf.tar"))
	p.want(exitOK, "installed a:", "", "pull", id, "-as", "a")
	p.want(exitOK, "is installed already", "", "pull", id, "-as", "a")
	p.whole("a")
}

// A family that no engine here runs has an exit code of its own, and what came of it
// is kept for the day when there is one.
func TestPullUnsupported(t *testing.T) {
	packages := demoPackages(t)
	tar := filepath.Join(packages, "demo", "gguf.tar")
	data, err := os.ReadFile(tar)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("general.architecture")
	at := bytes.Index(data, key) + len(key) + 4 // behind the type
	n := int(binary.LittleEndian.Uint64(data[at:]))
	copy(data[at+8:at+8+n], strings.Repeat("x", n))
	if err := os.WriteFile(tar, data, 0o644); err != nil {
		t.Fatal(err)
	}
	p := newPulling(t, localplatform.Options{Packages: packages}, nil)
	args := []string{"pull", p.platform.Models()[0].ID, "-as", "sorted"}
	p.want(exitUnsupported, "", "fetch runtime", args...)
	p.want(exitUnsupported, "", "is not supported by the native engine", args...)
	tars := 0
	for _, r := range p.platform.Requests() {
		if strings.HasSuffix(r, ".tar") {
			tars++
		}
	}
	if tars != 4 { // each asks for one byte, then for the rest
		t.Errorf("the tar was asked for %d times", tars)
	}
}
