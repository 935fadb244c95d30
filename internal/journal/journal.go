// Package journal keeps files of lines that one process at a time appends to.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"cubby/internal/filelock"
)

// patience is how long Open waits for another process that has the file, such as one
// that is being replaced.
const patience = 10 * time.Second

// File is a file of lines, locked against others that append to it.
type File struct {
	mu   sync.Mutex
	f    *lockedfile.File
	end  int64 // of the last whole line
	torn bool  // something may lie behind it
}

// Open opens a file for appending, or makes it with these permissions, and cuts off what
// a killed process left of a line. Unless the file is empty, read gets its whole lines
// before that; where it fails, the file stays as it is. Read may be nil. An error names
// the file. Where another process has it open for as long as ten seconds, that is one.
func Open(name string, perm fs.FileMode, read func(io.Reader) error) (*File, error) {
	return open(name, perm, read, patience)
}

func open(name string, perm fs.FileMode, read func(io.Reader) error, wait time.Duration) (*File, error) {
	locked, err := lock(name, perm, wait)
	if err != nil {
		return nil, err
	}
	f := &File{f: locked}
	if err := f.recover(read); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), locked.Close())
	}
	return f, nil
}

func lock(name string, perm fs.FileMode, wait time.Duration) (*lockedfile.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	f, err := filelock.Acquire(ctx, name, perm, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: another process is writing to it: wait until that has ended, or name another file", name)
	}
	return f, err
}

func (f *File) recover(read func(io.Reader) error) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if f.end, err = lastBreak(f.f, info.Size()); err != nil {
		return err
	}
	if read != nil && info.Size() > 0 {
		if err := read(io.NewSectionReader(f.f, 0, f.end)); err != nil {
			return err
		}
	}
	return f.cut()
}

// lastBreak is the end of the last line within the first size bytes.
func lastBreak(f io.ReaderAt, size int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	for size > 0 {
		from := max(0, size-int64(len(buffer)))
		part := buffer[:size-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

func (f *File) cut() error {
	err := f.f.Truncate(f.end)
	f.torn = err != nil
	return err
}

// Write appends whole lines and makes them durable. Where it fails none of them stays;
// of a process that is killed in it the first ones may.
func (f *File) Write(lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.torn {
		if err := f.cut(); err != nil {
			return 0, err
		}
	}
	_, err := f.f.WriteAt(lines, f.end)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return 0, errors.Join(err, f.cut())
	}
	f.end += int64(len(lines))
	return len(lines), nil
}

// Close closes the file and lets others have it.
func (f *File) Close() error { return f.f.Close() }
