package install

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cubby/internal/libraries"
	"cubby/models"
)

// GitHub is where the API of releases is.
const GitHub = "https://api.github.com"

// release and asset are what GitHub's API tells of a release, as far as it is used.
type release struct {
	Tag    string  `json:"tag_name"`
	Assets []asset `json:"assets"`
}

type asset struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"` // "sha256:…"; null for files uploaded before GitHub counted them
	URL    string `json:"browser_download_url"`
}

// errNoAsset is in the chain of errors about a release that lacks what is wanted.
var errNoAsset = errors.New("the release has no such archive")

// nightlyName is the one file of a numbered release of llama.cpp: it names the
// nightly release, of the same commit, that has the archives.
const nightlyName = "nightly-tag.txt"

var nightlyRule = regexp.MustCompile(`^b[0-9]{1,9}$`)

// fetchRelease downloads the archives of a release. Their digests are those that
// GitHub publishes beside them: what is trusted is its certificate.
func (in *installer) fetchRelease(ctx context.Context) ([]part, error) {
	r, err := in.release(ctx, "v"+libraries.Version)
	if err != nil {
		return nil, err
	}
	list, err := pick(r, libraries.Local(), in.kind())
	if errors.Is(err, errNoAsset) {
		if nightly, ok := r.find(nightlyName); ok {
			if r, err = in.nightly(ctx, nightly); err != nil {
				return nil, err
			}
			list, err = pick(r, libraries.Local(), in.kind())
		}
	}
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, a := range list {
		p, err := in.asset(ctx, a)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// release asks for the release of a tag.
func (in *installer) release(ctx context.Context, tag string) (r release, err error) {
	address := strings.TrimSuffix(cmp.Or(in.Releases, GitHub), "/") + "/repos/ggml-org/llama.cpp/releases/tags/" + tag
	in.say("looking at %s", address)
	data, err := in.small(ctx, remote{url: address, limit: maxAnswer})
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, &NetworkError{From: address, Problem: "the answer is not a release in JSON", Err: err}
	}
	if r.Tag != tag {
		return r, &NetworkError{From: address, Problem: fmt.Sprintf("the answer is about %.80q", r.Tag)}
	}
	return r, nil
}

// small downloads something to be read here.
func (in *installer) small(ctx context.Context, want remote) ([]byte, error) {
	if want.size > maxAnswer {
		return nil, &ChecksumError{want.url, fmt.Sprintf("it has %d bytes", want.size)}
	}
	file, err := in.download(ctx, want)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// nightly follows a numbered release to the one that has the archives.
func (in *installer) nightly(ctx context.Context, a asset) (release, error) {
	want, err := a.remote()
	if err != nil {
		return release{}, err
	}
	data, err := in.small(ctx, want)
	if err != nil {
		return release{}, err
	}
	tag := strings.TrimSpace(string(data))
	if !nightlyRule.MatchString(tag) {
		return release{}, &NetworkError{From: a.URL, Problem: fmt.Sprintf("it names no release: %.80q", tag)}
	}
	return in.release(ctx, tag)
}

func (r release) find(name string) (asset, bool) {
	i := slices.IndexFunc(r.Assets, func(a asset) bool { return a.Name == name })
	if i < 0 {
		return asset{}, false
	}
	return r.Assets[i], true
}

// remote is what the release says of the file. One without a digest is refused.
func (a asset) remote() (remote, error) {
	d, err := models.ParseDigest(a.Digest)
	if err != nil || a.Size <= 0 || a.Size > maxArchive {
		return remote{}, &NetworkError{From: a.URL, Problem: fmt.Sprintf("the release gives no usable size and SHA-256 for it: %d, %.80q", a.Size, a.Digest), final: true}
	}
	return remote{url: a.URL, size: a.Size, sha256: &d}, nil
}

func (in *installer) asset(ctx context.Context, a asset) (part, error) {
	want, err := a.remote()
	if err != nil {
		return part{}, err
	}
	in.say("downloading %s (%.1f MiB)", a.Name, float64(a.Size)/(1<<20))
	file, err := in.download(ctx, want)
	return part{file, libraries.Source{From: a.URL, SHA256: *want.sha256}}, err
}

// Names of archives: llama-TAG-bin-SYSTEM-ARCH.tar.gz, with the device in SYSTEM.
var (
	upstreamSystems = map[string]string{"linux": "ubuntu", "darwin": "macos", "windows": "win"}
	upstreamArchs   = map[string]string{"amd64": "x64", "arm64": "arm64"}
	cudaRule        = regexp.MustCompile(`-cuda-([0-9]+)\.([0-9]+)-`)
)

// pick returns the archives of a release for a system: that of llama.cpp, and with
// CUDA that of its libraries where there is one.
func pick(r release, p libraries.Platform, kind string) ([]asset, error) {
	system, arch := upstreamSystems[p.OS], upstreamArchs[p.Arch]
	end := arch + ".tar.gz"
	if p.OS == "windows" {
		end = arch + ".zip"
	}
	start := "llama-" + r.Tag + "-bin-" + system + "-"
	switch {
	case system == "" || arch == "":
	case kind == libraries.CUDA || kind == libraries.CUDA12:
		if list := pickCUDA(r, start, end, kind); list != nil {
			return list, nil
		}
	default:
		middle := map[string]string{libraries.Vulkan: "vulkan-", libraries.CPU: ""}[kind]
		if kind == libraries.CPU && p.OS == "windows" {
			middle = "cpu-"
		}
		if a, ok := r.find(start + middle + end); ok && sensible(p, kind) {
			return []asset{a}, nil
		}
	}
	return nil, fmt.Errorf("%w: %s, kind %s, in llama.cpp %s", errNoAsset, p, kind, r.Tag)
}

// sensible says whether the archive of that name is of that kind: macOS has one
// for each processor, with Metal on Apple's own.
func sensible(p libraries.Platform, kind string) bool {
	if p.OS == "darwin" {
		return (p.Arch == "arm64") == (kind == libraries.Metal)
	}
	return kind != libraries.Metal
}

// pickCUDA takes the lowest minor version, which most drivers run.
func pickCUDA(r release, start, end, kind string) []asset {
	var best asset
	lowest := 0
	for _, a := range r.Assets {
		v := cudaRule.FindStringSubmatch(a.Name)
		if v == nil || !strings.HasPrefix(a.Name, start+"cuda-") || !strings.HasSuffix(a.Name, "-"+end) {
			continue
		}
		minor, err := strconv.Atoi(v[2])
		if err != nil || (v[1] == "12") != (kind == libraries.CUDA12) {
			continue
		}
		if best.Name == "" || minor < lowest {
			best, lowest = a, minor
		}
	}
	if best.Name == "" {
		return nil
	}
	list := []asset{best}
	for _, name := range []string{"cudart-" + best.Name, "cudart-llama-" + strings.TrimPrefix(best.Name, "llama-"+r.Tag+"-")} {
		if a, ok := r.find(name); ok {
			return append(list, a)
		}
	}
	return list
}
