package models

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each engine has its own gate of an artefact.
func TestGates(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "a", "weights")
	save := func(engine string, passed bool) {
		t.Helper()
		if err := s.SaveGate(Gate{Artifact: d.String(), Engine: engine, Passed: passed}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(engine, want string) {
		t.Helper()
		err := s.CheckGate("a", d.String(), engine)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("on %s: %v, want %q", engine, err, want)
		}
	}
	check("native cpu", "has passed no gate")
	save("native cuda", false)
	check("native cpu", "has passed no gate")
	check("native cuda", "has failed its gate")
	save("native cpu", true)
	check("native cpu", "")
	check("native cuda", "has failed its gate")
	check("llama", "has passed its gate on native cpu, and is to run on llama")
	save("native cuda", true)
	check("native cpu", "")
	check("native cuda", "")
	if err := os.WriteFile(s.gatePath(d, "llama"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("llama", s.gatePath(d, "llama"))
	if err := s.SaveGate(Gate{Artifact: DigestOf(nil).String(), Engine: "native cpu", Passed: true}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a gate of no model: %v", err)
	}
	if _, err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if left := filesIn(s, "gates"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Accepted answers stay while there is a version of their name, and no longer.
func TestBaselineGoesWithTheLastVersion(t *testing.T) {
	s := NewStore(t.TempDir())
	old := install(t, s, "a", "weights")
	install(t, s, "a", "others")
	other := strings.Repeat("ab", len(Digest{})) // a name that looks like a digest
	install(t, s, other, "others")
	for _, name := range []string{"a", other} {
		if err := s.SaveBaseline(name, []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(name string) bool {
		_, err := os.Stat(s.BaselinePath(name))
		return err == nil
	}
	if _, err := s.Remove(VersionOf("a", old)); err != nil || !kept("a") {
		t.Fatalf("with a version left: %v, kept: %v", err, kept("a"))
	}
	if _, err := s.Remove("a"); err != nil || kept("a") || !kept(other) {
		t.Fatalf("with the last version: %v, kept: %v, %v", err, kept("a"), kept(other))
	}
	install(t, s, "a", "weights")
	if !kept(other) {
		t.Error("accepted answers were taken for what is about a model that is gone")
	}
}

// What a process that was killed while it removed a model left goes with the next stage.
func TestOrphansAreCleared(t *testing.T) {
	s := NewStore(t.TempDir())
	gone, d := install(t, s, "gone", "weights"), install(t, s, "a", "others")
	for _, d := range []Digest{gone, d} {
		if err := errors.Join(s.SaveGate(Gate{Artifact: d.String(), Engine: "native"}), s.SaveReport(d.String(), []byte("{}"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.RemoveAll(s.modelDir(gone)), os.Remove(s.namePath("gone"))); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Discard()
	for _, folder := range []string{"gates", "reports", "verified"} {
		if left := filesIn(s, folder); len(left) != 1 || !strings.HasPrefix(left[0], d.Hex()) {
			t.Errorf("%s holds %v", folder, left)
		}
	}
}

func filesIn(s *Store, folder string) []string {
	names, err := readDir(filepath.Join(s.root, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	return names
}
