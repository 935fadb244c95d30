package models

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// staleAfter is how long nothing must have happened in a staging folder before
// it counts as left behind by a process that died. A living import writes all
// the time.
const staleAfter = time.Hour

// derivedStaleAfter is the same for a computed file: a process that is killed at
// every start must not fill the disk with halves. One that is cleared away
// although its writer lives costs that writer no more than its file.
const derivedStaleAfter = time.Minute

// pullStaleAfter is the same for a download: gigabytes over a slow line, which the
// next pull of the same model goes on with.
const pullStaleAfter = 7 * 24 * time.Hour

// PullPrefix begins the names of staging folders of downloads.
const PullPrefix = "pull-"

// derivedPrefix begins the names of staging folders of computed files.
const derivedPrefix = "packed-"

// Stage is a model folder under construction: nothing of it is visible in the
// store before Commit, and all of it is gone after Discard.
type Stage struct {
	store *Store
	dir   string // staging/NONCE, holding model/ and scratch/
	files []File
}

// Stage begins a model. It also clears away what killed processes left.
func (s *Store) Stage() (*Stage, error) {
	s.clearStale(time.Now())
	dir, err := s.stagingDir("")
	if err != nil {
		return nil, err
	}
	st := &Stage{store: s, dir: dir}
	for _, d := range []string{st.Folder(), st.Scratch()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, errors.Join(err, st.Discard())
		}
	}
	return st, nil
}

func (s *Store) stagingDir(prefix string) (string, error) {
	parent := filepath.Join(s.root, "staging")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("the store cannot be written: %w; %s names another folder", err, HomeVariable)
	}
	return os.MkdirTemp(parent, prefix)
}

// clearStale removes what killed processes left.
func (s *Store) clearStale(now time.Time) {
	parent := filepath.Join(s.root, "staging")
	names, _ := readDir(parent)
	for _, name := range names {
		dir := filepath.Join(parent, name)
		limit := staleAfter
		switch {
		case strings.HasPrefix(name, derivedPrefix):
			limit = derivedStaleAfter
		case strings.HasPrefix(name, PullPrefix):
			limit = pullStaleAfter
		}
		if now.Sub(LastChange(dir)) > limit {
			os.RemoveAll(dir)
		}
	}
	s.clearDerived()
}

// LastChange is the newest modification time in a tree.
func LastChange(dir string) time.Time {
	var last time.Time
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // vanished meanwhile
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return last
}

// Folder is where the model's files lie until Commit.
func (st *Stage) Folder() string { return filepath.Join(st.dir, "model") }

// Scratch is a folder for intermediate files, in the file system of the store.
func (st *Stage) Scratch() string { return filepath.Join(st.dir, "scratch") }

// KeepAlive tells others that the stage is in use although nothing is written into
// it, until the returned function is called.
func (st *Stage) KeepAlive() (stop func()) {
	done := make(chan struct{})
	go func() {
		beat := time.NewTicker(staleAfter / 10)
		defer beat.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-beat.C:
				_ = os.Chtimes(st.dir, now, now) // where it fails, the next write tells
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// Write streams r into a file of the model, hashing as it goes, and makes the
// bytes durable.
func (st *Stage) Write(ctx context.Context, name string, r io.Reader) error {
	dst, err := st.place(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, hash), ContextReader{Ctx: ctx, R: r})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	st.files = append(st.files, File{Path: name, Size: n, SHA256: Digest(hash.Sum(nil))})
	return nil
}

// Adopt moves a file of Scratch, whose bytes were hashed when they were
// written, into the model, and makes it durable.
func (st *Stage) Adopt(scratch string, f File) error {
	dst, err := st.place(f.Path)
	if err != nil {
		return err
	}
	src := filepath.Join(st.Scratch(), filepath.FromSlash(scratch))
	if err := errors.Join(syncFile(src), os.Chmod(src, 0o444)); err != nil {
		return err
	}
	if err := os.Rename(src, dst); err != nil {
		return err
	}
	st.files = append(st.files, f)
	return nil
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// place returns where a file of the model goes and makes its folder.
func (st *Stage) place(name string) (string, error) {
	if err := CheckPath(name); err != nil {
		return "", err
	}
	dst := filepath.Join(st.Folder(), filepath.FromSlash(name))
	return dst, os.MkdirAll(filepath.Dir(dst), 0o755)
}

// Remove takes a file out of the model.
func (st *Stage) Remove(name string) error {
	if err := CheckPath(name); err != nil {
		return err
	}
	st.files = slices.DeleteFunc(st.files, func(f File) bool { return f.Path == name })
	return os.Remove(filepath.Join(st.Folder(), filepath.FromSlash(name)))
}

// Files lists what the model holds so far, for its manifest.
func (st *Stage) Files() []File { return slices.Clone(st.files) }

// Map returns the bytes of a file of the model, which must not be changed, and
// what releases them.
func (st *Stage) Map(name string) (data []byte, release func() error, err error) {
	f, err := folder(st.Folder()).open(name)
	return f.data, f.close, err
}

// Open opens the staged model under manifest m, before anyone else can.
func (st *Stage) Open(m Manifest) (*Model, error) {
	d, err := m.Digest()
	if err != nil {
		return nil, err
	}
	model, err := newModel(m, d, folder(st.Folder()))
	if err == nil {
		model.derived = &Derived{model: model, store: st.store, dir: st.packed()}
	}
	return model, err
}

// packed is where engines keep what they compute from the staged model: large as the
// weights, it does not have to stay in memory, and it goes with the model.
func (st *Stage) packed() string { return filepath.Join(st.dir, "packed") }

// Commit installs the model under manifest m and lets its name point to it. A
// model of the same digest that is already there stays, unless it is damaged:
// then this one replaces it. The stage is spent.
func (st *Stage) Commit(m Manifest) (Digest, error) {
	return st.commit(m, func() error { return nil })
}

// commit is Commit unless guard, which is asked while nobody else points names, says
// that it must not be.
func (st *Stage) commit(m Manifest, guard func() error) (Digest, error) {
	data, err := m.Encode()
	if err != nil {
		return Digest{}, err
	}
	d := DigestOf(data)
	if err := WriteFileDurably(filepath.Join(st.Folder(), ManifestName), data); err != nil {
		return Digest{}, err
	}
	if err := syncTree(st.Folder()); err != nil {
		return Digest{}, err
	}
	if err := os.MkdirAll(filepath.Dir(st.store.namePath(m.Name)), 0o755); err != nil {
		return Digest{}, err
	}
	unlock, err := st.store.lock()
	if err != nil {
		return Digest{}, err
	}
	defer unlock()
	if err := guard(); err != nil {
		return Digest{}, err
	}
	if err := st.install(d); err != nil {
		return Digest{}, err
	}
	st.recordFresh(d)
	st.store.keepDerived(st.packed(), d)
	if err := st.store.point(m.Name, d); err != nil {
		return Digest{}, err
	}
	return d, st.Discard()
}

// install renames the staged folder to its final place.
func (st *Stage) install(d Digest) error {
	dst := st.store.modelDir(d)
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	err := os.Rename(st.Folder(), dst)
	if err == nil {
		return SyncDir(filepath.Dir(dst))
	}
	if _, statErr := os.Stat(dst); statErr != nil {
		return err
	}
	if st.store.verify(d, true) == nil {
		return nil
	}
	if err := os.Rename(dst, filepath.Join(st.dir, "damaged")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(st.Folder(), dst); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(dst))
}

// recordFresh spares the first open the hashing that Write and Adopt have done.
func (st *Stage) recordFresh(d Digest) {
	stamps := make(map[string]stamp, len(st.files))
	for _, f := range st.files {
		info, err := os.Stat(filepath.Join(st.store.modelDir(d), filepath.FromSlash(f.Path)))
		if err != nil {
			return
		}
		stamps[f.Path] = stampOf(info)
	}
	st.store.record(d, stamps)
}

// syncTree fsyncs every folder of a tree; its files are durable already.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return SyncDir(p)
	})
}

// Discard deletes the stage. It is safe after Commit.
func (st *Stage) Discard() error { return os.RemoveAll(st.dir) }

// ContextReader reads from R until Ctx ends: it stops a long copy.
type ContextReader struct {
	Ctx context.Context
	R   io.Reader
}

// Read implements io.Reader.
func (r ContextReader) Read(p []byte) (int, error) {
	if err := r.Ctx.Err(); err != nil {
		return 0, err
	}
	return r.R.Read(p)
}
