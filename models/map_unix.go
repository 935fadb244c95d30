//go:build unix

package models

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a whole file read-only: the page cache is shared by all
// processes that serve the same model, and pages load as they are touched.
func mapFile(f *os.File) (mapping, error) {
	info, err := f.Stat()
	if err != nil {
		return mapping{}, err
	}
	size := int(info.Size())
	switch {
	case int64(size) != info.Size():
		return mapping{}, fmt.Errorf("%s is too large for this machine's address space", f.Name())
	case size == 0:
		return mapping{close: func() error { return nil }}, nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return mapping{}, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return mapping{
		data:  data,
		close: func() error { return unix.Munmap(data) },
		drop:  func() { _ = unix.Madvise(data, unix.MADV_DONTNEED) },
	}, nil
}
