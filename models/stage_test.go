package models

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStageIsInvisibleUntilCommit(t *testing.T) {
	s := NewStore(t.TempDir())
	st, m := stage(t, s, "a", "weights")
	if entries, err := s.List(); err != nil || len(entries) != 0 {
		t.Fatalf("the store shows %v, %v", entries, err)
	}
	model, err := st.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := model.bytes("model.gguf"); err != nil || string(data) != "weights" {
		t.Errorf("staged weights are %q, %v", data, err)
	}
	model.Close()
	if err := st.Discard(); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s)
}

func TestStageRefusesPathsOutside(t *testing.T) {
	s := NewStore(t.TempDir())
	st, _ := stage(t, s, "a", "weights")
	defer st.Discard()
	for _, name := range []string{"../x", "/x", "a/../../x", "model.gguf", ""} {
		if st.Write(context.Background(), name, strings.NewReader("x")) == nil {
			t.Errorf("wrote %q", name)
		}
	}
}

func TestStageWriteStopsWithContext(t *testing.T) {
	s := NewStore(t.TempDir())
	st, _ := stage(t, s, "a", "weights")
	defer st.Discard()
	ctx, cancel := context.WithCancel(context.Background())
	endless := readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if err := st.Write(ctx, "endless", endless); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestStaleStagesAreCleared(t *testing.T) {
	s := NewStore(t.TempDir())
	killed, _ := stage(t, s, "a", "weights")
	running, _ := stage(t, s, "b", "weights")
	old := time.Now().Add(-2 * staleAfter)
	err := filepath.WalkDir(killed.dir, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(p, time.Time{}, old))
	})
	if err != nil {
		t.Fatal(err)
	}
	install(t, s, "c", "weights")
	if _, err := os.Stat(killed.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the killed stage is still there: %v", err)
	}
	if _, err := os.Stat(running.dir); err != nil {
		t.Errorf("the running stage is gone: %v", err)
	}
	if err := running.Discard(); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s, "c")
}

func TestAdoptMovesFromScratch(t *testing.T) {
	s := NewStore(t.TempDir())
	st, m := stage(t, s, "a", "weights")
	data := []byte("from a tar")
	if err := os.WriteFile(filepath.Join(st.Scratch(), "x"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := st.Adopt("x", File{Path: "notes/x.txt", Size: int64(len(data)), SHA256: DigestOf(data)}); err != nil {
		t.Fatal(err)
	}
	got, release, err := st.Map("notes/x.txt")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("adopted %q, %v", got, err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	m.Files = st.Files()
	if _, err := st.Commit(m); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s, "a")
}

func TestHome(t *testing.T) {
	t.Setenv(HomeVariable, "/tmp/there")
	if home, err := Home(); err != nil || home != filepath.FromSlash("/tmp/there") {
		t.Errorf("home %s, %v", home, err)
	}
	t.Setenv(HomeVariable, "")
	t.Setenv("XDG_DATA_HOME", "/data")
	if home, err := Home(); err != nil || home != filepath.FromSlash("/data/cubby") {
		t.Errorf("home %s, %v", home, err)
	}
	t.Setenv("XDG_DATA_HOME", "relative")
	if home, err := Home(); err != nil || !filepath.IsAbs(home) || strings.Contains(home, "relative") {
		t.Errorf("home %s, %v", home, err)
	}
}

func TestEmptyFileCanBeMapped(t *testing.T) {
	s := NewStore(t.TempDir())
	st, _ := stage(t, s, "a", "weights")
	defer st.Discard()
	if err := st.Write(context.Background(), "empty", io.LimitReader(nil, 0)); err != nil {
		t.Fatal(err)
	}
	data, release, err := st.Map("empty")
	if err != nil || len(data) != 0 {
		t.Fatalf("%q, %v", data, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
