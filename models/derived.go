package models

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// derivedKept is how many files of one kind are kept beside a model: a store
// that two kinds of processors share has two.
const derivedKept = 2

// Derived is the folder of what engines computed from one stored model, so that
// the next start need not: packed/HEX. Everything in it can be made again, and
// nothing there is trusted: a reader checks what it maps against the model's
// weights and its own checksums. A file exists only whole.
type Derived struct {
	model *Model
	store *Store
	dir   string
}

// Derived returns the model's folder of computed files, nil where the model is
// not in a store.
func (m *Model) Derived() *Derived { return m.derived }

func (s *Store) derivedDir(d Digest) string { return s.of("packed", d, "") }

// Open maps a file read-only; processes share its pages. The bytes are valid
// until release, or until the model is closed. Without such a file the error
// is fs.ErrNotExist.
func (d *Derived) Open(name string) (data []byte, release func() error, err error) {
	f, err := folder(d.dir).open(name)
	if err != nil {
		return nil, nil, err
	}
	return d.model.lend(f)
}

// Path is where a file is, if it is, for those that must open it themselves.
func (d *Derived) Path(name string) string { return filepath.Join(d.dir, name) }

// lend hands a mapping out that ends with the model, if it is not released before.
func (m *Model) lend(f mapping) (data []byte, release func() error, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, errors.Join(errors.New("the model is closed"), f.close())
	}
	lent := &f
	m.lent[lent] = true
	return f.data, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.lent[lent] {
			return nil
		}
		delete(m.lent, lent)
		return lent.close()
	}, nil
}

// Temporary writes a file that ends with the model, for those that must open one
// themselves and where the model is not in a store.
func (m *Model) Temporary(pattern string, write func(io.Writer) error) (path string, err error) {
	f, err := os.CreateTemp("", pattern)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	m.temporary = append(m.temporary, f.Name())
	m.mu.Unlock()
	return f.Name(), errors.Join(write(f), f.Close())
}

// Create replaces a file by what write gives. It is seen by nobody before it is
// whole and durable; of two processes that create it at once, the last one's
// stays. The name is KIND-VARIANT; of one kind the newest two files are kept.
func (d *Derived) Create(name string, write func(io.Writer) error) error {
	d.store.clearStale(time.Now())
	staging, err := d.store.stagingDir(derivedPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	f, err := os.OpenFile(filepath.Join(staging, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	err = write(f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(d.dir, name)); err != nil {
		return err
	}
	d.prune(name)
	return SyncDir(d.dir)
}

// prune removes all but the newest files of a name's kind. It only saves
// space: what cannot be removed stays.
func (d *Derived) prune(name string) {
	kind, _, _ := strings.Cut(name, "-")
	var list []fs.FileInfo
	for _, e := range derivedFiles(d.dir) {
		if k, _, _ := strings.Cut(e.Name(), "-"); k == kind && e.Name() != name {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	for i := derivedKept - 1; i < len(list); i++ {
		os.Remove(filepath.Join(d.dir, list[i].Name()))
	}
}

// derivedFiles lists what can be seen of a folder.
func derivedFiles(dir string) (list []fs.FileInfo) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list = append(list, info)
		}
	}
	return list
}

// derivedSize is the bytes of a model's computed files.
func (s *Store) derivedSize(d Digest) (n int64) {
	for _, f := range derivedFiles(s.derivedDir(d)) {
		n += f.Size()
	}
	return n
}

// keepDerived moves what was computed from a model while it was staged. It only saves
// the next start time: what cannot be moved goes with the stage.
func (s *Store) keepDerived(from string, d Digest) {
	dst := s.derivedDir(d)
	if _, err := os.Stat(from); err == nil && os.MkdirAll(filepath.Dir(dst), 0o755) == nil {
		_ = os.Rename(from, dst)
	}
}

// dropDerived removes what was computed from a model.
func (s *Store) dropDerived(d Digest) error { return os.RemoveAll(s.derivedDir(d)) }

// clearDerived removes what was computed from models that are gone, or noted about
// them: a process may have written it while its model was removed, or have been killed
// while it removed one.
func (s *Store) clearDerived() {
	for _, folder := range []string{"packed", "verified", "gates", "reports"} {
		names, _ := readDir(filepath.Join(s.root, folder))
		for _, name := range names {
			d, err := parseHex(name[:min(len(name), 2*len(Digest{}))])
			if err != nil || strings.HasSuffix(name, baselineEnding) {
				continue
			}
			if _, err := os.Lstat(s.modelDir(d)); errors.Is(err, fs.ErrNotExist) {
				_ = os.RemoveAll(filepath.Join(s.root, folder, name))
			}
		}
	}
}
