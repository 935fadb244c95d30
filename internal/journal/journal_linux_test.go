package journal

import (
	"errors"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Of lines that do not fit none stays, and later ones go in their place.
func TestNoRoom(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lines")
	f := opened(t, name, nil)
	defer f.Close()
	add(t, f, "one\n")

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: before.Max}); err != nil {
		t.Skip(err)
	}
	n, err := f.Write([]byte(strings.Repeat("a line\n", 1000)))
	if back := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); back != nil {
		t.Fatal(back)
	}
	if n != 0 || !errors.Is(err, syscall.EFBIG) {
		t.Errorf("%d, %v", n, err)
	}
	holds(t, name, "one\n")
	add(t, f, "two\n")
	holds(t, name, "one\ntwo\n")
}
