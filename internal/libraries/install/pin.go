//go:build ignore

// Pin writes npm.json: the packages of node-llama-cpp on npm with their sizes and
// digests. Run it by "go generate" where npm and its registry can be reached.
//
// Where the data come from: the list of packages is what node-llama-cpp of the same
// version names as optional dependencies; size, integrity and SHA-256 are those of
// the tarballs that "npm pack" brings, after npm and this program have both held
// them against the integrity that the registry publishes. Packages that the
// registry does not have are left out, and said. The libraries for one system may
// take two packages: "-ext" holds another libggml-cuda, built for CUDA 12.
package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	version = "3.22.1" // of node-llama-cpp
	llama   = "0.5.0"  // of llama.cpp in it
	scope   = "@node-llama-cpp/"
)

type pkg struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Size      int    `json:"size"`
	Integrity string `json:"integrity"`
	SHA256    string `json:"sha256"`
}

type set struct {
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	Kind     string   `json:"kind"`
	Packages []string `json:"packages"`
}

// sets are the systems that Cubby's binding of libllama may run on.
var sets = []set{
	{"linux", "amd64", "cpu", []string{"linux-x64"}},
	{"linux", "amd64", "cuda", []string{"linux-x64-cuda"}},
	{"linux", "amd64", "cuda12", []string{"linux-x64-cuda", "linux-x64-cuda-ext"}},
	{"linux", "amd64", "vulkan", []string{"linux-x64-vulkan"}},
	{"linux", "arm64", "cpu", []string{"linux-arm64"}},
	{"darwin", "amd64", "cpu", []string{"mac-x64"}},
	{"darwin", "arm64", "metal", []string{"mac-arm64-metal"}},
	{"windows", "amd64", "cpu", []string{"win-x64"}},
	{"windows", "amd64", "cuda", []string{"win-x64-cuda"}},
	{"windows", "amd64", "cuda12", []string{"win-x64-cuda", "win-x64-cuda-ext"}},
	{"windows", "amd64", "vulkan", []string{"win-x64-vulkan"}},
	{"windows", "arm64", "cpu", []string{"win-arm64"}},
}

func main() {
	log.SetFlags(0)
	var listed map[string]string
	npm(&listed, "view", "node-llama-cpp@"+version, "optionalDependencies", "--json")
	dir, err := os.MkdirTemp("", "pin-")
	check(err)
	defer os.RemoveAll(dir)
	out := struct {
		Origin   string `json:"origin"`
		Llama    string `json:"llama.cpp"`
		Packages []pkg  `json:"packages"`
		Sets     []set  `json:"sets"`
	}{Origin: "written by pin.go from the npm registry: optional dependencies of node-llama-cpp@" + version, Llama: llama}
	pinned := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		used := slices.ContainsFunc(sets, func(s set) bool { return slices.Contains(s.Packages, strings.TrimPrefix(name, scope)) })
		if !used || listed[name] != version {
			log.Print("not used: ", name, "@", listed[name])
			continue
		}
		p, ok := pin(dir, name)
		if !ok {
			log.Print("not in the registry: ", name, "@", version)
			continue
		}
		out.Packages = append(out.Packages, p)
		pinned[name] = true
	}
	for _, s := range sets {
		for i := range s.Packages {
			s.Packages[i] = scope + s.Packages[i]
		}
		if !slices.ContainsFunc(s.Packages, func(name string) bool { return !pinned[name] }) {
			out.Sets = append(out.Sets, s)
		}
	}
	data, err := json.MarshalIndent(out, "", "  ")
	check(err)
	check(os.WriteFile("npm.json", append(data, '\n'), 0o644))
}

// pin downloads one package and hashes it.
func pin(dir, name string) (pkg, bool) {
	spec := name + "@" + version
	var dist struct{ Integrity string }
	if exec.Command("npm", "view", spec, "dist", "--json").Run() != nil {
		return pkg{}, false
	}
	npm(&dist, "view", spec, "dist", "--json")
	var packed []struct{ Filename string }
	npm(&packed, "pack", spec, "--json", "--ignore-scripts", "--pack-destination", dir)
	data, err := os.ReadFile(filepath.Join(dir, packed[0].Filename))
	check(err)
	check(os.Remove(filepath.Join(dir, packed[0].Filename)))
	h512, h256 := sha512.Sum512(data), sha256.Sum256(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h512[:]); got != dist.Integrity {
		log.Fatalf("%s: integrity is %s, the registry publishes %s", spec, got, dist.Integrity)
	}
	fmt.Println(spec, len(data))
	return pkg{name, version, len(data), dist.Integrity, hex.EncodeToString(h256[:])}, true
}

func npm(v any, args ...string) {
	out, err := exec.Command("npm", args...).Output()
	check(err)
	check(json.Unmarshal(out, v))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
