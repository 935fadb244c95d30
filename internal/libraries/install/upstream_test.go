package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/libraries"
	"cubby/models"
	"cubby/models/importer"
)

// quick shortens what a download waits for.
func quick(t *testing.T) {
	stall, retry := stallAfter, retryAfter
	stallAfter, retryAfter = 2*time.Second, time.Millisecond
	t.Cleanup(func() { stallAfter, retryAfter = stall, retry })
}

// archiveName is that of the CPU archive for this machine, or of the only one.
func archiveName(t *testing.T, tag string) (name, kind string) {
	p := libraries.Local()
	system, arch := upstreamSystems[p.OS], upstreamArchs[p.Arch]
	if system == "" || arch == "" {
		t.Skip("upstream has no archives for this machine")
	}
	switch {
	case p.OS == "windows":
		return "llama-" + tag + "-bin-win-cpu-" + arch + ".zip", libraries.CPU
	case p.OS == "darwin" && p.Arch == "arm64":
		return "llama-" + tag + "-bin-macos-arm64.tar.gz", libraries.Metal
	}
	return "llama-" + tag + "-bin-" + system + "-" + arch + ".tar.gz", libraries.CPU
}

// github answers as GitHub does: releases by tag, and their files by a redirect.
type github struct {
	*httptest.Server
	releases map[string]release
	files    map[string][]byte
	// serve, where set, answers a file's request in its own way and says true.
	serve    func(w http.ResponseWriter, r *http.Request, data []byte) bool
	requests atomic.Int32 // of files
}

func newGitHub(t *testing.T) *github {
	g := &github{releases: map[string]release{}, files: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/ggml-org/llama.cpp/releases/tags/{tag}", func(w http.ResponseWriter, r *http.Request) {
		rel, ok := g.releases[r.PathValue("tag")]
		if !ok {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"Not Found","status":"404"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if err := json.NewEncoder(w).Encode(rel); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /download/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/store/"+r.PathValue("name"), http.StatusFound)
	})
	mux.HandleFunc("GET /store/{name}", func(w http.ResponseWriter, r *http.Request) {
		data := g.files[r.PathValue("name")]
		g.requests.Add(1)
		if g.serve != nil && g.serve(w, r, data) {
			return
		}
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	})
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

// add puts a file into a release.
func (g *github) add(tag, name string, data []byte) {
	g.files[name] = data
	r := g.releases[tag]
	r.Tag = tag
	r.Assets = append(r.Assets, asset{name, int64(len(data)), models.DigestOf(data).String(), g.URL + "/download/" + name})
	g.releases[tag] = r
}

// asGitHubHas is the state of the real thing: the numbered release holds a file
// that names the nightly one, and that the archives.
func asGitHubHas(t *testing.T) (g *github, kind string) {
	g = newGitHub(t)
	g.add("v"+libraries.Version, nightlyName, []byte("b11146\n"))
	name, kind := archiveName(t, "b11146")
	g.add("b11146", "llama-b11146-xcframework.zip", []byte("no"))
	entries := set("llama-b11146/")
	if kind == libraries.Metal {
		entries = append(entries, entry{name: "llama-b11146/libggml-metal.dylib", data: fake("metal")})
	}
	if strings.HasSuffix(name, ".zip") {
		g.add("b11146", name, makeZip(t, entries))
	} else {
		g.add("b11146", name, makeTgz(t, entries))
	}
	return g, kind
}

func TestUpstream(t *testing.T) {
	quick(t)
	g, kind := asGitHubHas(t)
	home := t.TempDir()
	var said strings.Builder
	opt := Options{Home: home, From: Upstream, Releases: g.URL, Progress: &said}
	r, err := Install(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := archiveName(t, "b11146")
	if r.Already || r.Kind != kind || r.Source[0].From != g.URL+"/download/"+name || r.Source[0].Pinned || r.Source[0].SHA256 != models.DigestOf(g.files[name]) || !strings.Contains(said.String(), name) {
		t.Errorf("%+v; it said %s", r, said.String())
	}
	checkStore(t, home, 1)
	before := g.requests.Load()
	if r, err := Install(t.Context(), opt); err != nil || !r.Already || g.requests.Load() != before {
		t.Errorf("the second time: %+v, %v, %d more downloads", r, err, g.requests.Load()-before)
	}
	opt.Replace = true
	if r, err := Install(t.Context(), opt); err != nil || r.Already || g.requests.Load() == before {
		t.Errorf("with -replace: %+v, %v", r, err)
	}
	checkStore(t, home, 1)
}

// A release that has its archives itself needs no other.
func TestUpstreamWithoutNightly(t *testing.T) {
	quick(t)
	old, _ := asGitHubHas(t)
	g := newGitHub(t)
	from, _ := archiveName(t, "b11146")
	to, _ := archiveName(t, "v"+libraries.Version)
	g.add("v"+libraries.Version, to, old.files[from])
	home := t.TempDir()
	if _, err := Install(t.Context(), Options{Home: home, From: Upstream, Releases: g.URL + "/"}); err != nil {
		t.Error(err)
	}
	checkStore(t, home, 1)
}

// isArchive says whether the request is for the big file.
func isArchive(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, nightlyName) }

func TestUpstreamFaults(t *testing.T) {
	type fault struct {
		name  string
		spoil func(g *github)
		want  string
		as    any // target of errors.As; nil where it must succeed
		most  int32
	}
	network, sum, archive := new(*NetworkError), new(*ChecksumError), new(*importer.ArchiveError)
	serve := func(f func(w http.ResponseWriter, r *http.Request, data []byte)) func(*github) {
		return func(g *github) {
			g.serve = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
				if isArchive(r) {
					f(w, r, data)
				}
				return isArchive(r)
			}
		}
	}
	edit := func(f func(a *asset)) func(*github) {
		return func(g *github) {
			for tag := range g.releases {
				for i := range g.releases[tag].Assets {
					f(&g.releases[tag].Assets[i])
				}
			}
		}
	}
	redirect := func(to string) func(*github) {
		return serve(func(w http.ResponseWriter, r *http.Request, _ []byte) { http.Redirect(w, r, to, http.StatusFound) })
	}
	var seen atomic.Int32
	// first answers the first request of an archive in one way, and the others well.
	first := func(f func(w http.ResponseWriter, r *http.Request, data []byte)) func(*github) {
		return func(g *github) {
			seen.Store(0)
			g.serve = func(w http.ResponseWriter, r *http.Request, data []byte) bool {
				if isArchive(r) && seen.Add(1) == 1 {
					f(w, r, data)
					return true
				}
				return false
			}
		}
	}
	half := func(w http.ResponseWriter, r *http.Request, data []byte) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:len(data)/2]) // the client may be gone
	}
	for _, c := range []fault{
		{"wrong digest", edit(func(a *asset) { a.Digest = "sha256:" + strings.Repeat("0", 64) }), "its SHA-256 is", sum, 1},
		{"changed file", func(g *github) {
			for name := range g.files {
				g.files[name] = damage(slices.Clone(g.files[name]), 20%len(g.files[name]))
			}
		}, "its SHA-256 is", sum, 1},
		{"size too small", edit(func(a *asset) { a.Size-- }), "bytes, not", sum, 1},
		{"size too large", edit(func(a *asset) { a.Size++ }), "bytes, not", sum, 1},
		{"no digest", edit(func(a *asset) { a.Digest = "" }), "no usable size and SHA-256", network, 0},
		{"another digest", edit(func(a *asset) { a.Digest = "md5:00" }), "no usable size and SHA-256", network, 0},
		{"no size", edit(func(a *asset) { a.Size = 0 }), "no usable size", network, 0},
		{"huge", edit(func(a *asset) { a.Size = maxArchive + 1 }), "no usable size", network, 0},
		{"plain http elsewhere", edit(func(a *asset) { a.URL = "http://example.com/a.tar.gz" }), "is not https", nil, 0},
		{"file address", edit(func(a *asset) { a.URL = "file:///etc/passwd" }), "is not https", nil, 0},
		{"no release", func(g *github) { clear(g.releases) }, "404", network, 0},
		{"no nightly release", func(g *github) { delete(g.releases, "b11146") }, "404", network, 1},
		{"nightly tag is none", func(g *github) {
			delete(g.releases, "v0.5.0")
			g.add("v0.5.0", nightlyName, []byte("../../x\n"))
		}, "it names no release", network, 1},
		{"no archive for us", func(g *github) { g.releases["b11146"] = release{Tag: "b11146"} }, "has no such archive", nil, 1},
		{"another release", func(g *github) { g.releases["v0.5.0"] = g.releases["b11146"] }, `is about "b11146"`, network, 0},
		{"404", serve(func(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) }), "nothing at this address (404)", network, 2},
		{"rate limit", serve(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.WriteHeader(http.StatusForbidden)
		}), "too many requests", network, 2},
		{"forbidden", serve(func(w http.ResponseWriter, r *http.Request, _ []byte) { w.WriteHeader(http.StatusForbidden) }), "403", network, 2},
		{"500 always", serve(func(w http.ResponseWriter, r *http.Request, _ []byte) { w.WriteHeader(500) }), "500", network, 1 + tries},
		{"HTML", serve(func(w http.ResponseWriter, r *http.Request, _ []byte) { fmt.Fprint(w, "<html>Log in</html>") }), "a web page came", network, 2},
		{"redirect loop", redirect("/download/loop"), "more than 5 redirects", network, 100},
		{"redirect to plain http", redirect("http://example.com/a"), "is not https", network, 100},
		{"redirect to a file", redirect("file:///etc/passwd"), "is not https", network, 100},
		{"cut short always", serve(func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
		}), "broke off", network, 1 + tries},
		{"cut short, no length", serve(func(w http.ResponseWriter, r *http.Request, data []byte) {
			_, _ = w.Write(data[:len(data)/2])
			w.(http.Flusher).Flush()
		}), "it ended behind", network, 1 + tries},
		{"too long, no length", serve(func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(append(slices.Clone(data), 'x'))
		}), "it has more than", sum, 2},
		{"stall", serve(func(w http.ResponseWriter, r *http.Request, data []byte) {
			half(w, r, data)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "no byte came for", network, 1 + tries},
		{"bad archive, well described", func(g *github) {
			g.releases["b11146"] = release{}
			name, _ := archiveNameOf("b11146")
			g.add("b11146", name, []byte("7z\xbc\xaf"))
		}, "7z", archive, 2},

		{"500 once", first(func(w http.ResponseWriter, r *http.Request, _ []byte) { w.WriteHeader(500) }), "", nil, 3},
		{"cut short once", first(half), "", nil, 3},
		{"gone once", first(func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }), "", nil, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			quick(t)
			g, _ := asGitHubHas(t)
			c.spoil(g)
			home := t.TempDir()
			_, err := Install(t.Context(), Options{Home: home, From: Upstream, Releases: g.URL})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("it failed: %v", err)
			case c.want == "":
				checkStore(t, home, 1)
				return
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("error %v, want %q", err, c.want)
			case c.as != nil && !errors.As(err, c.as):
				t.Errorf("error %T %v is of another type", err, err)
			}
			if n := g.requests.Load(); n > c.most {
				t.Errorf("%d downloads, at most %d make sense", n, c.most)
			}
			checkStore(t, home, 0)
		})
	}
}

// archiveNameOf is archiveName without a test, where one has been asked before.
func archiveNameOf(tag string) (name, kind string) { return archiveName(nil, tag) }

// A broken download is taken up where it stopped, unless the file has changed.
func TestDownloadResumes(t *testing.T) {
	quick(t)
	data := []byte(strings.Repeat("0123456789", 100_000))
	digest := models.DigestOf(data)
	for _, c := range []struct {
		name    string
		second  string // ETag of the second answer
		ranged  bool   // whether the second answer is a part
		strange bool   // whether it is another part than was asked for
		weak    bool
	}{
		{name: "same file", second: `"one"`, ranged: true},
		{name: "no ranges", second: `"one"`},
		{name: "another file", second: `"two"`},
		{name: "weak tag", second: `"one"`, weak: true},
		{name: "another part", second: `"one"`, ranged: true, strange: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests = append(requests, r.Header.Get("Range"))
				if len(requests) == 1 {
					tag := `"one"`
					if c.weak {
						tag = "W/" + tag
					}
					w.Header().Set("ETag", tag)
					w.Header().Set("Content-Length", fmt.Sprint(len(data)))
					_, _ = w.Write(data[:len(data)/2])
					return
				}
				w.Header().Set("ETag", c.second)
				var from int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && c.ranged {
					if r.Header.Get("If-Range") != `"one"` {
						t.Errorf("If-Range is %q", r.Header.Get("If-Range"))
					}
					if c.strange {
						from = 1
					}
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(data[from:])
					return
				}
				_, _ = w.Write(data)
			}))
			defer srv.Close()
			file := filepath.Join(t.TempDir(), "file")
			err := get(t.Context(), client(), remote{url: srv.URL, size: int64(len(data)), sha256: &digest}, file)
			if c.strange {
				if err == nil || !strings.Contains(err.Error(), "were asked for") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != string(data) {
				t.Errorf("the file is not what was sent: %d bytes, %v", len(got), err)
			}
			if len(requests) != 2 || (requests[1] == "") != c.weak {
				t.Errorf("ranges asked for: %q", requests)
			}
		})
	}
}

func TestURL(t *testing.T) {
	quick(t)
	g, _ := asGitHubHas(t)
	name, _ := archiveName(t, "b11146")
	home := t.TempDir()
	opt := Options{Home: home, URL: g.URL + "/download/" + name, SHA256: models.Digest{1}}
	if _, err := Install(t.Context(), opt); !errors.As(err, new(*ChecksumError)) {
		t.Errorf("another digest: %v", err)
	}
	opt.SHA256 = models.DigestOf(g.files[name])
	if r, err := Install(t.Context(), opt); err != nil || r.Source[0].From != opt.URL {
		t.Errorf("%+v, %v", r, err)
	}
	checkStore(t, home, 1)
	g.Close()
	opt.Replace = true
	if _, err := Install(t.Context(), opt); !errors.As(err, new(*NetworkError)) {
		t.Errorf("nobody there: %v", err)
	}
	checkStore(t, home, 1)
}

func TestSecure(t *testing.T) {
	for address, want := range map[string]bool{
		"https://example.com": true, "http://127.0.0.1:1/x": true, "http://localhost": true, "http://[::1]:80": true,
		"http://example.com": false, "http://127.0.0.1.example.com": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "ftp://127.0.0.1": false, "//x": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := secure(u) == nil; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// The archives of a nightly release, as the release workflow of llama.cpp names them.
func TestPick(t *testing.T) {
	r := release{Tag: "b11146"}
	for _, name := range []string{
		"bin-macos-arm64.tar.gz", "bin-macos-x64.tar.gz", "bin-ubuntu-x64.tar.gz", "bin-ubuntu-arm64.tar.gz", "bin-ubuntu-s390x.tar.gz",
		"bin-ubuntu-vulkan-x64.tar.gz", "bin-ubuntu-vulkan-arm64.tar.gz", "bin-ubuntu-cuda-12.8-x64.tar.gz", "bin-ubuntu-cuda-13.10-x64.tar.gz", "bin-ubuntu-cuda-13.4-x64.tar.gz", "bin-ubuntu-cuda-13.4-arm64.tar.gz",
		"bin-ubuntu-rocm-10.0-x64.tar.gz", "bin-ubuntu-sycl-fp32-x64.tar.gz", "bin-android-arm64.tar.gz",
		"bin-win-cpu-x64.zip", "bin-win-cpu-arm64.zip", "bin-win-cuda-12.4-x64.zip", "bin-win-cuda-13.4-x64.zip", "bin-win-vulkan-x64.zip", "xcframework.zip",
	} {
		r.Assets = append(r.Assets, asset{Name: "llama-b11146-" + name})
	}
	for _, name := range []string{
		"cudart-llama-b11146-bin-ubuntu-cuda-12.8-x64.tar.gz", "cudart-llama-b11146-bin-ubuntu-cuda-13.4-x64.tar.gz", "cudart-llama-bin-win-cuda-12.4-x64.zip", "cudart-llama-bin-win-cuda-13.4-x64.zip", nightlyName,
	} {
		r.Assets = append(r.Assets, asset{Name: name})
	}
	for _, c := range []struct{ os, arch, kind, want string }{
		{"linux", "amd64", "cpu", "llama-b11146-bin-ubuntu-x64.tar.gz"},
		{"linux", "arm64", "cpu", "llama-b11146-bin-ubuntu-arm64.tar.gz"},
		{"linux", "amd64", "vulkan", "llama-b11146-bin-ubuntu-vulkan-x64.tar.gz"},
		{"linux", "amd64", "cuda", "llama-b11146-bin-ubuntu-cuda-13.4-x64.tar.gz cudart-llama-b11146-bin-ubuntu-cuda-13.4-x64.tar.gz"},
		{"linux", "amd64", "cuda12", "llama-b11146-bin-ubuntu-cuda-12.8-x64.tar.gz cudart-llama-b11146-bin-ubuntu-cuda-12.8-x64.tar.gz"},
		{"linux", "arm64", "cuda", "llama-b11146-bin-ubuntu-cuda-13.4-arm64.tar.gz"},
		{"linux", "arm64", "cuda12", ""},
		{"linux", "amd64", "metal", ""},
		{"linux", "riscv64", "cpu", ""},
		{"darwin", "arm64", "metal", "llama-b11146-bin-macos-arm64.tar.gz"},
		{"darwin", "arm64", "cpu", ""},
		{"darwin", "amd64", "cpu", "llama-b11146-bin-macos-x64.tar.gz"},
		{"darwin", "amd64", "metal", ""},
		{"darwin", "arm64", "vulkan", ""},
		{"windows", "amd64", "cpu", "llama-b11146-bin-win-cpu-x64.zip"},
		{"windows", "amd64", "vulkan", "llama-b11146-bin-win-vulkan-x64.zip"},
		{"windows", "amd64", "cuda", "llama-b11146-bin-win-cuda-13.4-x64.zip cudart-llama-bin-win-cuda-13.4-x64.zip"},
		{"windows", "amd64", "cuda12", "llama-b11146-bin-win-cuda-12.4-x64.zip cudart-llama-bin-win-cuda-12.4-x64.zip"},
		{"plan9", "amd64", "cpu", ""},
	} {
		list, err := pick(r, libraries.Platform{OS: c.os, Arch: c.arch}, c.kind)
		var got []string
		for _, a := range list {
			got = append(got, a.Name)
		}
		if strings.Join(got, " ") != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s/%s %s: %q, %v; want %q", c.os, c.arch, c.kind, got, err, c.want)
		}
	}
}
