package download

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cubby/models"
)

// wire answers every connection with bytes of the test's, whatever was asked, and
// closes it.
func wire(t *testing.T, answer func(request *http.Request) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = c.Write([]byte(answer(r)))
			}
			_ = c.Close()
		}
	}()
	return "http://" + l.Addr().String() + "/m.gguf?sig=" + secret
}

// What no honest library would send.
func TestWire(t *testing.T) {
	body := "GGUF" + strings.Repeat("0123456789", 100)
	sum := models.DigestOf([]byte(body))
	for name, row := range map[string]struct {
		answer string
		file   File
		kind   Kind
		says   string
	}{
		"no length, nothing known":        {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, File{}, Network, "the server does not say where the file ends; give its size or SHA-256"},
		"HTTP/1.0, nothing known":         {"HTTP/1.0 200 OK\r\n\r\n" + body, File{}, Network, "does not say where the file ends"},
		"no length, size known":           {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, File{Size: int64(len(body))}, 0, ""},
		"no length, digest known":         {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, File{SHA256: sum}, 0, ""},
		"no length, digest known, cut":    {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body[:500], File{SHA256: sum}, Checksum, "its SHA-256 is"},
		"a chunk that is cut":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3ec\r\n" + body[:100], File{}, Network, "the connection broke"},
		"chunks without an end":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3ec\r\n" + body + "\r\n", File{}, Network, "the connection broke"},
		"chunks":                          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3ec\r\n" + body + "\r\n0\r\n\r\n", File{}, 0, ""},
		"more than Content-Length":        {"HTTP/1.1 200 OK\r\nContent-Length: 1004\r\n\r\n" + body + "and more", File{}, 0, ""},
		"more than allowed by its header": {"HTTP/1.1 200 OK\r\nContent-Length: 1004\r\n\r\n" + body, File{Limit: 1000}, Checksum, "more than the 1000 bytes"},
		"two lengths":                     {"HTTP/1.1 200 OK\r\nContent-Length: 1004\r\nContent-Length: 7\r\n\r\n" + body, File{}, Network, "the connection broke"},
		"a negative length":               {"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n" + body, File{}, Network, "the connection broke"},
		"no HTTP":                         {"SSH-2.0-OpenSSH_9.6\r\n", File{}, Network, "the connection broke"},
		"an endless header":               {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20), File{}, Network, "the connection broke"},
		"a status of a future":            {"HTTP/1.1 299 Fine\x1b[2J\r\nContent-Length: 0\r\n\r\n", File{}, Network, "the server answers 299; check the address"},
		"a redirect with a secret":        {"HTTP/1.1 302 Found\r\nLocation: http://%zz/?s=" + secret + "\r\n\r\n", File{}, Network, "the connection broke"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := row.file
			f.Name, f.URL = "m.gguf", wire(t, func(*http.Request) string { return row.answer })
			dir := t.TempDir()
			_, got, err := fetch(t, dir, f)
			var e *Error
			switch {
			case row.kind == 0 && err != nil:
				t.Fatal(err)
			case row.kind == 0:
				wantOnly(t, dir, "m.gguf", []byte(body))
				if got[0].SHA256 != sum {
					t.Errorf("%+v", got)
				}
			case !errors.As(err, &e) || e.Kind != row.kind || !strings.Contains(err.Error(), row.says):
				t.Errorf("kind %d and %q are wanted, got %v", row.kind, row.says, err)
			default:
				wantAbsent(t, dir)
			}
		})
	}
}

// A whole file that no call has named yet is not asked for again where its digest
// is known.
func TestWholePartialOfKnownDigest(t *testing.T) {
	o, bad := newOrigin(t, content(fileSize, 1)), newOrigin(t, nil)
	bad.behave(each(func(_ *origin, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })(bad))
	f, g := o.file(), bad.file()
	g.Name = "other"
	dir := t.TempDir()
	if _, _, err := fetchWith(t, &Downloader{limits: quick(), Workers: 1}, dir, f, g); err == nil {
		t.Fatal("no error")
	}
	wantAbsent(t, dir)
	if _, _, err := fetch(t, dir, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, f.Name, o.data)
	tries(1)(t, run{o: o})
}

// HTTP/2 breaks in other ways.
func TestHTTP2(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	o.behave(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		if n == 1 {
			o.cut(w, r, 100<<10)
		}
		return false
	})
	o.Server.Close()
	o.Server = httptest.NewUnstartedServer(o)
	o.EnableHTTP2 = true
	o.StartTLS()
	defer o.Server.Close()
	dir := t.TempDir()
	f := o.file()
	f.Header.Set("Range", "bytes=5-") // the downloader knows better
	f.Header.Set("Accept-Encoding", "gzip")
	if _, _, err := fetchWith(t, &Downloader{Client: o.Client(), limits: quick()}, dir, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "m.gguf", o.data)
	asked("", rangeFrom(offset(o.requests()[1])))(t, run{o: o})
	for _, r := range o.requests() {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding %q", got)
		}
	}
}

// Nobody listens, and no name is known.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = fetch(t, t.TempDir(), File{Name: "m.gguf", URL: fmt.Sprintf("http://%s/m?%s", address, secret)})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Network || !strings.Contains(err.Error(), "refused; check the network, then run the same command again") {
		t.Error(err)
	}
}

func BenchmarkFetch(b *testing.B) {
	o := &origin{data: content(256<<20, 1), etag: `"one"`}
	o.Server = httptest.NewServer(o)
	defer o.Close()
	b.SetBytes(int64(len(o.data)))
	for b.Loop() {
		if _, err := (&Downloader{}).Fetch(b.Context(), b.TempDir(), []File{o.file()}); err != nil {
			b.Fatal(err)
		}
	}
}
