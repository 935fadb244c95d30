package models

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage puts a small model into a stage of s, without committing it.
func stage(t *testing.T, s *Store, name, weights string) (*Stage, Manifest) {
	t.Helper()
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string]string{"model.gguf": weights, "docs/README.md": "read me"} {
		if err := st.Write(context.Background(), file, strings.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	m := sample()
	m.Name, m.Files = name, st.Files()
	return st, m
}

func install(t *testing.T, s *Store, name, weights string) Digest {
	t.Helper()
	st, m := stage(t, s, name, weights)
	d, err := st.Commit(m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// checkStore walks the whole store: every model in it must be exactly what it
// is named for, every name must lead to one, and nothing may lie in staging.
func checkStore(t *testing.T, s *Store, names ...string) {
	t.Helper()
	entries, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Err != nil {
			t.Errorf("%s %s: %v", e.Name, e.Digest, e.Err)
			continue
		}
		if err := s.Verify(e.Digest.String()); err != nil {
			t.Error(err)
		}
		if e.Name != "" {
			got = append(got, e.Name)
		}
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("names %v, want %v", got, names)
	}
	if left, _ := readDir(filepath.Join(s.root, "staging")); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

func TestInstallOpenRemove(t *testing.T) {
	s := NewStore(t.TempDir())
	checkStore(t, s)
	d := install(t, s, "a", "weights")
	checkStore(t, s, "a")
	for _, ref := range []string{"a", d.String()} {
		m, err := s.Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		if m.Digest != d.String() || m.Labels().Len() != 2 {
			t.Errorf("%s opened as %s with %d labels", ref, m.Digest, m.Labels().Len())
		}
		if data, err := m.bytes("docs/README.md"); err != nil || string(data) != "read me" {
			t.Errorf("a file of it is %q, %v", data, err)
		}
		if _, err := m.bytes("../../names/a"); err == nil {
			t.Error("a file outside the model could be read")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := m.bytes("model.gguf"); err == nil {
			t.Error("a closed model gives files")
		}
	}
	if _, err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s)
	if left, _ := readDir(filepath.Join(s.root, "models")); len(left) > 0 {
		t.Errorf("models after removing the only name: %v", left)
	}
	if _, err := s.Open("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("opening a removed model: %v", err)
	}
	if _, err := s.Remove("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
}

func TestNameMovesToNewModel(t *testing.T) {
	s := NewStore(t.TempDir())
	old := install(t, s, "a", "old weights")
	fresh := install(t, s, "a", "new weights")
	install(t, s, "b", "others")
	checkStore(t, s, "a", "b")
	for ref, want := range map[string]Digest{"a": fresh, old.String(): old} {
		m, err := s.Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		if m.Digest != want.String() {
			t.Errorf("%s is %s, want %s", ref, m.Digest, want)
		}
		m.Close()
	}
	if _, err := s.Remove(fresh.String()); err == nil {
		t.Error("a named model was removed by digest")
	}
	if _, err := s.Remove(old.String()); err != nil {
		t.Error(err)
	}
	if _, err := s.Remove(old.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
	checkStore(t, s, "a", "b")
}

// Any one byte changed, a file shortened, lengthened, missing or replaced by a
// link: the store says so, names the file and the repair.
func TestDamageIsNoticed(t *testing.T) {
	const weights = "some weights"
	for _, c := range []struct {
		name   string
		damage func(file string) error
	}{
		{"bit flipped", func(f string) error { return rewrite(f, []byte("some weightr")) }},
		{"shortened", func(f string) error { return rewrite(f, []byte("some")) }},
		{"lengthened", func(f string) error { return rewrite(f, []byte(weights+"x")) }},
		{"missing", os.Remove},
		{"folder", func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o755)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewStore(t.TempDir())
			d := install(t, s, "a", weights)
			file := filepath.Join(s.modelDir(d), "model.gguf")
			if err := c.damage(file); err != nil {
				t.Fatal(err)
			}
			_, err := s.Open("a")
			var damage *IntegrityError
			if !errors.As(err, &damage) {
				t.Fatalf("error %v", err)
			}
			if damage.File != file || damage.Model != "a" || !strings.Contains(damage.Repair, "fetch import PACKAGE -name a") {
				t.Errorf("it says %v", err)
			}
			// Importing again repairs it.
			if again := install(t, s, "a", weights); again != d {
				t.Fatalf("digest %s, want %s", again, d)
			}
			checkStore(t, s, "a")
		})
	}
}

// rewrite replaces a read-only file's bytes and gives it a new time.
func rewrite(file string, data []byte) error {
	if err := os.Chmod(file, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return err
	}
	return os.Chtimes(file, time.Time{}, time.Unix(1, 0))
}

func TestDamagedManifestAndNameAreNoticed(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "a", "weights")
	var damage *IntegrityError
	manifest := filepath.Join(s.modelDir(d), ManifestName)
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite(manifest, bytes.Replace(data, []byte("cash"), []byte("hash"), 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("a"); !errors.As(err, &damage) || damage.File != manifest || damage.Model != "a" {
		t.Errorf("changed manifest: %v", err)
	}
	if err := rewrite(s.namePath("a"), []byte("../../etc\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("a"); !errors.As(err, &damage) || damage.File != s.namePath("a") {
		t.Errorf("changed name: %v", err)
	}
}

// A file whose size and time are as recorded is not read again; a full
// verification reads it all the same.
func TestQuickOpenTrustsTheRecord(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "a", "weights")
	file := filepath.Join(s.modelDir(d), "model.gguf")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(rewrite(file, []byte("WEIGHTS")), os.Chtimes(file, time.Time{}, info.ModTime())); err != nil {
		t.Fatal(err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatalf("it was read although size and time are as recorded: %v", err)
	}
	m.Close()
	var damage *IntegrityError
	if err := s.Verify("a"); !errors.As(err, &damage) {
		t.Errorf("full verification: %v", err)
	}
	if err := os.Remove(s.recordPath(d)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("a"); !errors.As(err, &damage) {
		t.Errorf("open without a record: %v", err)
	}
}

func TestOpenRecordsWhatItHashed(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "a", "weights")
	for _, spoil := range []func() error{
		func() error { return os.Remove(s.recordPath(d)) },
		func() error { return os.WriteFile(s.recordPath(d), []byte("nonsense"), 0o644) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		m, err := s.Open("a")
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		if got := s.recorded(d); len(got) != 2 {
			t.Errorf("recorded %v", got)
		}
	}
}

func TestConcurrentInstallsOfOneModel(t *testing.T) {
	s := NewStore(t.TempDir())
	weights := strings.Repeat("w", 1<<20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			st, err := s.Stage()
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Discard()
			if err := st.Write(context.Background(), "model.gguf", strings.NewReader(weights)); err != nil {
				t.Error(err)
				return
			}
			m := sample()
			m.Name, m.Files = "a", st.Files()
			if _, err := st.Commit(m); err != nil {
				t.Error(err)
				return
			}
			model, err := s.Open("a")
			if err != nil {
				t.Error(err)
				return
			}
			model.Close()
		})
	}
	wg.Wait()
	checkStore(t, s, "a")
}
