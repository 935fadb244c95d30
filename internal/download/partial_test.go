package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/models"
)

// rename gives the only leftover another owner.
func rename(t *testing.T, dir string, o owner) string {
	t.Helper()
	target := filepath.Join(dir, "m.gguf")
	left := leftovers(target)
	if len(left) != 1 {
		t.Fatalf("leftovers: %+v", left)
	}
	name := partialPath(target, o)
	if err := os.Rename(left[0].path, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// What a living process works on, or one of which nothing is known, is left to it:
// its bytes are copied.
func TestLivingOwnerIsNotRobbed(t *testing.T) {
	for name, o := range map[string]owner{
		"this process":    me(),
		"another process": {here, os.Getppid(), nonce(), 1},
		"another machine": {"0badcafe", 1, nonce(), 1},
	} {
		t.Run(name, func(t *testing.T) {
			origin := newOrigin(t, content(fileSize, 1))
			dir := t.TempDir()
			n := half(t, dir, origin, origin.file())
			theirs := rename(t, dir, o)
			before, err := os.ReadFile(filepath.Join(theirs, dataName))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := fetch(t, dir, origin.file()); err != nil {
				t.Fatal(err)
			}
			asked(rangeFrom(n))(t, run{o: origin})
			after, err := os.ReadFile(filepath.Join(theirs, dataName))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("their partial was touched: %d bytes, %v", len(after), err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "m.gguf")); err != nil || !bytes.Equal(got, origin.data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			old := time.Now().Add(-2 * quietFor)
			for _, f := range []string{filepath.Join(theirs, dataName), theirs} {
				if err := os.Chtimes(f, old, old); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := fetch(t, dir, origin.file()); err != nil {
				t.Fatal(err)
			}
			wantOnly(t, dir, "m.gguf", origin.data) // nobody has worked on it for hours
		})
	}
}

func TestDeadOwner(t *testing.T) {
	dead := owner{here, 1 << 30, nonce(), 1} // more than any system gives
	recycled := owner{here, os.Getpid(), nonce(), 1}
	for _, o := range []owner{dead, recycled, nobody()} {
		if here == noSpace && o.pid != 0 {
			continue
		}
		if !o.gone() {
			t.Errorf("%v is not gone", o)
		}
		if back, ok := parseOwner(o.String()); !ok || back != o {
			t.Errorf("%v is read as %v", o, back)
		}
	}
	for _, s := range []string{"", "x", "0badcafe-1-0123456789abcde", "0badcafe--1-0123456789abcdef", "0badcafe-01-0123456789abcdef",
		"0badcafe-99999999999-0123456789abcdef", "0badcafe-1-0123456789abcdef.x", "../../../etc/passwd"} {
		if o, ok := parseOwner(s); ok {
			t.Errorf("%q is read as %v", s, o)
		}
	}
}

// Whatever became of a partial, the file that comes of it is right: even where its
// digest is unknown.
func TestDamagedPartial(t *testing.T) {
	change := func(name string, f func([]byte) []byte) func(dir string) error {
		return func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), f(data), 0o644)
		}
	}
	zero := func(from int) func([]byte) []byte {
		return func(b []byte) []byte { return append(b[:from:from], make([]byte, len(b)-from)...) }
	}
	const anywhere = -1 // it depends on how the bytes came
	for name, row := range map[string]struct {
		damage func(dir string) error
		least  int64 // bytes that are used nevertheless
	}{
		"a tail of zeros, as after a power cut": {change(dataName, zero(100<<10)), anywhere},
		"nothing but zeros":                     {change(dataName, zero(0)), 0},
		"a byte in the middle":                  {change(dataName, func(b []byte) []byte { b[90<<10]++; return b }), anywhere},
		"the first byte":                        {change(dataName, func(b []byte) []byte { b[0]++; return b }), 0},
		"shorter than its record says":          {change(dataName, func(b []byte) []byte { return b[:100<<10] }), anywhere},
		"longer than its record says":           {change(dataName, func(b []byte) []byte { return append(b, "garbage"...) }), 100 << 10},
		"no bytes":                              {change(dataName, func(b []byte) []byte { return nil }), 0},
		"no data":                               {func(dir string) error { return os.Remove(filepath.Join(dir, dataName)) }, 0},
		"a torn record":                         {change(recordName, func(b []byte) []byte { return b[:len(b)-10] }), anywhere},
		"a record of zeros behind its first line": {change(recordName, func(b []byte) []byte {
			return zero(bytes.IndexByte(b, '\n') + 1)(b)
		}), 0},
		"a record of zeros": {change(recordName, zero(0)), 0},
		"no record":         {func(dir string) error { return os.Remove(filepath.Join(dir, recordName)) }, 0},
		"a folder as data": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, dataName)), os.Mkdir(filepath.Join(dir, dataName), 0o755))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, content(fileSize, 1))
			f := o.file()
			unknown(&f)
			dir := t.TempDir()
			half(t, dir, o, f)
			if err := row.damage(leftovers(filepath.Join(dir, "m.gguf"))[0].path); err != nil {
				t.Fatal(err)
			}
			if _, _, err := fetch(t, dir, f); err != nil {
				t.Fatal(err)
			}
			wantOnly(t, dir, f.Name, o.data)
			if at := offset(o.requests()[0]); at < row.least || row.least == 0 && at != 0 {
				t.Errorf("it went on at %d", at)
			}
		})
	}
}

// A partial of another version is not continued.
func TestPartialOfAnotherVersion(t *testing.T) {
	for name, change := range map[string]func(*File){
		"another digest": func(f *File) { f.SHA256[0]++ },
		"another size":   func(f *File) { f.Size++; f.SHA256 = models.Digest{} },
	} {
		o := newOrigin(t, content(fileSize, 1))
		dir := t.TempDir()
		f := o.file()
		half(t, dir, o, f)
		change(&f)
		if _, _, err := fetch(t, dir, f); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := o.ranges()[0]; got != "" {
			t.Errorf("%s: %s was asked for", name, got)
		}
	}
}

func TestFileThatIsThere(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.gguf"), o.data, 0o644); err != nil {
		t.Fatal(err)
	}
	ev, got, err := fetch(t, dir, o.file())
	if err != nil || got[0].SHA256 != models.DigestOf(o.data) || got[0].Size != fileSize || len(ev) != 1 {
		t.Fatalf("%v, %v, %v", got, ev, err)
	}
	tries(0)(t, run{o: o})

	if err := os.WriteFile(filepath.Join(dir, "m.gguf"), content(fileSize, 9), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fetch(t, dir, o.file()); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "m.gguf", o.data)
	tries(1)(t, run{o: o})
}

// A file without a known digest is not downloaded twice while the server says that
// it is the same, and is when it is not.
func TestRecordOfAFileInPlace(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	f := o.file()
	unknown(&f)
	dir := t.TempDir()
	for range 3 {
		if _, _, err := fetch(t, dir, f); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, dir, f.Name, o.data)
	}
	asked("", rangeFrom(fileSize), rangeFrom(fileSize))(t, run{o: o})

	o.behave(nil)
	o.data, o.etag = content(fileSize+5, 2), `"two"`
	if _, _, err := fetch(t, dir, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, f.Name, o.data)

	o.behave(nil) // someone changed the file here
	if err := os.WriteFile(filepath.Join(dir, f.Name), o.data[1:], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fetch(t, dir, f); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, f.Name, o.data)
	asked("")(t, run{o: o})

	o.behave(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadRequest)
		return true
	})
	if _, _, err := fetch(t, dir, f); err == nil {
		t.Error("no error")
	}
	wantOnly(t, dir, f.Name, o.data) // and the record is still there
	o.behave(nil)
	if _, _, err := fetch(t, dir, f); err != nil {
		t.Fatal(err)
	}
	asked(rangeFrom(int64(len(o.data))))(t, run{o: o})
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../b", "a//b", "a/", "./a", `a\b`, "c:x", "a\x00b", strings.Repeat("n", 181), "x.part-y",
		"aux.gguf", "a./b", "b ", "a?"} {
		_, err := (&Downloader{}).Fetch(t.Context(), t.TempDir(), []File{{Name: name, URL: "https://models.invalid/"}})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
	two := []File{{Name: "a/M.gguf", URL: "https://models.invalid/"}, {Name: "a/m.gguf", URL: "https://models.invalid/"}}
	if _, err := (&Downloader{}).Fetch(t.Context(), t.TempDir(), two); err == nil || !strings.Contains(err.Error(), "two files have that name") {
		t.Error(err)
	}
	for _, address := range []string{"http://models.invalid/x", "ftp://models.invalid/x", "file:///etc/passwd", "/x", "https:///x", "http://127.0.0.1.models.invalid/"} {
		_, err := (&Downloader{}).Fetch(t.Context(), t.TempDir(), []File{{Name: "x", URL: address}})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Usage || !strings.Contains(err.Error(), "is not https") {
			t.Errorf("%s: %v", address, err)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Downloader{}).Fetch(t.Context(), dir, []File{{Name: "x", URL: "https://models.invalid/"}}); err == nil || !strings.Contains(err.Error(), "there is a folder of that name") {
		t.Error(err)
	}
}

// Several files come at a time, into folders; all get their names together.
func TestSeveralFiles(t *testing.T) {
	var files []File
	want := map[string][]byte{}
	var mu sync.Mutex
	var now, most int
	two := make(chan struct{}) // closed when two are there at a time
	var together sync.Once
	for i := range 10 {
		o := newOrigin(t, content(20<<10+i, uint64(i)))
		o.behave(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			now++
			if most = max(most, now); now == 2 {
				together.Do(func() { close(two) })
			}
			mu.Unlock()
			<-two
			o.serve(w, r)
			mu.Lock()
			now--
			mu.Unlock()
			return true
		})
		f := o.file()
		f.Name = fmt.Sprintf("d%d/f%d", i%3, i)
		files, want[f.Name] = append(files, f), o.data
	}
	dir := filepath.Join(t.TempDir(), "new")
	_, got, err := fetchWith(t, &Downloader{limits: quick(), Workers: 3}, dir, files...)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range got {
		data, err := os.ReadFile(filepath.Join(dir, f.Path))
		if f.Path != files[i].Name || err != nil || !bytes.Equal(data, want[f.Path]) {
			t.Errorf("%+v: %d bytes, %v", f, len(data), err)
		}
	}
	if most > 3 {
		t.Errorf("%d at a time", most)
	}
}

// The first failure stops the others, whose bytes the next call uses; nothing has a
// name before.
func TestFailureStopsTheOthers(t *testing.T) {
	slow, bad := newOrigin(t, content(fileSize, 1)), newOrigin(t, content(10, 2))
	dir := t.TempDir()
	slow.behave(func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			slow.serve(&cutting{ResponseWriter: w, left: 100 << 10}, r)
			<-r.Context().Done()
		}
		return n == 1
	})
	bad.behave(func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			testenv.Until(t, "the slow file has begun", func() bool { return onDisk(dir) > 0 })
			w.WriteHeader(http.StatusNotFound)
		}
		return n == 1
	})
	f, g := slow.file(), bad.file()
	g.Name = "other"
	_, _, err := fetch(t, dir, f, g)
	var e *Error
	if !errors.As(err, &e) || e.File != "other" || !strings.Contains(err.Error(), "404") {
		t.Fatalf("%v", err)
	}
	wantAbsent(t, dir)
	if _, _, err := fetch(t, dir, f, g); err != nil {
		t.Fatal(err)
	}
	if at := offset(slow.requests()[1]); at == 0 {
		t.Error("the slow file was begun anew")
	}
}

// A caller who gives up gets his own error at once; the bytes stay.
func TestCancel(t *testing.T) {
	for name, row := range map[string]struct {
		requests int // until it gives up
		fault    func(o *origin) func(int, http.ResponseWriter, *http.Request) bool
	}{
		"while bytes come": {1, func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
			return each(func(o *origin, w http.ResponseWriter, r *http.Request) {
				o.serve(&cutting{ResponseWriter: w, left: 100 << 10}, r)
				<-r.Context().Done()
			})(o)
		}},
		"while it waits": {2, func(o *origin) func(int, http.ResponseWriter, *http.Request) bool {
			return each(func(o *origin, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") == "" {
					o.cut(w, r, 100<<10)
				}
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusServiceUnavailable)
			})(o)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, content(fileSize, 1))
			o.behave(row.fault(o))
			l := quick()
			l.maxRetryAfter = time.Minute
			ctx, cancel := context.WithCancel(t.Context())
			dir := t.TempDir()
			ended := make(chan error, 1)
			go func() {
				_, err := (&Downloader{limits: l}).Fetch(ctx, dir, []File{o.file()})
				ended <- err
			}()
			testenv.Until(t, "bytes have come", func() bool { return onDisk(dir) == 100<<10 })
			testenv.Until(t, "it waits for more", func() bool { return len(o.requests()) == row.requests })
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			wantAbsent(t, dir)
			o.behave(nil)
			if _, _, err := fetch(t, dir, o.file()); err != nil {
				t.Fatal(err)
			}
			asked(rangeFrom(100<<10))(t, run{o: o})
		})
	}
}

// Two calls for one file do not disturb each other.
func TestTwoAtOnce(t *testing.T) {
	o := newOrigin(t, content(1<<20, 1))
	o.behave(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		time.Sleep(5 * time.Millisecond)
		o.serve(&slowly{w}, r)
		return true
	})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := (&Downloader{limits: quick()}).Fetch(t.Context(), dir, []File{o.file()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantOnly(t, dir, "m.gguf", o.data)
}

type slowly struct{ http.ResponseWriter }

func (s *slowly) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.ResponseWriter.Write(b)
}

func TestRoom(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	l := quick()
	var free int64 = fileSize - 1
	l.free = func(string) (int64, bool) { return free, true }
	dir := t.TempDir()
	want := func(kind Kind, f File) {
		t.Helper()
		_, _, err := fetchWith(t, &Downloader{limits: l}, dir, f)
		var e *Error
		if kind == 0 && err != nil || kind != 0 && (!errors.As(err, &e) || e.Kind != kind || !strings.Contains(err.Error(), "300 KiB are needed, and 300 KiB are free in "+dir+"; make room, then")) {
			t.Errorf("kind %d is wanted, got %v", kind, err)
		}
	}
	want(Disk, o.file())
	tries(0)(t, run{o: o})
	f := o.file()
	unknown(&f)
	want(Disk, f) // told by the answer
	tries(1)(t, run{o: o})
	half(t, dir, o, o.file())
	free = fileSize / 2
	want(0, o.file())
	if e := diskError("m.gguf", fullError{1, 0, dir}); !errors.Is(e, errNoSpace) {
		t.Errorf("%v is not ENOSPC", e)
	}
	if n, ok := FreeSpace(dir); ok && n <= 0 {
		t.Errorf("%d bytes are free", n)
	}
}

func TestUnwritableFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := newOrigin(t, content(10, 1))
	_, _, err := fetch(t, dir, o.file())
	var e *Error
	if !errors.As(err, &e) || e.Kind != Disk {
		t.Error(err)
	}
	for _, d := range diskAdvice {
		if got := diskError("x", &os.PathError{Op: "write", Path: "x", Err: d.err}); got.Advice != d.advice || got.Kind != Disk {
			t.Errorf("%v: %v", d.err, got)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	id := identity{ETag: `"a<b>&\"c"`, LastModified: "Mon, 02 Jan 2006 15:04:05 GMT", Size: 100, SHA256: models.DigestOf(nil)}
	marks := []mark{{1, models.DigestOf([]byte("a"))}, {100, models.DigestOf([]byte("b"))}}
	text := id.line()
	for _, m := range marks {
		text = append(text, m.line()...)
	}
	for cut := range len(text) + 1 {
		rec, err := readRecord(bytes.NewReader(text[:cut]))
		if (err == nil) != (cut >= len(id.line())) {
			t.Errorf("%d bytes: %v", cut, err)
		}
		if n := len(rec.marks); err == nil && (rec.identity != id || !slices.Equal(rec.marks, marks[:n])) {
			t.Errorf("%d bytes: %+v", cut, rec)
		}
	}
	long := identity{ETag: `"` + strings.Repeat("<", maxValidator-2) + `"`, LastModified: strings.Repeat("&", maxValidator), Size: 1 << 62}
	if rec, err := readRecord(bytes.NewReader(long.line())); err != nil || rec.identity != long {
		t.Errorf("the longest identity: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	id := identity{ETag: `"x"`, Size: 10}
	f.Add(append(id.line(), mark{5, models.DigestOf(nil)}.line()...))
	f.Add([]byte("{\"size\":-1}\n+5 00\n"))
	f.Add([]byte("{}\n9223372036854775808 x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := readRecord(bytes.NewReader(text))
		if err != nil {
			return
		}
		if !printable(rec.ETag) || !printable(rec.LastModified) || rec.Size < -1 {
			t.Fatalf("%+v", rec)
		}
		last := int64(0)
		again := rec.line()
		for _, m := range rec.marks {
			if m.at <= last || rec.Size >= 0 && m.at > rec.Size {
				t.Fatalf("a mark at %d after %d of %d", m.at, last, rec.Size)
			}
			last = m.at
			again = append(again, m.line()...)
		}
		back, err := readRecord(bytes.NewReader(again))
		if err != nil || back.identity != rec.identity || !slices.Equal(back.marks, rec.marks) {
			t.Fatalf("%+v is read again as %+v, %v", rec, back, err)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes */*", "bytes 9-5/10", "bytes 0-10/10", "bytes -1-5/10", "Bytes 0-0/1",
		"bytes 0-9/+10", "bytes 0-9", "items 0-9/10", "bytes 0-9223372036854775807/*", "bytes 0-9223372036854775808/*", "bytes  0-9/10", "bytes 0_0-9/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := parseContentRange(s)
		if !ok {
			if r != (contentRange{-1, -1, -1}) {
				t.Fatalf("%q: %+v", s, r)
			}
			return
		}
		if r.first < 0 {
			if r.first != -1 || r.last != -1 || r.size < 0 {
				t.Fatalf("%q: %+v", s, r)
			}
		} else if r.last < r.first || r.size >= 0 && r.last >= r.size || r.size < -1 {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string]contentRange{
		"bytes 0-9/10": {0, 9, 10},
		"BYTES 5-9/*":  {5, 9, -1},
		"bytes */10":   {-1, -1, 10},
		"bytes */0":    {-1, -1, 0},
	} {
		if got, ok := parseContentRange(s); !ok || got != want {
			t.Errorf("%q: %+v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "bytes", "bytes ", "bytes 0-9", "bytes */*", "bytes 0-10/10", "bytes 5-4/10", "bytes +0-9/10", "bytes 0-9/ 10", "bytes 0x0-9/10", "bytes 0-9/10, 0-9/10"} {
		if got, ok := parseContentRange(s); ok {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "3600": time.Minute, "9223372036854775807": time.Minute, "99999999999999999999": 0, "-1": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
		"Fri, 02 Jan 2027 03:04:00 GMT": time.Minute,
	} {
		if got := retryAfter(http.Header{"Retry-After": {s}}, now, time.Minute); got != want {
			t.Errorf("%q: %v, not %v", s, got, want)
		}
	}
}

// https, from a server whose certificate this machine does not know: final. With the
// client of a caller who does, it works.
func TestCertificate(t *testing.T) {
	o := newOrigin(t, content(fileSize, 1))
	o.Server.Close()
	o.Server = newTLS(t, o)
	dir := t.TempDir()
	_, _, err := fetch(t, dir, o.file())
	if err == nil || !strings.Contains(err.Error(), "the server cannot be trusted") {
		t.Fatal(err)
	}
	c := o.Client()
	c.Timeout = time.Nanosecond // a client for short requests serves for long ones
	if _, _, err := fetchWith(t, &Downloader{Client: c, limits: quick()}, dir, o.file()); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, "m.gguf", o.data)
}

func TestHide(t *testing.T) {
	err := fmt.Errorf("a %w", io.ErrUnexpectedEOF)
	text := `GET "https://user:pw@h.example/p/q?X-Sig=abc&t=1#frag": Authorization: Bearer abc.def refused, key k-123`
	got := hide(fmt.Errorf("%s: %w", text, err), []string{"k-123"})
	want := `GET "https://h.example/p/q": Authorization: Bearer … refused, key …: a unexpected EOF`
	if got.Error() != want || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("%v", got)
	}
}
