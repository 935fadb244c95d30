package install

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/internal/libraries"
	"cubby/internal/libraries/librariestest"
	"cubby/models/importer"
)

// entry is one entry of a made archive.
type entry struct {
	name, data string
	link       string // of a symbolic link
	hard       string // of a hard link
	dir        bool
	kind       byte // another type of tar
	size       int64
}

// set is a whole set of libraries under a folder, with a licence and a program.
func set(prefix string) []entry {
	fakes := librariestest.Set(libraries.Local())
	list := []entry{{name: prefix, dir: true}, {name: prefix + "LICENSE", data: "MIT License"}, {name: prefix + "llama-addon.node", data: "no"}}
	for _, name := range slices.Sorted(maps.Keys(fakes)) {
		list = append(list, entry{name: prefix + name, data: string(fakes[name])})
	}
	return list
}

func fake(name string) string { return string(librariestest.Library(libraries.Local(), name)) }

func makeTar(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(e.data))}
		switch {
		case e.dir:
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		case e.kind != 0:
			h.Typeflag = e.kind
		}
		if e.size != 0 {
			h.Size = e.size
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // an entry shorter than its header is meant so
	return buf.Bytes()
}

func makeTgz(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(makeTar(t, entries)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func makeZip(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		data := e.data
		switch {
		case e.dir:
			h.Name = strings.TrimSuffix(e.name, "/") + "/"
		case e.link != "":
			h.SetMode(fs.ModeSymlink | 0o777)
			data = e.link
		case e.kind != 0:
			h.SetMode(fs.ModeDevice | 0o644)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if !e.dir {
			if _, err := f.Write([]byte(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Each library is installed once, under the name that others ask for.
func TestInstallResolvesLinks(t *testing.T) {
	entries := []entry{
		{name: "l/libllama.so", link: "libllama.so.0"},
		{name: "l/libllama.so.0", link: "libllama.so.0.5.0"},
		{name: "l/libllama.so.0.5.0", data: fake("llama")},
		{name: "l/libggml.so.0.25.1", data: fake("ggml")},
		{name: "l/libggml.so.0", link: "./libggml.so.0.25.1"},
		{name: "l/libggml.so", link: "../l/libggml.so.0"},
		{name: "l/libggml-base.0.25.1.dylib", data: fake("base")},
		{name: "l/libggml-base.0.dylib", link: "libggml-base.0.25.1.dylib"},
		{name: "l/libggml-base.dylib", link: "libggml-base.0.dylib"},
		{name: "l/libggml-cpu-x64.so", data: fake("cpu")},
		{name: "l/libggml-cpu.so", link: "libggml-cpu-x64.so"},
		{name: "l/libnothing.so", link: "absent.so"},
		{name: "l/liba.so", link: "libb.so"},
		{name: "l/libb.so", link: "liba.so"},
		{name: "l/llama", link: "/usr/bin/llama"}, // no library: passed over
	}
	want := []string{llamaLicenceName, "libggml-base.0.dylib", "libggml-cpu-x64.so", "libggml.so.0", "libllama.so.0"}
	for name, path := range map[string]string{
		"tgz":    file(t, "a.tgz", makeTgz(t, entries)),
		"zip":    file(t, "a.zip", makeZip(t, entries)),
		"folder": unpacked(t, entries),
	} {
		home := t.TempDir()
		r, err := Install(t.Context(), Options{Home: home, Paths: []string{path}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(names(r.Runtime), want) {
			t.Errorf("%s: files %v, want %v", name, names(r.Runtime), want)
		}
		checkStore(t, home, 1)
	}
	hard := slices.Clone(entries[2:])
	hard = append(hard, entry{name: "l/libllama.so.0", hard: "l/libllama.so.0.5.0"})
	r, err := Install(t.Context(), Options{Home: t.TempDir(), Paths: []string{file(t, "a.tgz", makeTgz(t, hard))}})
	if err != nil || !slices.Equal(names(r.Runtime), want) {
		t.Errorf("hard links: %+v, %v", r, err)
	}
}

func TestInstallRefusesHostileArchives(t *testing.T) {
	with := func(e ...entry) []entry { return append(set("x/"), e...) }
	zeros := strings.Repeat("\x00", 40<<20)
	both := map[string][]entry{
		"absolute":      with(entry{name: "/libevil.so", data: "x"}),
		"up":            with(entry{name: "x/../../libevil.so", data: "x"}),
		"up, no wanted": with(entry{name: "../../etc/passwd", data: "x"}),
		"backslash":     with(entry{name: `x\libevil.so`, data: "x"}),
		"drive":         with(entry{name: "C:libevil.so", data: "x"}),
		"long name":     with(entry{name: "x/" + strings.Repeat("lib/", 2000) + "libevil.so", data: "x"}),
		"twice":         with(entry{name: "x/libllama.v0.5.0.so", data: fake("other")}),
		"by case":       with(entry{name: "x/LIBLLAMA.v0.5.0.so", data: "x"}, entry{name: "x/libllama.V0.5.0.so", data: "x"}),
		"link out":      with(entry{name: "x/libevil.so", link: "../../../etc/passwd"}),
		"link absolute": with(entry{name: "x/libevil.so", link: "/etc/passwd"}),
		"device":        with(entry{name: "x/libevil.so", kind: tar.TypeChar}),
		"licence bomb":  with(entry{name: "x/LICENSE.big", data: zeros[:maxLicence+1]}),
		"bomb":          with(entry{name: "x/libbomb.so", data: zeros}),
	}
	var many []entry
	for i := range maxEntries {
		many = append(many, entry{name: fmt.Sprint("f", i)})
	}
	both["many"] = with(many...)
	archives := map[string][]byte{
		"pipe.tgz":      makeTgz(t, with(entry{name: "x/libevil.so", kind: tar.TypeFifo})),
		"hard out.tgz":  makeTgz(t, with(entry{name: "x/libevil.so", hard: "../libllama.so"})),
		"page.tgz":      []byte("<!DOCTYPE html><html>404</html>"),
		"text.tgz":      []byte("Not Found"),
		"empty.tgz":     nil,
		"cut.tgz":       makeTgz(t, set("x/"))[:300],
		"cut.zip":       makeZip(t, set("x/"))[:300],
		"checksum.tgz":  damage(makeTgz(t, set("x/")), -6),
		"7z.tgz":        []byte("7z\xbc\xaf\x27\x1c"),
		"short tar.tar": makeTar(t, with(entry{name: "x/libshort.so", data: "x", size: 1 << 20})),
	}
	for name, entries := range both {
		if !strings.Contains(name, "long") {
			archives[name+".zip"] = makeZip(t, entries)
		}
		archives[name+".tgz"] = makeTgz(t, entries)
	}
	for name, data := range archives {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			_, err := Install(t.Context(), Options{Home: home, Paths: []string{file(t, "archive", data)}})
			var refused *importer.ArchiveError
			if err == nil || !errors.As(err, &refused) && !strings.Contains(err.Error(), "there is no libllama") {
				t.Errorf("error %v", err)
			}
			checkStore(t, home, 0)
			for _, stray := range []string{"libevil.so", "passwd"} {
				if _, err := os.Stat(filepath.Join(filepath.Dir(home), stray)); err == nil {
					t.Error("it wrote outside its folder")
				}
			}
		})
	}
}

// damage changes one byte, counted from the end where at is negative.
func damage(data []byte, at int) []byte {
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	return data
}
