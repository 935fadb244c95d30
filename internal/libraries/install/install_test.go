package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cubby/internal/libraries"
	"cubby/internal/libraries/librariestest"
)

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
	twice := file(t, "twice.tgz", makeTgz(t, []entry{{name: "a/libggml-cuda.so", data: fake("a")}, {name: "b/libggml-cuda.so", data: fake("b")}}))
	if _, err := Install(t.Context(), Options{Home: home, Paths: []string{main, twice}}); err == nil || !strings.Contains(err.Error(), "libggml-cuda.so twice") {
		t.Errorf("an archive with two of a name: %v", err)
	}
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

// What another process installed whole while this one was at work stays, unless it
// is to be replaced; what is damaged goes.
func TestCommit(t *testing.T) {
	home := t.TempDir()
	r, err := Install(t.Context(), Options{Home: home, Paths: []string{unpacked(t, set(""))}})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(replace bool) (isNew bool) {
		built := filepath.Join(t.TempDir(), "built")
		if err := errors.Join(os.CopyFS(built, os.DirFS(r.Folder)), os.WriteFile(filepath.Join(built, "new"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		in := &installer{Options: Options{Home: home, Replace: replace}, stage: t.TempDir()}
		if err := in.commit(built, r.Folder); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(r.Folder, "new"))
		return err == nil
	}
	if commit(false) {
		t.Error("it replaced what was whole")
	}
	if !commit(true) {
		t.Error("it did not replace what was whole")
	}
	if err := os.Rename(filepath.Join(r.Folder, "new"), filepath.Join(r.Folder, "old")); err != nil {
		t.Fatal(err)
	}
	if !commit(false) {
		t.Error("it did not replace what was damaged")
	}
	in := &installer{Options: Options{Home: home}, stage: t.TempDir()}
	if err := in.commit(filepath.Join(t.TempDir(), "absent"), r.Folder); err == nil {
		t.Error("it installed what is not there")
	}
	if _, err := os.Stat(filepath.Join(r.Folder, "new")); err != nil {
		t.Error("what was there did not come back:", err)
	}
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
		{Kind: "abacus"}, {Kind: map[bool]string{true: "abacus", false: libraries.Metal}[libraries.Local().OS == "darwin"]}, {From: "mars"}, {From: NPM, Paths: []string{"x"}}, {URL: "https://x", Paths: []string{"x"}}, {URL: "https://x"}, {From: NPM, URL: "https://x"},
	} {
		if o.Check() == nil {
			t.Errorf("%+v is taken", o)
		}
		if _, err := Install(t.Context(), o); err == nil {
			t.Errorf("%+v installs", o)
		}
	}
}
