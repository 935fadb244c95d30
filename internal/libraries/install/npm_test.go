package install

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"cubby/internal/libraries"
	"cubby/models"
)

// fakeNPM puts a client on the PATH, alone, that does what a script says, and pins
// an archive for this machine.
func fakeNPM(t *testing.T, script string, archive []byte) {
	t.Helper()
	if goruntime.GOOS == "windows" {
		t.Skip("the fake npm is a shell script")
	}
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "npm"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha512.Sum512(archive)
	name := "@node-llama-cpp/fake"
	p := pins{
		Packages: []npmPackage{{Name: name, Version: "1.0.0", Size: int64(len(archive)), Integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:]), SHA256: models.DigestOf(archive)}},
		Sets:     []npmSet{{OS: libraries.Local().OS, Arch: libraries.Local().Arch, Kind: libraries.CPU, Packages: []string{name}}},
	}
	before := known
	known = p
	t.Cleanup(func() { known = before })
	t.Setenv("PATH", dir)
}

func TestNPM(t *testing.T) {
	archive := makeTgz(t, set("package/bins/x/"))
	src := file(t, "src.tgz", archive)
	// The arguments are checked; what the fake brings lies in the folder that it runs in.
	fakeNPM(t, fmt.Sprintf(`test "$1 $2 $3 $4" = "pack @node-llama-cpp/fake@1.0.0 --pack-destination ." || exit 9
while IFS= read -r line; do :; done < /dev/null
exec /bin/cp %q node-llama-cpp-fake-1.0.0.tgz`, src), archive)
	home := t.TempDir()
	for _, opt := range []Options{{Home: home, From: NPM, Kind: libraries.CPU}, {Home: t.TempDir(), Kind: libraries.CPU}} {
		r, err := Install(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Source[0]; s.From != "npm @node-llama-cpp/fake@1.0.0" || !s.Pinned || !strings.Contains(r.Licence, "node-llama-cpp: MIT") {
			t.Errorf("%+v", r)
		}
		checkStore(t, opt.Home, 1)
	}
	if _, err := Install(t.Context(), Options{Home: home, From: NPM, Kind: libraries.Vulkan}); err == nil || !strings.Contains(err.Error(), "-from upstream") {
		t.Errorf("a kind that is not pinned: %v", err)
	}
}

func TestNPMFaults(t *testing.T) {
	archive := makeTgz(t, set("package/bins/x/"))
	changed := file(t, "changed.tgz", damage(slices.Clone(archive), 20))
	longer := file(t, "longer.tgz", append(slices.Clone(archive), 'x'))
	network, sum := new(*NetworkError), new(*ChecksumError)
	for _, c := range []struct {
		name, script, want string
		as                 any
	}{
		{"missing", "", "the npm client is not installed", nil},
		{"fails", "echo 'npm error code E404' >&2; echo 'npm error 404 Not Found.' >&2; echo 'npm error A complete log of this run can be found in: x' >&2; exit 1", "npm failed: code E404; 404 Not Found;", network},
		{"fails in silence", "exit 7", "exit status 7", network},
		{"leaves nothing", "exit 0", "it left 0 archives", network},
		{"leaves two", "echo >a.tgz; echo >b.tgz", "it left 2 archives", network},
		{"another digest", "/bin/cp " + changed + " a.tgz", "its SHA-256 is", sum},
		{"another size", "/bin/cp " + longer + " a.tgz", "bytes, not", sum},
	} {
		t.Run(c.name, func(t *testing.T) {
			fakeNPM(t, c.script, archive)
			home := t.TempDir()
			_, err := Install(t.Context(), Options{Home: home, Kind: libraries.CPU, From: NPM})
			if err == nil || !strings.Contains(err.Error(), c.want) || c.as != nil && !errors.As(err, c.as) {
				t.Errorf("error %T %v, want %q", err, err, c.want)
			}
			if c.as != sum && err != nil && !strings.Contains(err.Error(), "from "+Upstream) && !strings.Contains(err.Error(), "archives, not one") {
				t.Errorf("it names no other way: %v", err)
			}
			checkStore(t, home, 0)
		})
	}
	t.Run("other integrity", func(t *testing.T) {
		fakeNPM(t, "/bin/cp "+file(t, "a.tgz", archive)+" a.tgz", archive)
		known.Packages[0].Integrity = "sha512-AAAA"
		if _, err := Install(t.Context(), Options{Home: t.TempDir(), Kind: libraries.CPU, From: NPM}); !errors.As(err, sum) || !strings.Contains(err.Error(), "its integrity is") {
			t.Errorf("error %v", err)
		}
	})
}

// Without a place to fetch from, npm comes first, then upstream.
func TestDefaultOrder(t *testing.T) {
	quick(t)
	fakeNPM(t, "", nil)
	g, kind := asGitHubHas(t)
	r, err := Install(t.Context(), Options{Home: t.TempDir(), Releases: g.URL})
	if err != nil || r.Kind != kind || !strings.HasPrefix(r.Source[0].From, g.URL) {
		t.Errorf("without npm: %+v, %v", r, err)
	}
}

// The pins are whole: what they name is there, and for the version that is loaded.
func TestPins(t *testing.T) {
	if known.Llama != libraries.Version || len(known.Packages) == 0 {
		t.Errorf("%d packages of llama.cpp %s", len(known.Packages), known.Llama)
	}
	for _, p := range known.Packages {
		if p.Size <= 0 || p.Size > maxArchive || !strings.HasPrefix(p.Integrity, "sha512-") || p.SHA256 == (models.Digest{}) || !strings.HasPrefix(p.Name, "@node-llama-cpp/") {
			t.Errorf("%+v", p)
		}
	}
	for _, s := range known.Sets {
		if !slices.Contains(libraries.Kinds(), s.Kind) || len(s.Packages) == 0 {
			t.Errorf("%+v", s)
		}
		for _, name := range s.Packages {
			if !slices.ContainsFunc(known.Packages, func(p npmPackage) bool { return p.Name == name }) {
				t.Errorf("%s is not pinned", name)
			}
		}
	}
}

// The real client brings the real package.
func TestRealNPM(t *testing.T) {
	if testing.Short() {
		t.Skip("it downloads 10 MiB")
	}
	packages := pinned(libraries.CPU)
	if packages == nil {
		t.Skip("no package is known for this machine")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), npm, "view", packages[0].spec(), "version").CombinedOutput(); err != nil {
		t.Skipf("the registry cannot be reached: %.200s", out)
	}
	home := t.TempDir()
	r, err := Install(t.Context(), Options{Home: home, From: NPM, Kind: libraries.CPU})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Source[0].Pinned || len(r.Files) < 8 || r.Size() < 10<<20 || !slices.Contains(names(r.Runtime), "libllama.v0.5.0.so") {
		t.Errorf("%+v", r)
	}
	if folder, err := libraries.Folder(r.Folder); err != nil || folder.Version != libraries.Version {
		t.Errorf("%+v, %v", folder, err)
	}
	checkStore(t, home, 1)
}
