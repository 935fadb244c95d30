package install

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpacked writes entries to a folder.
func unpacked(t *testing.T, entries []entry) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range entries {
		path := filepath.Join(dir, e.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.dir:
		case e.link != "":
			if err := os.Symlink(e.link, path); err != nil {
				t.Skip(err)
			}
		default:
			if err := os.WriteFile(path, []byte(e.data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// checkStore wants every installed set to be whole, of regular files only, and
// nothing left in staging.
func checkStore(t *testing.T, home string, want int) {
	t.Helper()
	list, err := libraries.List(home)
	if err != nil || len(list) != want {
		t.Errorf("the store has %d sets, %v; want %d", len(list), err, want)
	}
	for _, r := range list {
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(home, "staging"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(left) > 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

func names(r libraries.Runtime) []string {
	var list []string
	for _, f := range r.Files {
		list = append(list, f.Path)
	}
	slices.Sort(list)
	return list
}

func TestInstallPaths(t *testing.T) {
	want := append(librariestest.Names(), "LICENSE", llamaLicenceName)
	slices.Sort(want)
	for name, path := range map[string]string{
		"tgz":                    file(t, "a.tgz", makeTgz(t, set("package/bins/x/"))),
		"tar":                    file(t, "a.tar", makeTar(t, set("llama-b1/"))),
		"zip":                    file(t, "a.zip", makeZip(t, set("x/"))),
		"zip without folder":     file(t, "b.zip", makeZip(t, set("")[1:])),
		"by content, not suffix": file(t, "download", makeTgz(t, set("./"))),
		"folder":                 unpacked(t, set("")),
		"folder above":           unpacked(t, set("package/bins/x/")),
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			opt := Options{Home: home, Paths: []string{path}}
			r, err := Install(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			if r.Already || r.Kind != libraries.CPU || r.Platform() != libraries.Local() || !slices.Equal(names(r.Runtime), want) {
				t.Errorf("%+v; want files %v", r, want)
			}
			if found, err := libraries.Find(home, ""); err != nil || found.Name != r.Name {
				t.Errorf("found %v, %v", found.Name, err)
			}
			if folder, err := libraries.Folder(r.Folder); err != nil || folder.Version != libraries.Version {
				t.Errorf("as a plain folder: %+v, %v", folder, err)
			}
			checkStore(t, home, 1)
			if r, err := Install(t.Context(), opt); err != nil || !r.Already {
				t.Errorf("the second time: %+v, %v", r, err)
			}
			checkStore(t, home, 1)
		})
	}
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

func TestInstallRefusesOtherLibraries(t *testing.T) {
	p := libraries.Local()
	p.OS = map[string]string{"linux": "windows"}[p.OS]
	if p.OS == "" {
		p.OS = "linux"
	}
	other := string(librariestest.Library(p, "x"))
	change := func(name, to string, e ...entry) []entry {
		list := slices.DeleteFunc(set("x/"), func(e entry) bool { return e.name == "x/"+name })
		if to != "" {
			list = append(list, entry{name: "x/" + name, data: to})
		}
		return append(list, e...)
	}
	const base, llama = "libggml-base.so", "libllama.v0.5.0.so"
	for _, c := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"no libraries", []entry{{name: "README", data: "x"}}, "there is no libllama"},
		{"no base", change(base, ""), "it lacks libggml-base"},
		{"foreign", change(base, other), "holds libraries for " + p.String() + ", this machine is " + libraries.Local().String()},
		{"empty", change("libggml-cpu-x64.so", "\n")[:6], "it lacks libggml-cpu"},
		{"empty file", append(change(base, ""), entry{name: "x/" + base}), "it is empty"},
		{"page", change(base, "<html>"), "it is a web page"},
		{"cut short", change(base, fake(base)[:150]), "cut short"},
		{"version", change(llama, "", entry{name: "x/libllama.v0.4.0.so", data: fake("llama")}), "it is llama.cpp 0.4.0"},
		{"two sets", append(set("a/"), set("b/")...), "several folders in it hold libllama: a, b"},
	} {
		home := t.TempDir()
		_, err := Install(t.Context(), Options{Home: home, Paths: []string{file(t, "a.tgz", makeTgz(t, c.entries))}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		checkStore(t, home, 0)
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "absent"), os.DevNull} {
		if _, err := Install(t.Context(), Options{Home: t.TempDir(), Paths: []string{path}}); err == nil {
			t.Errorf("%s was installed", path)
		}
	}
}

func TestInstallKinds(t *testing.T) {
	home := t.TempDir()
	main := file(t, "main.tgz", makeTgz(t, append(set("x/"), entry{name: "x/libggml-cuda.so", data: fake("thirteen")})))
	ext := file(t, "ext.tgz", makeTgz(t, []entry{{name: "y/fallback/libggml-cuda.so", data: fake("twelve")}, {name: "y/libcudart.so.12", data: fake("rt")}, {name: "y/EULA.txt", data: "terms"}, {name: "LICENSE", data: "MIT, again"}}))
	r, err := Install(t.Context(), Options{Home: home, Paths: []string{main}})
	if err != nil || r.Kind != libraries.CUDA || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "CUDA 13") {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = Install(t.Context(), Options{Home: home, Kind: libraries.CUDA12, Paths: []string{main, ext}})
	if err != nil || r.Kind != libraries.CUDA12 || len(r.Source) != 2 || len(r.Notes) != 0 || !strings.Contains(r.Licence, "NVIDIA's terms") {
		t.Fatalf("%+v, %v", r, err)
	}
	data, err := os.ReadFile(filepath.Join(r.Folder, "libggml-cuda.so"))
	if err != nil || string(data) != fake("twelve") {
		t.Errorf("the later archive's library is not the one installed: %v", err)
	}
	for _, name := range []string{"libcudart.so.12", "LICENSE", "LICENSE.2"} {
		if !slices.Contains(names(r.Runtime), name) {
			t.Errorf("no %s in %v", name, names(r.Runtime))
		}
	}
	checkStore(t, home, 2)
	if _, err := Install(t.Context(), Options{Home: home, Kind: libraries.CPU, Paths: []string{main}}); err == nil || !strings.Contains(err.Error(), "of kind cuda, not cpu") {
		t.Errorf("another kind: %v", err)
	}
	if found, err := libraries.Find(home, ""); err != nil || found.Kind != libraries.CUDA {
		t.Errorf("found %v, %v", found.Kind, err)
	}
}

func TestReplace(t *testing.T) {
	home := t.TempDir()
	first := file(t, "first.tgz", makeTgz(t, set("x/")))
	second := file(t, "second.tgz", makeTgz(t, append(set("x/"), entry{name: "x/libmore.so", data: fake("more")})))
	opt := Options{Home: home, Paths: []string{first}}
	if _, err := Install(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	opt.Paths = []string{second}
	if _, err := Install(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "-replace") {
		t.Errorf("other files without -replace: %v", err)
	}
	opt.Replace = true
	r, err := Install(t.Context(), opt)
	if err != nil || r.Already || !slices.Contains(names(r.Runtime), "libmore.so") {
		t.Fatalf("with -replace: %+v, %v", r, err)
	}
	checkStore(t, home, 1)
	victim := filepath.Join(r.Folder, "libmore.so")
	if err := errors.Join(os.Remove(victim), os.WriteFile(victim, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	opt.Replace = false
	if r, err = Install(t.Context(), opt); err != nil || r.Already {
		t.Errorf("over damage: %+v, %v", r, err)
	}
	checkStore(t, home, 1)
}

// Several processes may install the same at once.
func TestInstallAtOnce(t *testing.T) {
	home := t.TempDir()
	path := file(t, "a.tgz", makeTgz(t, set("x/")))
	errs := make(chan error)
	const n = 8
	for range n {
		go func() {
			_, err := Install(t.Context(), Options{Home: home, Paths: []string{path}})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	checkStore(t, home, 1)
}

func TestInstallInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	home := t.TempDir()
	for _, path := range []string{file(t, "a.tgz", makeTgz(t, set("x/"))), file(t, "a.zip", makeZip(t, set("x/"))), unpacked(t, set(""))} {
		if _, err := Install(ctx, Options{Home: home, Paths: []string{path}}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	checkStore(t, home, 0)
}

func TestStaleStagingIsCleared(t *testing.T) {
	home := t.TempDir()
	old, err := libraries.Staging(home)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := libraries.Staging(home)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	clearStale(home, time.Now())
	if _, err := os.Stat(old); err == nil {
		t.Error("what a killed process left is still there")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("what a living process uses is gone")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Kind: "abacus"}, {From: "mars"}, {From: NPM, Paths: []string{"x"}}, {URL: "https://x", Paths: []string{"x"}}, {URL: "https://x"}, {From: NPM, URL: "https://x"},
	} {
		if o.Check() == nil {
			t.Errorf("%+v is taken", o)
		}
		if _, err := Install(t.Context(), o); err == nil {
			t.Errorf("%+v installs", o)
		}
	}
}
