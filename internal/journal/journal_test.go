package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func opened(t *testing.T, name string, read func(io.Reader) error) *File {
	t.Helper()
	f, err := Open(name, 0o600, read)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func add(t *testing.T, f *File, lines string) {
	t.Helper()
	if n, err := f.Write([]byte(lines)); n != len(lines) || err != nil {
		t.Fatal(n, err)
	}
}

func closed(t *testing.T, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("it holds %.200q (%v), want %.200q", got, err, want)
	}
}

// What a killed process left of a line is cut off, and the next run goes on behind the
// last whole one.
func TestRecovery(t *testing.T) {
	for _, half := range []string{"", `{"half`, strings.Repeat("x", 200_000)} {
		for _, whole := range []string{"", "one\n", strings.Repeat("y", 70_000) + "\ntwo\n"} {
			name := filepath.Join(t.TempDir(), "lines")
			if err := os.WriteFile(name, []byte(whole+half), 0o600); err != nil {
				t.Fatal(err)
			}
			read := "nothing"
			f := opened(t, name, func(r io.Reader) error {
				all, err := io.ReadAll(r)
				read = string(all)
				return err
			})
			if want := whole; read != want && whole+half != "" || whole+half == "" && read != "nothing" {
				t.Errorf("read %.100q, want %.100q", read, want)
			}
			add(t, f, "next\nand next\n")
			closed(t, f)
			holds(t, name, whole+"next\nand next\n")
		}
	}
}

// A file that its reader refuses stays as it is, and is free again.
func TestRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notes.txt")
	for _, content := range []string{"a line\nno line", "no line"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		refuse := errors.New("no file of ours")
		if _, err := Open(name, 0o600, func(io.Reader) error { return refuse }); !errors.Is(err, refuse) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Error(err)
		}
		holds(t, name, content)
	}
	closed(t, opened(t, name, nil))
}

// Only one may append. Another is told so, or gets the file when it is free.
func TestOneAtATime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lines")
	f := opened(t, name, nil)
	add(t, f, "one\n")
	if _, err := open(name, 0o600, nil, time.Millisecond); err == nil || !strings.HasPrefix(err.Error(), name+": another process is writing to it") {
		t.Fatal(err)
	}
	add(t, f, "two\n")
	type answer struct {
		f   *File
		err error
	}
	next := make(chan answer)
	go func() {
		f, err := open(name, 0o600, nil, time.Hour)
		next <- answer{f, err}
	}()
	closed(t, f)
	a := <-next
	if a.err != nil {
		t.Fatal(a.err)
	}
	add(t, a.f, "three\n")
	closed(t, a.f)
	holds(t, name, "one\ntwo\nthree\n")
}

func TestClosed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lines")
	f := opened(t, name, nil)
	add(t, f, "one\n")
	closed(t, f)
	if _, err := f.Write([]byte("two\n")); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	holds(t, name, "one\n")
}
