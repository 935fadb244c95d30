package models

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// derived opens a small stored model and its folder of computed files.
func derived(t *testing.T, s *Store, name string) *Derived {
	t.Helper()
	m, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m.Derived()
}

func put(t *testing.T, d *Derived, name, content string) {
	t.Helper()
	if err := d.Create(name, func(w io.Writer) error { _, err := io.WriteString(w, content); return err }); err != nil {
		t.Fatal(err)
	}
}

// holds requires that a folder has these files and that nothing is in staging.
func holds(t *testing.T, d *Derived, names ...string) {
	t.Helper()
	got, err := readDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, names) {
		t.Errorf("%s holds %q, want %q", d.dir, got, names)
	}
	if left, _ := readDir(filepath.Join(d.store.root, "staging")); len(left) > 0 {
		t.Errorf("left in staging: %q", left)
	}
}

func TestDerivedFiles(t *testing.T) {
	s := NewStore(t.TempDir())
	digest := install(t, s, "a", "weights")
	d := derived(t, s, "a")
	if _, _, err := d.Open("weights-x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	put(t, d, "weights-x", "one")
	old, release, err := d.Open("weights-x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "weights-x", "two two")
	if string(old) != "one" { // whoever has the old one mapped keeps it
		t.Errorf("the mapped file became %q", old)
	}
	if err := errors.Join(release(), release()); err != nil {
		t.Error(err)
	}
	data, _, err := d.Open("weights-x") // the model's Close releases it
	if err != nil || string(data) != "two two" {
		t.Errorf("%q, %v", data, err)
	}
	if list, err := s.List(); err != nil || list[0].Derived != 7 {
		t.Errorf("%v, %v", list, err)
	}
	checkModelFolder(t, s, digest)
	holds(t, d, "weights-x")
	if err := d.model.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := d.Open("weights-x"); err == nil {
		t.Error("a closed model lends a file")
	}
}

// checkModelFolder requires that the model's own folder is untouched.
func checkModelFolder(t *testing.T, s *Store, d Digest) {
	t.Helper()
	if err := s.verify(d, true); err != nil {
		t.Error(err)
	}
	if names, _ := readDir(s.modelDir(d)); !slices.Equal(names, []string{ManifestName, "docs", "model.gguf"}) {
		t.Errorf("the model's folder holds %q", names)
	}
}

func TestDerivedIsWholeOrNotThere(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "weights")
	d := derived(t, s, "a")
	full := errors.New("no space left on device")
	fail := func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return full
	}
	if err := d.Create("weights-x", fail); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	holds(t, d)
	put(t, d, "weights-x", "whole")
	if err := d.Create("weights-x", fail); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	holds(t, d, "weights-x")
	if data, _, err := d.Open("weights-x"); err != nil || string(data) != "whole" {
		t.Errorf("%q, %v", data, err)
	}
}

// Without room for the folder there is an error, whoever asks.
func TestDerivedCannotBeWritten(t *testing.T) {
	for _, taken := range []string{"packed", "staging"} {
		s := NewStore(t.TempDir())
		install(t, s, "a", "weights")
		d := derived(t, s, "a")
		if err := os.RemoveAll(filepath.Join(s.root, taken)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.root, taken), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := d.Create("weights-x", func(io.Writer) error { return nil }); err == nil {
			t.Errorf("%s is a file, and nobody minds", taken)
		}
		if _, _, err := d.Open("weights-x"); err == nil {
			t.Error("a file that cannot be there was opened")
		}
	}
}

func TestDerivedIsBounded(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "weights")
	d := derived(t, s, "a")
	put(t, d, "prefix-v0", "x")
	for i := range 5 {
		name := fmt.Sprintf("weights-v%d", i)
		put(t, d, name, "x")
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(filepath.Join(d.dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, d, "prefix-v0", "weights-v3", "weights-v4")
	put(t, d, "weights-v3", "y") // again: the other one stays
	holds(t, d, "prefix-v0", "weights-v3", "weights-v4")
}

// What was computed goes with its model, with a full verification, and when its
// model went while it was written.
func TestDerivedGoesWithItsModel(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "weights")
	install(t, s, "b", "other weights")
	a, b := derived(t, s, "a"), derived(t, s, "b")
	put(t, a, "weights-x", "of a")
	put(t, b, "weights-x", "of b")
	if err := s.Verify("a"); err != nil {
		t.Fatal(err)
	}
	holds(t, a)
	holds(t, b, "weights-x")
	put(t, a, "weights-x", "of a")
	if _, err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	holds(t, a)
	put(t, a, "weights-x", "late")
	holds(t, a, "weights-x")
	install(t, s, "c", "third weights") // any stage clears up
	holds(t, a)
	holds(t, b, "weights-x")
}

func TestDerivedWrittenAtOnce(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "weights")
	var writers sync.WaitGroup
	for i := range 8 {
		d, content := derived(t, s, "a"), bytes.Repeat([]byte{byte('0' + i)}, 1<<16)
		writers.Go(func() {
			for range 20 {
				if err := d.Create("weights-x", func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
					t.Error(err)
				}
				data, release, err := d.Open("weights-x")
				if err != nil || len(data) != 1<<16 || bytes.Count(data, data[:1]) != len(data) {
					t.Errorf("%d bytes, %v", len(data), err)
					continue
				}
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	holds(t, derived(t, s, "a"), "weights-x")
}

func TestOnlyStoredModelsKeepWhatIsComputed(t *testing.T) {
	m, err := OpenFolder(folderOf(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Derived() != nil {
		t.Error("a folder outside the store has computed files")
	}
	m.DropPages()
	if data, err := m.bytes("model.gguf"); err != nil || string(data) != "abc" {
		t.Errorf("%q, %v", data, err)
	}
	m.DropPages()
	if data, err := m.bytes("model.gguf"); err != nil || string(data) != "abc" {
		t.Errorf("after its pages were dropped: %q, %v", data, err)
	}
}
