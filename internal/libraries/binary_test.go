package libraries_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"cubby/internal/libraries"
	"cubby/internal/libraries/librariestest"
)

var platforms = []libraries.Platform{
	{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64"},
	{OS: "darwin", Arch: "amd64"}, {OS: "darwin", Arch: "arm64"},
	{OS: "windows", Arch: "amd64"}, {OS: "windows", Arch: "arm64"},
}

func inspect(data []byte) ([]libraries.Platform, error) {
	return libraries.Inspect(bytes.NewReader(data), int64(len(data)))
}

func TestInspect(t *testing.T) {
	for _, p := range platforms {
		got, err := inspect(librariestest.Library(p, "x"))
		if err != nil || !slices.Equal(got, []libraries.Platform{p}) {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	got, err := inspect(librariestest.Fat("x"))
	if want := []libraries.Platform{{OS: "darwin", Arch: "amd64"}, {OS: "darwin", Arch: "arm64"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("fat: %v, %v", got, err)
	}
}

// Wherever a library is cut short, it is no library.
func TestInspectCutShort(t *testing.T) {
	files := [][]byte{librariestest.Fat("x")}
	for _, p := range platforms {
		files = append(files, librariestest.Library(p, "x"))
	}
	for i, whole := range files {
		for n := range whole {
			if _, err := inspect(whole[:n]); err == nil {
				t.Fatalf("file %d: %d of %d bytes are taken for all", i, n, len(whole))
			}
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	program := librariestest.Library(platforms[0], "x")
	program[16] = 2
	foreign := librariestest.Library(platforms[0], "x")
	foreign[18] = 8 // MIPS
	big := librariestest.Library(platforms[0], "x")
	big[5] = 2
	many := librariestest.Library(platforms[0], "x")
	many[56], many[57] = 0xff, 0xff
	wraps := librariestest.Library(platforms[0], "x")
	copy(wraps[64+32:], bytes.Repeat([]byte{0xff}, 8))
	for _, c := range []struct {
		name, data, want string
	}{
		{"nothing", "", "it is empty"},
		{"page", "\n<!DOCTYPE html><title>404</title>", "it is a web page"},
		{"page in capitals", "<HTML>", "it is a web page"},
		{"pointer", "version https://git-lfs.github.com/spec/v1\n", "Git LFS"},
		{"text", "GROUP ( libc.so.6 )", "it is not a library"},
		{"DOS program", "MZ" + strings.Repeat("\x00", 100), "it is not a library"},
		{"program", string(program), "it is not a shared library"},
		{"processor", string(foreign), "another kind of processor"},
		{"byte order", string(big), "another kind of processor"},
		{"many headers", string(many), "speaks of 65535 headers"},
		{"overflow", string(wraps), "cut short"},
	} {
		if _, err := inspect([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// The test program's own kind of file is known, if it is not a library.
func TestInspectRealProgram(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Skip(err)
	}
	if _, err := inspect(data); err == nil || !strings.Contains(err.Error(), "not a") {
		t.Errorf("a program is taken for a library: %v", err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(librariestest.Fat("x"))
	for _, p := range platforms {
		f.Add(librariestest.Library(p, "x"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if found, err := inspect(data); (err == nil) != (len(found) > 0) {
			t.Errorf("%v, %v", found, err)
		}
	})
}
