package pull

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cubby/models"
)

// Partials are what interrupted pulls left in the store's staging area, together.
type Partials struct {
	Count int
	Size  int64     // bytes
	Last  time.Time // when something was last written to one of them
}

// CountPartials measures them, those of running pulls included.
func CountPartials(store *models.Store) (p Partials) {
	for _, dir := range partialDirs(store) {
		p.Count++
		p.Size += treeSize(dir)
		if t := models.LastChange(dir); t.After(p.Last) {
			p.Last = t
		}
	}
	return p
}

// ClearPartials removes them, and counts what it removed and what stays because a
// pull is running.
func ClearPartials(ctx context.Context, store *models.Store) (cleared Partials, running int, err error) {
	for _, dir := range partialDirs(store) {
		size := treeSize(dir)
		w, err := enterNow(ctx, store, dir)
		switch {
		case ctx.Err() != nil:
			return cleared, running, ctx.Err()
		case errors.Is(err, errBusy):
			running++
			continue
		case errors.Is(err, fs.ErrNotExist):
			continue // its pull has just finished
		case err != nil:
			return cleared, running, err
		}
		if err := errors.Join(w.clear(), w.leave()); err != nil {
			return cleared, running, err
		}
		cleared.Count++
		cleared.Size += size
	}
	return cleared, running, nil
}

var errBusy = errors.New("a pull is running")

// enterNow locks a folder that is there, unless somebody else has it.
func enterNow(ctx context.Context, store *models.Store, dir string) (*work, error) {
	ctx, stop := context.WithTimeoutCause(ctx, patience, errBusy)
	defer stop()
	lock, err := acquire(ctx, filepath.Join(dir, lockName), func(string, ...any) {})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	if !same(lock) {
		return nil, errors.Join(fs.ErrNotExist, lock.Close())
	}
	return &work{dir: dir, store: store, lock: lock}, nil
}

func partialDirs(store *models.Store) (dirs []string) {
	parent := filepath.Join(store.Root(), "staging")
	entries, _ := os.ReadDir(parent) // without it there are none
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), models.PullPrefix) {
			dirs = append(dirs, filepath.Join(parent, e.Name()))
		}
	}
	return dirs
}

// treeSize is the bytes of the files that can be seen in a folder.
func treeSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // what cannot be seen is not there
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
