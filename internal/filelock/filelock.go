// Package filelock locks files against other processes, for as long as a caller is
// willing to wait.
package filelock

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// patience is how long a lock may take before a word is said about waiting.
const patience = time.Second

// Acquire opens a file for reading and writing, or makes it with these permissions, and
// locks it; where that takes a while, it calls waiting, once, unless that is nil. What
// waits for a lock cannot be stopped: where the context ends first, it is left behind,
// and lets go of the lock when it gets it.
func Acquire(ctx context.Context, name string, perm fs.FileMode, waiting func()) (*lockedfile.File, error) {
	type answer struct {
		f   *lockedfile.File
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		f, err := lockedfile.OpenFile(name, os.O_RDWR|os.O_CREATE, perm)
		answers <- answer{f, err}
	}()
	word := time.NewTimer(patience)
	defer word.Stop()
	for {
		select {
		case a := <-answers:
			return a.f, a.err
		case <-word.C:
			if waiting != nil {
				waiting()
			}
		case <-ctx.Done():
			go func() {
				if a := <-answers; a.err == nil {
					a.f.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}
