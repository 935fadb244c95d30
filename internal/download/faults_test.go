package download

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/models"
)

const fileSize = 300 << 10

// run is what a row of the table looks at.
type run struct {
	o      *origin
	half   int64 // bytes that were there
	events events
}

// faults are what servers, and what stands between, do. After each the folder is
// as before or holds the file, and once the server behaves the same call succeeds.
var faults = []struct {
	name    string
	resumed bool // a half is there
	file    func(*File)
	fault   func(o *origin) func(n int, w http.ResponseWriter, r *http.Request) bool
	kind    Kind // 0: it succeeds
	says    string
	then    func(t *testing.T, r run)
}{
	{name: "all is well", then: asked("")},
	{name: "nothing is known of the file", file: unknown, then: asked("")},
	{name: "a half is there", resumed: true, then: func(t *testing.T, r run) {
		asked(rangeFrom(r.half))(t, r)
		req := r.o.requests()[0]
		if got := req.Header.Get("If-Range"); got != `"one"` {
			t.Errorf("If-Range %q", got)
		}
		if got := r.events.first(Resumed).Have; got != r.half {
			t.Errorf("resumed at %d, not at %d", got, r.half)
		}
	}},
	{name: "a half is there, and nothing is known of the file", resumed: true, file: unknown, then: func(t *testing.T, r run) {
		asked(rangeFrom(r.half))(t, r)
	}},
	{name: "200 for 206", resumed: true, fault: each(func(o *origin, w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		o.serve(w, r)
	}), then: restarted(1)},
	{name: "short body", fault: first(func(o *origin, w http.ResponseWriter, r *http.Request) { o.cut(w, r, 100<<10) }),
		then: func(t *testing.T, r run) { asked("", rangeFrom(100<<10))(t, r) }},
	{name: "short body in chunks, of a known size", fault: first(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", o.etag)
		_, _ = w.Write(o.data[:100<<10])
		_ = http.NewResponseController(w).Flush()
	}), then: func(t *testing.T, r run) { asked("", rangeFrom(100<<10))(t, r) }},
	{name: "long body", fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush() // no Content-Length
		_, _ = w.Write(append(slices.Clone(o.data), "more"...))
	}), kind: Checksum, says: "more came than the 307200 bytes", then: func(t *testing.T, r run) { tries(2)(t, r); nothingLeft(t, r) }},
	{name: "more than allowed", file: func(f *File) { unknown(f); f.Limit = 1000 }, fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(o.data)
	}), kind: Checksum, says: "more than the 1000 bytes that are allowed", then: nothingLeft},
	{name: "another size than published", fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write(o.data[:5])
	}), kind: Checksum, says: "the server has 5 bytes of it, not the 307200 that were published", then: tries(2)},
	{name: "another size than published, and a half is kept", resumed: true, fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write(o.data[:5])
	}), kind: Checksum, says: "the server has 5 bytes", then: stillHalf},
	{name: "wrong Content-Range once", resumed: true, fault: first(wrongRange), then: func(t *testing.T, r run) {
		asked(rangeFrom(r.half), rangeFrom(r.half))(t, r)
	}},
	{name: "wrong Content-Range always", resumed: true, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				wrongRange(o, w, r)
				return true
			}
			return false
		}
	}, then: func(t *testing.T, r run) { asked(rangeFrom(r.half), rangeFrom(r.half), "")(t, r) }},
	{name: "Content-Range without a size", resumed: true, fault: first(func(o *origin, w http.ResponseWriter, r *http.Request) {
		at := offset(r)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", at, len(o.data)-1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.data[at:])
	}), then: tries(1)},
	{name: "206 for no range", fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.data)
	}), kind: Network, says: "206 Partial Content"},
	{name: "changed ETag between tries", resumed: true, file: unknown, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		o.etag, o.data = `"two"`, content(fileSize+1, 2)
		return nil
	}, then: restarted(1)},
	{name: "changed ETag, and If-Range is ignored", resumed: true, file: unknown, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		o.etag, o.data = `"two"`, content(fileSize, 2)
		return func(_ int, _ http.ResponseWriter, r *http.Request) bool { r.Header.Del("If-Range"); return false }
	}, then: func(t *testing.T, r run) { asked(rangeFrom(r.half), "")(t, r); restarted(1)(t, r) }},
	{name: "a file that keeps changing", file: unknown, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, r *http.Request) bool {
			o.etag = strconv.Quote(fmt.Sprint(n))
			o.cut(w, r, 50<<10)
			return true
		}
	}, kind: Network, says: "the file keeps changing on the server"},
	{name: "weak ETag, digest known", fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		o.etag = `W/"weak"`
		return first(func(o *origin, w http.ResponseWriter, r *http.Request) { o.cut(w, r, 100<<10) })(o)
	}, then: func(t *testing.T, r run) {
		asked("", rangeFrom(100<<10))(t, r)
		if got := r.o.requests()[1].Header.Get("If-Range"); got != "" {
			t.Errorf("If-Range %q", got)
		}
	}},
	{name: "weak ETag, digest unknown", file: unknown, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		o.etag = `W/"weak"`
		return first(func(o *origin, w http.ResponseWriter, r *http.Request) { o.cut(w, r, 100<<10) })(o)
	}, then: asked("", "")},
	{name: "HTML with 200", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(bytes.Repeat([]byte("Please log in. "), 10000))
	}), kind: Network, says: "a web page or an error document came instead of the file; open the address in a browser", then: func(t *testing.T, r run) { tries(1)(t, r); unwritten(t, r) }},
	{name: "HTML that claims to be bytes", resumed: true, fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte("\ufeff\r\n <!DOCTYPE HTML><title>Portal</title>"))
	}), kind: Network, says: "a web page or an error document", then: stillHalf, file: func(f *File) { f.Size = 0 }},
	{name: "an error document in XML", file: unknown, fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`))
	}), kind: Network, says: "a web page or an error document", then: unwritten},
	{name: "wrong hash", fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		bad := slices.Clone(o.data)
		bad[len(bad)-1]++
		_, _ = w.Write(bad)
	}), kind: Checksum, says: "its SHA-256 is ", then: func(t *testing.T, r run) { tries(2)(t, r); nothingLeft(t, r); restarted(1)(t, r) }},
	{name: "wrong hash once", fault: first(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, len(o.data)))
	}), then: tries(2)},
	{name: "redirect loop", fault: each(func(_ *origin, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
	}), kind: Network, says: "more than 5 redirects", then: tries(6)},
	{name: "redirect to http", fault: each(func(_ *origin, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://models.invalid/m.gguf?sig="+secret, http.StatusFound)
	}), kind: Network, says: "it redirects to http://models.invalid/m.gguf, which is not https", then: tries(1)},
	{name: "redirect without an address", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusFound)
	}), kind: Network, says: "302 Found"},
	{name: "503 with Retry-After, then well", fault: first(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}), then: func(t *testing.T, r run) {
		asked("", "")(t, r)
		e := r.events.first(Retrying)
		if e.Wait < 20*time.Millisecond || e.Wait > 30*time.Millisecond || !strings.Contains(e.Reason, "503 Service Unavailable") {
			t.Errorf("retried with %+v", e)
		}
	}},
	{name: "503 always", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}), kind: Network, says: "the server answers 503 Service Unavailable; wait some minutes", then: tries(8)},
	{name: "429", fault: first(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	}), then: func(t *testing.T, r run) {
		if e := r.events.first(Retrying); e.Wait < 20*time.Millisecond {
			t.Errorf("retried with %+v", e)
		}
	}},
	{name: "429 always", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
	}), kind: Network, says: "too many requests came from here: wait some minutes", then: tries(8)},
	{name: "408", fault: first(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestTimeout)
	}), then: tries(2)},
	{name: "400", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
	}), kind: Network, says: "400 Bad Request; check the address", then: tries(1)},
	{name: "401", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}), kind: Auth, says: "the server refuses access (401 Unauthorized); check the token", then: tries(1)},
	{name: "404", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
	}), kind: Network, says: "there is nothing at this address (404 Not Found); check the name", then: tries(1)},
	{name: "407", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}), kind: Network, says: "the proxy demands a login", then: tries(1)},
	{name: "410", resumed: true, fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGone)
	}), kind: Network, says: "there is nothing at this address (410 Gone)", then: func(t *testing.T, r run) { tries(1)(t, r); stillHalf(t, r) }},
	{name: "204", fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}), kind: Network, says: "204 No Content", then: tries(1)},
	{name: "cut at random offsets, many times", fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n <= 40 {
				o.cut(w, r, 1+rand.N(14<<10))
			}
			return false
		}
	}, then: func(t *testing.T, r run) {
		var last int64
		for _, q := range r.o.requests()[1:] {
			if at := offset(q); at < last {
				t.Errorf("asked for %d after %d", at, last)
			} else {
				last = at
			}
		}
	}},
	{name: "cut before a byte, always", fault: each(func(o *origin, w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }),
		kind: Network, says: "the connection broke: EOF; check the network", then: tries(8)},
	{name: "cut at one place by a server without ranges", fault: each(func(o *origin, w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		o.cut(w, r, 100<<10)
	}), kind: Network, says: "the connection broke after 100 KiB", then: tries(8)},
	{name: "gzip that nobody asked for", fault: each(func(o *origin, w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			panic("asked for " + got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(o.data)
		_ = z.Close()
	}), kind: Network, says: `packed as "gzip", which was not asked for`, then: unwritten},
	{name: "416 because nothing is missing", resumed: true, file: unknown, fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, r *http.Request) bool {
			o.data = o.data[:offset(r)]
			return false
		}
	}, kind: 0, then: restarted(1)}, // its record says that more is missing: another version
	{name: "416 for nothing", resumed: true, fault: first(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	}), then: func(t *testing.T, r run) { asked(rangeFrom(r.half), "")(t, r); restarted(1)(t, r) }},
	{name: "Content-Length lies, less comes", fault: each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		_, _ = w.Write(o.data[:1000])
	}), kind: Network, says: "the connection broke after 1000 B: unexpected EOF", then: tries(8)},
	{name: "Content-Length lies about the rest", resumed: true, fault: first(func(o *origin, w http.ResponseWriter, r *http.Request) {
		at := offset(r)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(o.data)-1, len(o.data)))
		w.Header().Set("Content-Length", "7")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.data[at : at+7])
	}), then: tries(2)},
	{name: "slow drip", fault: func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		o.data = o.data[:600]
		return each(func(o *origin, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "600")
			for i := range o.data {
				_, _ = w.Write(o.data[i : i+1])
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		})(o)
	}, file: unknown, then: tries(1)},
	{name: "expired in the middle, without renewal", resumed: true, fault: each(func(_ *origin, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}), kind: Auth, says: "the server refuses access (403 Forbidden)", then: stillHalf},
}

func TestFaults(t *testing.T) {
	for _, row := range faults {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, content(fileSize, 1))
			dir := t.TempDir()
			f := o.file()
			if row.file != nil {
				row.file(&f)
			}
			r := run{o: o}
			if row.resumed {
				r.half = half(t, dir, o, f)
			}
			if row.fault != nil {
				o.behave(row.fault(o))
			}
			ev, got, err := fetch(t, dir, f)
			r.events = ev
			var e *Error
			switch {
			case row.kind == 0 && err != nil:
				t.Fatal(err)
			case row.kind == 0:
				wantOnly(t, dir, f.Name, o.data)
				if want := (models.File{Path: f.Name, Size: int64(len(o.data)), SHA256: models.DigestOf(o.data)}); len(got) != 1 || got[0] != want {
					t.Errorf("returned %+v", got)
				}
				if ev[len(ev)-1].Kind != Done || ev.count(Done) != 1 {
					t.Errorf("the last event is %+v", ev[len(ev)-1])
				}
			case !errors.As(err, &e) || e.Kind != row.kind || !strings.Contains(err.Error(), row.says):
				t.Fatalf("kind %d and %q are wanted, got %v", row.kind, row.says, err)
			default:
				wantAbsent(t, dir)
			}
			if row.then != nil {
				row.then(t, r)
			}
			o.behave(nil)
			f.Limit = 0
			if _, _, err := fetch(t, dir, f); err != nil {
				t.Errorf("the server is well again, and: %v", err)
			}
			wantOnly(t, dir, f.Name, o.data)
		})
	}
}

func unknown(f *File) { f.Size, f.SHA256 = -1, models.Digest{} }

// each answers every request so, and first the first one only.
func each(answer func(*origin, http.ResponseWriter, *http.Request)) func(*origin) func(int, http.ResponseWriter, *http.Request) bool {
	return func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, r *http.Request) bool { answer(o, w, r); return true }
	}
}

func first(answer func(*origin, http.ResponseWriter, *http.Request)) func(*origin) func(int, http.ResponseWriter, *http.Request) bool {
	return func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
		return func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 {
				answer(o, w, r)
			}
			return n == 1
		}
	}
}

func wrongRange(o *origin, w http.ResponseWriter, r *http.Request) {
	at := offset(r) - 1
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(o.data)-1, len(o.data)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(o.data[at:])
}

func offset(r *http.Request) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"), 10, 64)
	return n
}

// What a row may look at afterwards.

func asked(ranges ...string) func(*testing.T, run) {
	return func(t *testing.T, r run) {
		t.Helper()
		if got := r.o.ranges(); !slices.Equal(got, ranges) {
			t.Errorf("asked for %q, not for %q", got, ranges)
		}
	}
}

func tries(n int) func(*testing.T, run) {
	return func(t *testing.T, r run) {
		t.Helper()
		if got := len(r.o.requests()); got != n {
			t.Errorf("%d requests, not %d: %q", got, n, r.o.ranges())
		}
	}
}

func restarted(n int) func(*testing.T, run) {
	return func(t *testing.T, r run) {
		t.Helper()
		if got := r.events.count(Restarted); got != n {
			t.Errorf("started over %d times, not %d", got, n)
		}
	}
}

func unwritten(t *testing.T, r run) {
	t.Helper()
	if n := r.events.count(Received); n != 0 {
		t.Errorf("%d pieces were written", n)
	}
}

func nothingLeft(t *testing.T, r run) {
	t.Helper()
	if e := r.events[len(r.events)-1]; e.Kind == Done {
		t.Errorf("done: %+v", e)
	}
}

func stillHalf(t *testing.T, r run) {
	t.Helper()
	if n := r.events.count(Received) + r.events.count(Restarted); n != 0 {
		t.Errorf("the half was not kept: %+v", r.events)
	}
}

func TestStall(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	end := make(chan struct{})
	defer close(end)
	o.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch n {
		case 1: // no answer
			<-end
		case 2: // no more bytes
			o.serve(&cutting{ResponseWriter: w, left: 10 << 10}, r)
			<-end
		}
		return false
	}
	dir := t.TempDir()
	ev, _, err := fetchWith(t, &Downloader{limits: quick(), Stall: time.Second}, dir, o.file())
	if err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "m.gguf", o.data)
	asked("", "", rangeFrom(10<<10))(t, run{o: o})
	if e := ev.first(Retrying); !strings.Contains(e.Reason, "no byte came for 1s") {
		t.Errorf("retried with %+v", e)
	}
}

func TestRedirectToAnotherHostDropsWhatIsSecret(t *testing.T) {
	cdn := newOrigin(t, content(fileSize, 1))
	back := newOrigin(t, nil)
	o := newOrigin(t, cdn.data)
	o.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/again" { // via another host and back
			http.Redirect(w, r, cdn.URL+"/blob", http.StatusTemporaryRedirect)
			return true
		}
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "v"})
		http.Redirect(w, r, back.URL+"/x", http.StatusFound)
		return true
	}
	back.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, o.URL+"/again", http.StatusFound)
		return true
	}
	dir := t.TempDir()
	if _, _, err := fetch(t, dir, o.file()); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "m.gguf", cdn.data)
	if r := o.requests()[0]; r.Header.Get("Authorization") == "" || r.Header.Get("X-Api-Key") == "" {
		t.Errorf("the first host was told %v", r.Header)
	}
	for _, r := range append(append(back.requests(), o.requests()[1:]...), cdn.requests()...) {
		if strings.Contains(fmt.Sprint(r.Header), secret) || r.Header.Get("Referer") != "" {
			t.Errorf("%s was told %v", r.URL.Path, r.Header)
		}
	}
}

func TestRedirectWithinTheHostKeepsTheHeader(t *testing.T) {
	o := newOrigin(t, content(1000, 1))
	o.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}
		return n == 1
	}
	if _, _, err := fetch(t, t.TempDir(), o.file()); err != nil {
		t.Fatal(err)
	}
	if r := o.requests()[1]; r.Header.Get("Authorization") == "" || r.Header.Get("X-Api-Key") == "" {
		t.Errorf("the host was told %v", r.Header)
	}
}

// A presigned address expires at the start and in the middle; the download goes on
// where it was, at another host, which is not told the token for the first.
func TestRenew(t *testing.T) {
	for _, code := range []int{401, 403, 404, 410} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			o, fresh := newOrigin(t, content(fileSize, 1)), newOrigin(t, content(fileSize, 1))
			o.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 1 {
					o.cut(w, r, 100<<10)
				}
				w.WriteHeader(code)
				return true
			}
			f := o.file()
			asks := 0
			f.Renew = func(context.Context) (string, error) { asks++; return fresh.address(), nil }
			dir := t.TempDir()
			ev, _, err := fetch(t, dir, f)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, dir, f.Name, o.data)
			asked(rangeFrom(100<<10))(t, run{o: fresh})
			if e := ev.first(Renewed); asks != 1 || e.Have != 100<<10 {
				t.Errorf("renewed %d times, at %+v", asks, e)
			}
			if r := fresh.requests()[0]; r.Header.Get("Authorization") != "" {
				t.Error("the new host was told the token")
			}
		})
	}
}

func TestRenewEnds(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	o.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true }
	mine := &Error{Kind: Auth, File: "m.gguf", Problem: "you are logged out", Advice: "log in"}
	for name, row := range map[string]struct {
		renew func(context.Context) (string, error)
		kind  Kind
		says  string
	}{
		"the new one is refused too": {func(context.Context) (string, error) { return o.address(), nil }, Auth, "403"},
		"it fails":                   {func(context.Context) (string, error) { return "", fmt.Errorf("GET %s: down", o.address()) }, Network, "another one could not be had: GET " + o.URL},
		"it fails with our error":    {func(context.Context) (string, error) { return "", fmt.Errorf("renewing: %w", mine) }, Auth, "you are logged out"},
		"it is not secure":           {func(context.Context) (string, error) { return "http://models.invalid/m?sig=" + secret, nil }, Usage, "http://models.invalid/m is not https"},
		"it is no address":           {func(context.Context) (string, error) { return "https://%zz?" + secret, nil }, Usage, "cannot be read"},
	} {
		f := o.file()
		f.Renew = row.renew
		_, _, err := fetch(t, t.TempDir(), f)
		var e *Error
		if !errors.As(err, &e) || e.Kind != row.kind || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: kind %d and %q are wanted, got %v", name, row.kind, row.says, err)
		}
	}
	if n := len(o.requests()); n != 6 {
		t.Errorf("%d requests", n)
	}
}

// What an earlier call downloaded whole without a digest is asked about, and not
// downloaded again.
func TestWholePartial(t *testing.T) {
	dir, o, bad := t.TempDir(), newOrigin(t, content(fileSize, 1)), newOrigin(t, nil)
	bad.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		testenv.Until(t, "the other file is there", func() bool { return onDisk(dir) == fileSize })
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	f, g := o.file(), bad.file()
	unknown(&f)
	unknown(&g)
	g.Name = "other"
	if _, _, err := fetch(t, dir, f, g); err == nil {
		t.Fatal("no error")
	}
	wantAbsent(t, dir)
	if _, _, err := fetch(t, dir, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, f.Name, o.data)
	asked("", rangeFrom(fileSize))(t, run{o: o})
}
