package models

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// sharedStage stages a model and shares its weights.
func sharedStage(t *testing.T, s *Store, name, weights string) (*Stage, Manifest) {
	t.Helper()
	st, m := stage(t, s, name, weights)
	if err := st.Share(t.Context(), "model.gguf"); err != nil {
		t.Fatal(err)
	}
	return st, m
}

func weightsOf(t *testing.T, s *Store, d Digest) os.FileInfo {
	t.Helper()
	info, err := os.Stat(filepath.Join(s.modelDir(d), "model.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestShare(t *testing.T) {
	s := NewStore(t.TempDir())
	a, other := install(t, s, "a", "weights"), install(t, s, "other", "heavier")
	st, m := sharedStage(t, s, "b", "weights")
	b, err := st.Commit(m)
	if err != nil {
		t.Fatal(err)
	}
	checkStore(t, s, "a", "b", "other")
	if !os.SameFile(weightsOf(t, s, a), weightsOf(t, s, b)) || os.SameFile(weightsOf(t, s, other), weightsOf(t, s, b)) {
		t.Error("the weights are not the one file that is the same")
	}
	if _, err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s, "b", "other")
	if err := s.Verify("b"); err != nil {
		t.Error(err)
	}
}

// What is damaged, gone or no file is not shared: the stage keeps its own.
func TestShareKeepsItsOwn(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"other bytes":  func(file string) error { return rewrite(file, []byte("weighty")) },
		"fewer bytes":  func(file string) error { return rewrite(file, []byte("we")) },
		"gone":         os.Remove,
		"a folder":     func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o755)) },
		"a loose link": func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/nowhere", file)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := NewStore(t.TempDir())
			d := install(t, s, "a", "weights")
			if err := spoil(filepath.Join(s.modelDir(d), "model.gguf")); err != nil {
				t.Skip(err)
			}
			st, m := sharedStage(t, s, "b", "weights")
			if _, err := st.Commit(m); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify("b"); err != nil {
				t.Error(err)
			}
		})
	}
	st, _ := stage(t, NewStore(t.TempDir()), "a", "weights")
	defer st.Discard()
	if err := st.Share(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not staged: %v", err)
	}
}

func TestShareStopsWithContext(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "weights")
	st, _ := stage(t, s, "b", "weights")
	defer st.Discard()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Share(ctx, "model.gguf"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, err := readDir(st.Scratch()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
