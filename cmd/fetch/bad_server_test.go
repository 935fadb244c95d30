package main

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"cubby/internal/platform/localplatform"
)

// badServer is a way to answer a request for the package wrongly. It reports whether
// that was the answer; if not, the platform answers what the request and the header
// have been made.
type badServer func(w http.ResponseWriter, r *http.Request, pack []byte) bool

// badServers are seventeen, from the first bytes of the package on or behind a part of
// it; what happens once is got over.
var badServers = []struct {
	name   string
	behind bool // a part of the package has come before
	once   bool
	bad    badServer
	code   int
	says   string
}{
	{"200 for a part", true, true, func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		r.Header.Del("Range")
		r.Header.Del("If-Range")
		return false
	}, exitOK, "starting over: the server sends the whole file again"},
	{"short", false, true, func(w http.ResponseWriter, _ *http.Request, pack []byte) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(pack)))
		_, _ = w.Write(pack[:2<<20])
		return true
	}, exitOK, "the connection broke"},
	{"long", false, false, func(w http.ResponseWriter, _ *http.Request, pack []byte) bool {
		_ = http.NewResponseController(w).Flush() // no Content-Length
		_, _ = w.Write(pack)
		_, _ = w.Write([]byte("more"))
		return true
	}, exitChecksum, "more came than the"},
	{"another ETag", true, false, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("ETag", `"another"`)
		return false
	}, exitOK, "starting over: the server sends the whole file again"},
	{"another ETag, and If-Range is ignored", true, false, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		w.Header().Set("ETag", `"another"`)
		r.Header.Del("If-Range")
		return false
	}, exitOK, "starting over: the file changed on the server"},
	{"a web page", false, false, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte("<!DOCTYPE html><title>Sign in</title>"))
		return true
	}, exitNetwork, "a web page or an error document came instead"},
	{"an error document", false, false, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>`))
		return true
	}, exitNetwork, "a web page or an error document came instead"},
	{"other bytes", false, false, func(w http.ResponseWriter, _ *http.Request, pack []byte) bool {
		w.Header().Set("Content-Length", strconv.Itoa(len(pack)))
		_, _ = w.Write(make([]byte, 512)) // the platform publishes no digest: the archive tells
		_, _ = w.Write(pack[512:])
		return true
	}, exitArchive, "it was removed: run the same command again"},
	{"a redirect loop", false, false, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
		return true
	}, exitNetwork, "more than 5 redirects"},
	{"a redirect to plain http", false, false, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		http.Redirect(w, r, "http://models.invalid/model.tar", http.StatusFound)
		return true
	}, exitNetwork, "which is not https"},
	{"another range", true, true, func(w http.ResponseWriter, _ *http.Request, pack []byte) bool {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-99/%d", len(pack)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(pack[:100])
		return true
	}, exitOK, "trying again"},
	{"416 although bytes are missing", true, true, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return true
	}, exitOK, "starting over: the file changed on the server"},
	{"503", false, true, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}, exitOK, "503 Service Unavailable"},
	{"429", false, true, func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}, exitOK, "429 Too Many Requests"},
	{"compressed", false, false, func(w http.ResponseWriter, _ *http.Request, pack []byte) bool {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(pack[:1<<20])
		_ = z.Close()
		return true
	}, exitNetwork, "which was not asked for"},
	{"no answer", false, true, func(http.ResponseWriter, *http.Request, []byte) bool {
		panic(http.ErrAbortHandler)
	}, exitOK, "trying again"},
	{"a stall", false, true, stalls, exitOK, "no byte came for 30s"},
}

func stalls(w http.ResponseWriter, r *http.Request, pack []byte) bool {
	w.Header().Set("Content-Length", strconv.Itoa(len(pack)))
	_, _ = w.Write(pack[:2<<20])
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

// Whatever the server does, pull says what and ends with the code for it, installs
// nothing wrong, and succeeds when the server does well.
func TestPullFromBadServers(t *testing.T) {
	packages := demoPackages(t)
	pack, err := os.ReadFile(filepath.Join(packages, "demo", "gguf.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range badServers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if row.says == "no byte came for 30s" && testing.Short() {
				t.Skip("waits half a minute: not in short mode")
			}
			var asked atomic.Int64
			var healed atomic.Bool
			p := openPulling(t, localplatform.Options{Packages: packages}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					first := int64(2) // behind one byte
					if row.behind {
						first = 3
					}
					if strings.HasSuffix(r.URL.Path, ".tar") && !healed.Load() {
						if n := asked.Add(1); (n == first || n > first && !row.once) && row.bad(w, r, pack) {
							return
						}
					}
					h.ServeHTTP(w, r)
				})
			})
			if row.behind {
				p.platform.Break(localplatform.Fault{Route: "GET /s3/demo/gguf.tar", Times: 1})
				p.platform.Break(localplatform.Fault{Route: "GET /s3/demo/gguf.tar", Times: 1, CutAfter: 10 << 20})
			}
			args := []string{"pull", p.platform.Models()[0].ID, "-as", "sorted"}
			p.wantChild(row.code, "", row.says, args...)
			if row.code != exitOK {
				if err := p.store.Verify("sorted"); err == nil {
					t.Error("it was installed nevertheless")
				}
				healed.Store(true)
				p.wantChild(exitOK, "installed sorted", "", args...)
			}
			p.whole("sorted")
		})
	}
	if len(badServers) != 17 {
		t.Errorf("%d ways to be a bad server", len(badServers))
	}
}
