package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cubby/internal/download"
	"cubby/internal/filelock"
	"cubby/internal/platform"
	"cubby/models"

	"github.com/dustin/go-humanize"
	"github.com/rogpeppe/go-internal/lockedfile"
)

// work is the folder of one model's download: staging/pull-KEY of the store. Who
// holds its lock owns it. The store clears it away a week after it was last written
// to.
type work struct {
	dir   string
	store *models.Store
	lock  *lockedfile.File
}

const (
	lockName  = "lock"
	viewName  = "store"
	patience  = time.Second // with a download that another process has, before it is left alone
	stillness = 50 * time.Millisecond
)

// enter makes the folder of one model of a platform and waits until it is ours.
func enter(ctx context.Context, store *models.Store, platformURL string, m platform.Model, say func(string, ...any)) (*work, error) {
	return enterKeyed(ctx, store, fmt.Sprintf("%s\n%s\n%s", platformURL, m.Family, m.ID), say)
}

// enterKeyed makes the folder of what is pulled and waits until it is ours.
func enterKeyed(ctx context.Context, store *models.Store, what string, say func(string, ...any)) (*work, error) {
	root, err := filepath.Abs(store.Root())
	if err != nil {
		return nil, err
	}
	key := models.DigestOf([]byte(what)).Hex()[:24]
	w := &work{dir: filepath.Join(root, "staging", models.PullPrefix+key), store: store}
	w.lock, err = lockFolder(ctx, w.dir, say)
	return w, err
}

// lockFolder makes a folder and waits until it is ours.
func lockFolder(ctx context.Context, dir string, say func(string, ...any)) (*lockedfile.File, error) {
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, stored(fmt.Errorf("the store cannot be written: %w; %s names another folder", err, models.HomeVariable))
		}
		lock, err := acquire(ctx, filepath.Join(dir, lockName), say)
		if errors.Is(err, fs.ErrNotExist) {
			continue // whoever had it has just finished
		}
		if err != nil {
			return nil, stored(err)
		}
		if same(lock) {
			return lock, nil
		}
		if err := lock.Close(); err != nil {
			return nil, err
		}
		time.Sleep(stillness)
	}
}

// acquire locks a file, and says so when that takes a while.
func acquire(ctx context.Context, name string, say func(string, ...any)) (*lockedfile.File, error) {
	return filelock.Acquire(ctx, name, 0o644, func() { say("waiting for another fetch, which pulls the same model") })
}

// same reports whether a locked file is still the one in its place: whoever is
// done removes it.
func same(f *lockedfile.File) bool {
	here, err := f.Stat()
	there, err2 := os.Stat(f.Name())
	return err == nil && err2 == nil && os.SameFile(here, there)
}

// leave gives the folder up, and removes it if it holds nothing. On Windows an
// open file cannot be removed, elsewhere it goes before anyone else gets it.
func (w *work) leave() error {
	if entries, err := os.ReadDir(w.dir); err == nil && len(entries) > 1 {
		return w.lock.Close()
	}
	name := filepath.Join(w.dir, lockName)
	before := os.Remove(name)
	err := w.lock.Close()
	if before != nil {
		_ = os.Remove(name) // another process has it open: it will remove it
	}
	_ = os.Remove(w.dir) // the same
	return err
}

// clear removes all but the lock.
func (w *work) clear() error { return w.remove(func(string) bool { return false }) }

// keepOnly removes what does not belong to the file of that name, such as an older
// version; and with anew the file itself.
func (w *work) keepOnly(name string, anew bool) error {
	return w.remove(func(n string) bool { return strings.Contains(n, name) && !(anew && n == name) })
}

func (w *work) remove(keep func(name string) bool) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != lockName && !keep(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(w.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// view is the store with a staging area inside the folder, so that what a killed
// import leaves is removed with it and not an hour later. Where links cannot be
// made, it is the store itself.
func (w *work) view() (*models.Store, error) {
	root := filepath.Join(w.dir, viewName)
	if err := errors.Join(os.RemoveAll(root), os.Mkdir(root, 0o755)); err != nil {
		return nil, err
	}
	whole, err := filepath.Abs(w.store.Root())
	if err != nil {
		return nil, err
	}
	for _, part := range []string{"models", "names", "verified", "packed"} {
		dir := filepath.Join(whole, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if os.Symlink(dir, filepath.Join(root, part)) != nil {
			return w.store, nil
		}
	}
	return models.NewStore(root), nil
}

// room sees whether a package of that size fits twice: as it comes, and unpacked.
func (w *work) room(size int64) error {
	return roomIn(w.dir, size, "the package and what is in it")
}

// roomIn sees whether files of that size fit twice on the disk of dir, where some of
// them may lie.
func roomIn(dir string, size int64, what string) error {
	have := treeSize(dir)
	need := 2*size - min(have, size)
	free, known := download.FreeSpace(dir)
	if !known || free >= need {
		return nil
	}
	return stored(fmt.Errorf("%s are needed for %s, and %s are free in %s: %w",
		humanize.IBytes(uint64(need)), what, humanize.IBytes(uint64(free)), dir, syscall.ENOSPC))
}

// stored is an error of this machine's file system, with what to do.
func stored(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &download.Error{Kind: download.Disk, File: "the store", Problem: "the model cannot be stored", Err: err,
		Advice: "make room there or correct the permissions, then " + again + ": what was downloaded is kept"}
}
