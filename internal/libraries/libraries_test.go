package libraries_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/internal/libraries"
	"cubby/internal/libraries/librariestest"
	"cubby/models"
	"cubby/runtime/llama/libllama"
)

func TestVersionIsThatOfTheBinding(t *testing.T) {
	if libraries.Version != libllama.Version {
		t.Errorf("libraries of llama.cpp %s are fetched, those of %s can be loaded", libraries.Version, libllama.Version)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ file, plain, version string }{
		{"libllama.so", "llama", ""},
		{"libllama.v0.5.0.so", "llama", "0.5.0"},
		{"libllama.cuda.v0.5.0.so", "llama", "0.5.0"},
		{"libllama.so.0", "llama", ""},
		{"libllama.so.0.5.0", "llama", "0.5.0"},
		{"libllama.0.5.0.dylib", "llama", "0.5.0"},
		{"libllama.dylib", "llama", ""},
		{"llama.dll", "llama", ""},
		{"libggml-base.so.0.25.1", "ggml-base", ""},
		{"libggml-cpu-armv8.2_1.so", "ggml-cpu-armv8", ""},
		{"libllama-common.so.0.5.0", "llama-common", ""},
		{"llama-addon.node", "", ""},
		{"llama.so", "", ""},
		{"libllama.a", "", ""},
		{"libllama.so.txt", "", ""},
		{".so", "", ""},
		{"LICENSE", "", ""},
	} {
		if got := libraries.Plain(c.file); got != c.plain {
			t.Errorf("%s: plain name %q, want %q", c.file, got, c.plain)
		}
		if got := libraries.VersionOf([]string{c.file}); got != c.version {
			t.Errorf("%s: version %q, want %q", c.file, got, c.version)
		}
	}
	if got := libraries.KindOf([]string{"libggml-vulkan.so", "libggml-cpu-x64.so"}); got != libraries.Vulkan {
		t.Errorf("kind %q", got)
	}
}

// put installs a set of fakes by hand.
func put(t *testing.T, home, kind string, p libraries.Platform) libraries.Runtime {
	t.Helper()
	r := libraries.Runtime{Version: libraries.Version, Kind: kind, OS: p.OS, Arch: p.Arch, Source: []libraries.Source{{From: "a test"}}, Licence: "none"}
	r.Name = libraries.NameOf(r.Version, kind, p)
	r.Folder = filepath.Join(libraries.Parent(home), r.Name)
	if err := os.MkdirAll(r.Folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range librariestest.Set(p) {
		write(t, filepath.Join(r.Folder, name), data)
		r.Files = append(r.Files, models.File{Path: name, Size: int64(len(data)), SHA256: sha256.Sum256(data)})
	}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.Folder, libraries.ManifestName), data)
	return r
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func foreign() libraries.Platform {
	p := libraries.Local()
	if p.Arch == "amd64" {
		p.Arch = "arm64"
	} else {
		p.Arch = "amd64"
	}
	return p
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	for _, kind := range []string{"", libraries.CPU, libraries.CUDA} {
		_, err := libraries.Find(home, kind)
		if !errors.Is(err, libraries.ErrNone) || !strings.Contains(err.Error(), "fetch runtime") {
			t.Errorf("kind %q in an empty store: %v", kind, err)
		}
	}
	if _, err := libraries.Find(home, "abacus"); err == nil || errors.Is(err, libraries.ErrNone) || !strings.Contains(err.Error(), "vulkan") {
		t.Errorf("no such kind: %v", err)
	}
	put(t, home, libraries.CUDA, foreign())
	if _, err := libraries.Find(home, ""); !errors.Is(err, libraries.ErrNone) || !strings.Contains(err.Error(), foreign().Arch) {
		t.Errorf("only libraries of another machine: %v", err)
	}
	for _, kind := range []string{libraries.CPU, libraries.Vulkan, libraries.CUDA} {
		want := put(t, home, kind, libraries.Local())
		got, err := libraries.Find(home, "")
		if err != nil || got.Name != want.Name || got.Kind != kind || got.Folder != want.Folder || got.Verify() != nil {
			t.Errorf("the best of what is there: %v, %v; want %s", got.Name, err, want.Name)
		}
	}
	if got, err := libraries.Find(home, libraries.CPU); err != nil || got.Kind != libraries.CPU {
		t.Errorf("kind cpu: %v, %v", got.Name, err)
	}
	list, err := libraries.List(home)
	if err != nil || len(list) != 4 {
		t.Errorf("list: %d, %v", len(list), err)
	}
	for _, r := range list {
		if err := errors.Join(r.Err, r.Verify(), libraries.Remove(home, r.Name)); err != nil {
			t.Error(err)
		}
	}
	if list, err := libraries.List(home); err != nil || len(list) != 0 {
		t.Errorf("after removing all: %d, %v", len(list), err)
	}
	left, err := os.ReadDir(filepath.Join(home, "staging"))
	if err != nil || len(left) > 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

func TestRemoveRefuses(t *testing.T) {
	home := t.TempDir()
	put(t, home, libraries.CPU, libraries.Local())
	for _, name := range []string{"x", "..", "../runtimes", "", "a/b"} {
		if err := libraries.Remove(home, name); err == nil {
			t.Errorf("removed %q", name)
		}
	}
	if _, err := libraries.Find(home, ""); err != nil {
		t.Error(err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	const victim = "libggml-base.so"
	edit := func(t *testing.T, name string, f func([]byte) []byte) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, name, f(data))
	}
	manifest := func(old, new string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, libraries.ManifestName), func(b []byte) []byte {
				if !strings.Contains(string(b), old) {
					t.Fatalf("no %s in the manifest", old)
				}
				return []byte(strings.Replace(string(b), old, new, 1))
			})
		}
	}
	for _, c := range []struct {
		name       string
		damage     func(t *testing.T, dir string)
		file, want string
	}{
		{"a byte", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, victim), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, victim, "its SHA-256 is"},
		{"cut short", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, victim), func(b []byte) []byte { return b[:len(b)-1] })
		}, victim, "bytes, not"},
		{"empty", func(t *testing.T, dir string) { write(t, filepath.Join(dir, victim), nil) }, victim, "it has 0 bytes"},
		{"missing", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, victim)) }, victim, "it is missing"},
		{"link", func(t *testing.T, dir string) {
			name := filepath.Join(dir, victim)
			if err := errors.Join(os.Rename(name, filepath.Join(dir, "..", "x")), os.Symlink("../x", name)); err != nil {
				t.Skip(err)
			}
		}, victim, "it is not a regular file"},
		{"folder", func(t *testing.T, dir string) {
			name := filepath.Join(dir, victim)
			if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, victim, "it is not a regular file"},
		{"a file more", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "libggml-evil.so"), []byte("x")) }, "libggml-evil.so", "it was not installed"},
		{"no manifest", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, libraries.ManifestName)) }, libraries.ManifestName, "it is missing"},
		{"empty manifest", func(t *testing.T, dir string) { write(t, filepath.Join(dir, libraries.ManifestName), nil) }, libraries.ManifestName, "EOF"},
		{"a way out", manifest(`"libggml-base.so"`, `"../libggml-base.so"`), libraries.ManifestName, "it lists a file"},
		{"another schema", manifest(`"schema_version": 1`, `"schema_version": 7`), libraries.ManifestName, "schema_version is 7"},
		{"another kind", manifest(`"kind": "cpu"`, `"kind": "vulkan"`), libraries.ManifestName, "it describes llama.cpp-0.5.0"},
		{"no such kind", manifest(`"kind": "cpu"`, `"kind": "abacus"`), libraries.ManifestName, "abacus"},
		{"an unknown field", manifest(`"kind"`, `"colour": "red", "kind"`), libraries.ManifestName, "colour"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			put(t, home, libraries.CPU, libraries.Local())
			r, err := libraries.Find(home, "")
			if err != nil || r.Verify() != nil {
				t.Fatal(err, r.Verify())
			}
			c.damage(t, r.Folder)
			list, err := libraries.List(home)
			if err != nil || len(list) != 1 {
				t.Fatalf("list: %v, %v", list, err)
			}
			err = list[0].Verify()
			var damage *libraries.DamageError
			if !errors.As(err, &damage) || filepath.Base(damage.File) != c.file || !strings.Contains(damage.Problem, c.want) || damage.Repair != "fetch runtime -kind cpu" {
				t.Fatalf("error %v, want one about %s: %s", err, c.file, c.want)
			}
			if _, err := libraries.Find(home, ""); err != nil && !errors.As(err, &damage) {
				t.Errorf("find: %v", err)
			}
		})
	}
}

func TestFolder(t *testing.T) {
	fill := func(t *testing.T, p libraries.Platform, change func(map[string][]byte)) string {
		dir := t.TempDir()
		set := librariestest.Set(p)
		set["notes.txt"] = []byte("no library")
		if change != nil {
			change(set)
		}
		for name, data := range set {
			write(t, filepath.Join(dir, name), data)
		}
		return dir
	}
	dir := fill(t, libraries.Local(), nil)
	r, err := libraries.Folder(dir)
	if err != nil || r.Folder != dir || r.Version != "0.5.0" || r.Kind != libraries.CPU || r.Platform() != libraries.Local() || r.Name != "" || r.Verify() != nil {
		t.Fatalf("%+v, %v, %v", r, err, r.Verify())
	}
	write(t, filepath.Join(dir, "libggml-base.so"), nil)
	if err := r.Verify(); err == nil || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("verify: %v", err)
	}
	cut := func(set map[string][]byte) {
		set["libllama.v0.5.0.so"] = set["libllama.v0.5.0.so"][:200]
	}
	for _, c := range []struct {
		name, dir, want string
	}{
		{"absent", filepath.Join(dir, "absent"), "there is no folder"},
		{"file", filepath.Join(dir, "notes.txt"), "not a directory"},
		{"foreign", fill(t, foreign(), nil), "holds libraries for " + foreign().String() + ", this machine is " + libraries.Local().String()},
		{"cut short", fill(t, libraries.Local(), cut), "cut short"},
		{"page", fill(t, libraries.Local(), func(s map[string][]byte) { s["libggml-base.so"] = []byte("<html>") }), "it is a web page"},
		{"no libllama", fill(t, libraries.Local(), func(s map[string][]byte) { delete(s, "libllama.v0.5.0.so") }), "no libllama"},
		{"no libggml", fill(t, libraries.Local(), func(s map[string][]byte) { delete(s, "libggml.v0.5.0.so") }), "no libggml"},
		{"no base", fill(t, libraries.Local(), func(s map[string][]byte) { delete(s, "libggml-base.so") }), "no libggml-base"},
		{"no cpu", fill(t, libraries.Local(), func(s map[string][]byte) { delete(s, "libggml-cpu-x64.so") }), "no libggml-cpu"},
		{"version", fill(t, libraries.Local(), func(s map[string][]byte) {
			s["libllama.v0.6.0.so"] = s["libllama.v0.5.0.so"]
			delete(s, "libllama.v0.5.0.so")
		}), "llama.cpp 0.6.0"},
	} {
		if _, err := libraries.Folder(c.dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	above := t.TempDir()
	if err := os.CopyFS(filepath.Join(above, "package", "bins"), os.DirFS(fill(t, libraries.Local(), nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := libraries.Folder(above); err == nil || !strings.Contains(err.Error(), "did you mean "+filepath.Join(above, "package", "bins")) {
		t.Errorf("the folder above: %v", err)
	}
}

func TestKindsAreACopy(t *testing.T) {
	libraries.Kinds()[0] = "x"
	if !slices.Contains(libraries.Kinds(), libraries.Metal) {
		t.Error("the kinds can be changed from outside")
	}
}
