//go:build unix

package download

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cubby/models"
)

// childVariable makes the test binary a process that downloads.
const childVariable = "CUBBY_TEST_DOWNLOAD"

// errand is what the process has to do.
type errand struct {
	Dir   string
	Files []struct {
		Name, URL string
		Size      int64
		SHA256    models.Digest
	}
	MaxFile uint64 // bytes that a file may have, by the kernel's limit; 0: any number
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(child(text))
	}
	os.Exit(m.Run())
}

func child(text string) int {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	if e.MaxFile > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: e.MaxFile, Max: e.MaxFile}); err != nil {
			panic(err)
		}
	}
	var files []File
	for _, f := range e.Files {
		files = append(files, File{Name: f.Name, URL: f.URL, Size: f.Size, SHA256: f.SHA256})
	}
	l := quick()
	l.markEvery, l.syncEvery = 16<<10, 64<<20 // while a slow disk syncs, bytes come that a kill costs
	_, err := (&Downloader{limits: l}).Fetch(context.Background(), e.Dir, files)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	var own *Error
	if errors.As(err, &own) {
		return 10 + int(own.Kind)
	}
	return 1
}

// start begins an errand in another process.
func (e errand) start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVariable+"="+string(text), "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	c.Stderr = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, &out
}

// lockstep serves ranges no further than a window beyond what the process has on disk,
// and counts: what is counted is there, however slow the process is.
type lockstep struct {
	*origin
	dir           string // where the process downloads to
	chunk, window int64
	served        int64
	starts        []int64
}

func (p *lockstep) answer(_ int, w http.ResponseWriter, r *http.Request) bool {
	at := offset(r)
	if at >= int64(len(p.data)) {
		return false
	}
	w.Header().Set("ETag", p.etag)
	w.Header().Set("Content-Length", fmt.Sprint(int64(len(p.data))-at))
	if at > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(p.data)-1, len(p.data)))
		w.WriteHeader(http.StatusPartialContent)
	}
	p.mu.Lock()
	p.starts = append(p.starts, at)
	p.mu.Unlock()
	src := bytes.NewReader(p.data[at:])
	for {
		for at+p.chunk > onDisk(p.dir)+p.window {
			if r.Context().Err() != nil {
				return true
			}
			time.Sleep(100 * time.Microsecond)
		}
		n, err := io.CopyN(w, src, p.chunk)
		at += n
		p.mu.Lock()
		p.served += n
		p.mu.Unlock()
		if err != nil || http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
			return true
		}
	}
}

// A process that downloads is killed a hundred times, at random instants of
// starting, taking over, downloading and finishing. The folder holds the old file or
// the new one after each, and what was downloaded once is not downloaded again but
// for the tail that no mark vouches for.
func TestKill(t *testing.T) {
	const size, window, mark = 8 << 20, 64 << 10, 16 << 10
	const tail = window + mark // what a kill may cost
	kills := 100
	if testing.Short() {
		kills = 20
	}
	before := content(1<<20, 3)
	dir := t.TempDir()
	p := &lockstep{origin: newOrigin(t, content(size, 4)), dir: dir, chunk: 16 << 10, window: window}
	p.behave(p.answer)
	target := filepath.Join(dir, "m.gguf")
	e := errand{Dir: dir, Files: []struct {
		Name, URL string
		Size      int64
		SHA256    models.Digest
	}{{Name: "m.gguf", URL: p.address(), Size: size, SHA256: models.DigestOf(p.data)}}}

	done, lives := 0, 0
	var again int64 // bytes that were served twice
	for round := 0; done < kills; round++ {
		if err := os.WriteFile(target, before, 0o644); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 { // the server alone knows what the file is
			e.Files[0].Size, e.Files[0].SHA256 = 0, models.Digest{}
		}
		p.mu.Lock()
		p.served, p.starts = 0, nil
		p.mu.Unlock()
		before := lives
		for whole := false; !whole; lives++ {
			c, out := e.start(t)
			killed := false
			if done < kills {
				killed = time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = c.Process.Kill() }) != nil
			}
			err := c.Wait()
			var exit *exec.ExitError
			switch {
			case err == nil:
				whole = true
			case killed && errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
				done++
			default:
				t.Fatalf("life %d: %v\n%s", lives, err, out)
			}
			oldOrNew(t, target, content(1<<20, 3), p.data, whole)
		}
		wantOnly(t, dir, "m.gguf", p.data)
		p.mu.Lock()
		for i := 1; i < len(p.starts); i++ {
			if p.starts[i] < p.starts[i-1] {
				t.Errorf("asked for %d after %d", p.starts[i], p.starts[i-1])
			}
		}
		twice, most := p.served-size, int64(lives-before)*tail
		p.mu.Unlock()
		if twice > most {
			t.Errorf("round %d: %d bytes were served twice in %d lives, over %d", round, twice, lives-before, most)
		}
		again += max(twice, 0)
	}
	t.Logf("killed %d of %d times in %d lives; %d KiB were served twice", done, kills, lives, again>>10)
}

// oldOrNew fails unless the file is one of both, whole, and what is beside it is
// partial downloads.
func oldOrNew(t *testing.T, target string, before, after []byte, whole bool) {
	t.Helper()
	got, err := os.ReadFile(target)
	if err != nil || !bytes.Equal(got, after) && (whole || !bytes.Equal(got, before)) {
		t.Fatalf("%d bytes that are neither the old file nor the new one, %v", len(got), err)
	}
	partials := 0
	for _, name := range names(t, filepath.Dir(target)) {
		if strings.HasPrefix(name, "."+filepath.Base(target)+partialTag) {
			partials++
		} else if name != filepath.Base(target) {
			t.Fatalf("the folder holds %s", name)
		}
	}
	if partials > 3 {
		t.Fatalf("%d partial downloads", partials)
	}
}

// Many kills around the moment when several small files get their names.
func TestKillWhileFilesGetTheirNames(t *testing.T) {
	kills := 60
	if testing.Short() {
		kills = 10
	}
	e := errand{}
	var after [][]byte
	for i := range 4 {
		o := newOrigin(t, content(40<<10+i, uint64(20+i)))
		after = append(after, o.data)
		e.Files = append(e.Files, struct {
			Name, URL string
			Size      int64
			SHA256    models.Digest
		}{fmt.Sprintf("sub/%d.bin", i), o.address(), 0, models.DigestOf(o.data)})
	}
	before := []byte("the old file")
	e.Dir = t.TempDir()
	begin := time.Now()
	if c, out := e.start(t); c.Wait() != nil {
		t.Fatal(out)
	}
	life := time.Since(begin)
	for done := 0; done < kills; {
		e.Dir = t.TempDir()
		for _, f := range e.Files {
			target := filepath.Join(e.Dir, f.Name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, before, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		for whole := false; !whole; {
			c, out := e.start(t)
			begin := time.Now()
			time.AfterFunc(rand.N(3*life), func() { _ = c.Process.Kill() })
			err := c.Wait()
			var exit *exec.ExitError
			if whole = err == nil; !whole && (!errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled()) {
				t.Fatalf("%v\n%s", err, out)
			}
			if whole {
				life = min(life, time.Since(begin)) // a disk that hesitates is no measure
			} else {
				done++
			}
			for i, f := range e.Files {
				got, err := os.ReadFile(filepath.Join(e.Dir, f.Name))
				if err != nil || !bytes.Equal(got, after[i]) && (whole || !bytes.Equal(got, before)) {
					t.Fatalf("%s: %d bytes, %v", f.Name, len(got), err)
				}
			}
			if n := len(names(t, filepath.Join(e.Dir, "sub"))); whole && n != len(e.Files) {
				t.Fatalf("%d names are left", n)
			}
		}
	}
}

// A file system that takes no more is final, and what was there is used once it
// takes more.
func TestFileSizeLimit(t *testing.T) {
	o := newOrigin(t, content(1<<20, 5))
	e := errand{Dir: t.TempDir(), MaxFile: 300 << 10, Files: []struct {
		Name, URL string
		Size      int64
		SHA256    models.Digest
	}{{"m.gguf", o.address(), 0, models.DigestOf(o.data)}}}
	c, out := e.start(t)
	err := c.Wait()
	if c.ProcessState.ExitCode() != 10+int(Disk) || !strings.Contains(out.String(), "m.gguf: it cannot be stored") ||
		!strings.Contains(out.String(), "choose another folder") {
		t.Fatalf("%v: %s", err, out)
	}
	tries(1)(t, run{o: o})
	wantAbsent(t, e.Dir)
	if _, _, err := fetch(t, e.Dir, o.file()); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, e.Dir, "m.gguf", o.data)
	if at := offset(o.requests()[1]); at < 200<<10 || at > 300<<10 {
		t.Errorf("it went on at %d", at)
	}
}
