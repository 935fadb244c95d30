package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/libraries"
	"cubby/internal/libraries/librariestest"

	"github.com/rogpeppe/go-internal/testscript"
)

// makeLibraries is the script command "libraries FOLDER [foreign]": it fills a
// folder with what looks like libllama, for this machine or another.
func makeLibraries(ts *testscript.TestScript, _ bool, args []string) {
	p := libraries.Local()
	if len(args) > 1 {
		p.OS = map[bool]string{true: "darwin", false: "linux"}[p.OS == "linux"]
	}
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
	for name, data := range librariestest.Set(p) {
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), name), data, 0o644))
	}
}

// breakFile is the script command "break FOLDER NAME": the file of that name
// somewhere below becomes one byte.
func breakFile(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*", args[1]))
	ts.Check(err)
	for _, name := range found {
		ts.Check(errors.Join(os.Remove(name), os.WriteFile(name, []byte("x"), 0o644)))
	}
}

// setName is the script command "names": NAME is the one that installed libraries
// have on this machine.
func setName(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("NAME", libraries.NameOf(libraries.Version, libraries.CPU, libraries.Local()))
}

// Killed at any moment, an installation leaves nothing visible or all of it, and
// the next one finishes.
func TestKilledRuntime(t *testing.T) {
	dir := t.TempDir()
	home, pack := filepath.Join(dir, "store"), filepath.Join(dir, "a.tar")
	set := librariestest.Set(libraries.Local())
	set["libpadding.so"] = append(librariestest.Library(libraries.Local(), "padding"), make([]byte, 4<<20)...)
	writeTar(t, pack, set)
	whole := func() bool {
		r, err := libraries.Find(home, "")
		if errors.Is(err, libraries.ErrNone) {
			return false
		}
		if err != nil || r.Verify() != nil {
			t.Errorf("visible and broken: %v, %v", err, r.Verify())
		}
		return true
	}
	killedAnew(t, newKilling(t, home, "runtime", pack), whole)
}

// A signal ends a download at once, and leaves nothing.
func TestInterruptedDownload(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	home := t.TempDir()
	var out bytes.Buffer
	code := run(ctx, []string{"fetch", "-home", home, "runtime", "-url", srv.URL, "-sha256", strings.Repeat("1", 64)}, &out, &out)
	if code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	left, err := os.ReadDir(filepath.Join(home, "staging"))
	if list, _ := libraries.List(home); err != nil || len(left) > 0 || len(list) > 0 {
		t.Errorf("it left %v and %v, %v", left, list, err)
	}
}
