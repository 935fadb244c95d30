package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cubby/models"
)

const secret = "hf_theSecretOfThisTest"

// client asks a server of the test's, and waits for nothing.
func client(t *testing.T, h http.Handler, token string) (*Client, *[]time.Duration) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Options{Endpoint: s.URL + "/", Token: NewToken(token, "HF_TOKEN")})
	if err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	return c, &waits
}

func TestRetries(t *testing.T) {
	for _, row := range []struct {
		name   string
		header http.Header
		status int
		kind   Kind
		want   []time.Duration
	}{
		{"seconds", http.Header{"Retry-After": {"7"}}, 429, RateLimit, []time.Duration{7 * time.Second, 7 * time.Second, 7 * time.Second}},
		{"a window", http.Header{"RateLimit": {`"api";r=0;t=55`}}, 429, RateLimit, []time.Duration{55 * time.Second, 55 * time.Second, 55 * time.Second}},
		{"a window that is not spent", http.Header{"RateLimit": {`"api";r=9;t=55`}}, 429, RateLimit, []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second}},
		{"too long", http.Header{"Retry-After": {"4000"}}, 429, RateLimit, nil},
		{"a failure", nil, 502, Server, []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second}},
		{"a refusal", nil, 403, Refused, nil},
	} {
		c, waits := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range row.header {
				w.Header()[k] = v
			}
			w.WriteHeader(row.status)
		}), secret)
		_, err := c.Resolve(t.Context(), Ref{Repo: "o/r"})
		if !errors.Is(err, row.kind) || !slices.Equal(*waits, row.want) {
			t.Errorf("%s: %v after %v", row.name, err, *waits)
		}
	}
}

// The token goes to the hub and to nobody else, and is in no error.
func TestTokenStays(t *testing.T) {
	got := make(chan string, 100)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") }))
	defer other.Close()
	redirecting, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/?"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), http.StatusTemporaryRedirect)
	}), secret)
	_, err := redirecting.Resolve(t.Context(), Ref{Repo: "o/r"})
	if !errors.Is(err, Network) || strings.Contains(err.Error(), secret) || len(got) > 0 {
		t.Errorf("%v; the other host was asked %d times", err, len(got))
	}
	echoing, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Error-Message", "no good: "+r.Header.Get("Authorization")+"\u202e")
		w.WriteHeader(http.StatusForbidden)
	}), secret)
	_, err = echoing.Resolve(t.Context(), Ref{Repo: "o/r"})
	if !errors.Is(err, Refused) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\u202e") {
		t.Errorf("%q", err)
	}
	breaking, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Error-Message", r.Header.Get("Authorization")+"\x1b[31m")
	}), secret)
	_, err = breaking.Resolve(t.Context(), Ref{Repo: "o/r"})
	if !errors.Is(err, Network) || strings.Contains(err.Error(), secret) {
		t.Errorf("%q", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", NewToken(secret, "x"), NewToken(secret, "x"), NewToken(secret, "x"), NewToken(secret, "x")); strings.Contains(text, secret) {
		t.Error(text)
	}
	// A mirror's header leads to the real hub; the pages are asked of the mirror.
	paging, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			w.Header().Set("Link", "<"+other.URL+`/api/models/o/r/tree/x?recursive=true&cursor=abc>; rel="next"`)
			fmt.Fprint(w, `[{"type":"directory","path":"d"}]`)
			return
		}
		fmt.Fprintf(w, `[{"type":"file","path":"a","size":3,"oid":"%040d"}]`, 1)
	}), secret)
	files, err := paging.Files(t.Context(), Commit{Repo: "o/r", SHA: strings.Repeat("a", 40)})
	if err != nil || len(files) != 1 || len(got) > 0 {
		t.Errorf("%v, %v; the other host was asked %d times", files, err, len(got))
	}
	endless, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", `</x?cursor=abc>; rel="next"`)
		fmt.Fprint(w, `[]`)
	}), "")
	if _, err := endless.Files(t.Context(), Commit{Repo: "o/r"}); !errors.Is(err, Unreadable) {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	for text, want := range map[string]string{
		"": defaultEndpoint, "https://Hub.example/": "https://hub.example", "http://127.0.0.1:8086": "http://127.0.0.1:8086", "https://x.example/hf/": "https://x.example/hf",
		"http://hub.example": "", "hub.example": "", "https://u:p@hub.example": "", "https://hub.example?x=1": "", "ftp://hub.example": "",
	} {
		got, err := cleanEndpoint(text)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestFindToken(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	find := func(want, from string) {
		t.Helper()
		got, err := FindToken()
		if err != nil || got.value != want || !strings.HasSuffix(got.From, from) {
			t.Errorf("%q of %s, %v; want %q of %s", got.value, got.From, err, want, from)
		}
	}
	file := func(name, text string) string {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	find("", "")
	file(filepath.Join(home, ".cache", "huggingface", "token"), "hf_home\r\n")
	find("hf_home", filepath.Join(".cache", "huggingface", "token"))
	t.Setenv("XDG_CACHE_HOME", filepath.Dir(filepath.Dir(file(filepath.Join(home, "xdg", "huggingface", "token"), "hf_xdg"))))
	find("hf_xdg", "token")
	t.Setenv("HF_HOME", filepath.Dir(file(filepath.Join(home, "hf", "token"), "hf_hf")))
	find("hf_hf", "token")
	t.Setenv("HF_TOKEN_PATH", file(filepath.Join(home, "mine"), "hf_mine"))
	find("hf_mine", "mine")
	t.Setenv("HUGGING_FACE_HUB_TOKEN", "hf_old")
	find("hf_old", "HUGGING_FACE_HUB_TOKEN")
	t.Setenv("HF_TOKEN", " hf_new\n")
	find("hf_new", "HF_TOKEN")
	t.Setenv("HF_TOKEN", "hf_a\nhf_b")
	if _, err := FindToken(); err == nil || strings.Contains(err.Error(), "hf_a") {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	for _, row := range []struct {
		name, file, files, want string // a want that begins with "!" is an error
	}{
		{"the only GGUF", "", "m.gguf config.json README.md x.py pytorch_model.bin .gitattributes", "config.json README.md m.gguf"},
		{"safetensors before GGUFs", "", "a.gguf b.gguf model.safetensors config.json tokenizer.json", "config.json tokenizer.json model.safetensors"},
		{"a named GGUF", "q/b.gguf", "a.gguf q/b.gguf q/config.json config.json LICENSE", "q/config.json LICENSE q/b.gguf"},
		{"a folder, with an adapter beside it", "", "model/model.safetensors model/config.json model/tokenizer.json model-adapter/adapter_model.safetensors model-adapter/adapter_config.json model_client.py",
			"model/config.json model/tokenizer.json model_client.py model/model.safetensors"},
		{"shards, and the same weights in one file", "", "consolidated.safetensors model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json config.json tokenizer.json",
			"model.safetensors.index.json config.json tokenizer.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors"},
		{"two sets of shards", "", "model-00001-of-00002.safetensors model-00001-of-00003.safetensors model-00002-of-00002.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors config.json tokenizer.json",
			"config.json tokenizer.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors"},
		{"checkpoints deeper down", "", "model.safetensors config.json tokenizer.json checkpoint-9/model.safetensors", "config.json tokenizer.json model.safetensors"},
		{"an adapter", "", "adapter_model.safetensors adapter_config.json model_client.py onnx/model.onnx", "adapter_config.json model_client.py adapter_model.safetensors"},
		{"a GGUF and a projector", "", "mmproj-f16.gguf m.gguf", "m.gguf"},
		{"a whole GGUF beside parts", "", "m.gguf big-00001-of-00002.gguf big-00002-of-00002.gguf", "m.gguf"},
		{"two folders", "", "a/model.safetensors b/model.safetensors", "!several folders"},
		{"several files", "", "a.safetensors b.safetensors config.json tokenizer.json", "!is not to be told"},
		{"an adapter without its configuration", "", "adapter_model.safetensors", "!has no adapter_config.json"},
		{"two adapters", "", "a/adapter_model.safetensors b/adapter_model.safetensors", "!several adapters"},
		{"nothing", "", "README.md", "!neither safetensors nor a GGUF"},
		{"no GGUF at all", "x.gguf", "model.safetensors", "!no GGUF at all"},
	} {
		var files []File
		for _, name := range strings.Fields(row.files) {
			files = append(files, File{Path: name, Size: 1 << 10})
		}
		c, err := Choose(Ref{Repo: "o/r", File: row.file}, files)
		var got []string
		for _, f := range c.All() {
			got = append(got, f.Path)
		}
		if message, refused := strings.CutPrefix(row.want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%s: %v, %v", row.name, got, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, strings.Fields(row.want)) {
			t.Errorf("%s: %v, %v; want %s", row.name, got, err, row.want)
		}
	}
	if c, err := Choose(Ref{Repo: "o/r"}, []File{{Path: "m.gguf", Size: 9}, {Path: "README.md", Size: 5 << 20}}); err != nil || c.Has("README.md") || c.Size() != 9 {
		t.Errorf("a document that is too large: %+v, %v", c, err)
	}
}

// No answer of a hub makes a file that lies outside, or has no hash.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`[{"type":"file","path":"a/b","size":3,"oid":"0123456789abcdef0123456789abcdef01234567"}]`), `</x?cursor=a%3D>; rel="next"`)
	f.Add([]byte(`[{"type":"file","path":"a","size":1,"oid":"","lfs":{"oid":"00","size":-1}}]`), `<x>; rel=next, <y>; rel="last"`)
	f.Fuzz(func(t *testing.T, page []byte, link string) {
		_ = nextPage(http.Header{"Link": {link}})
		var list []entry
		if json.NewDecoder(bytes.NewReader(page)).Decode(&list) != nil {
			return
		}
		var files []File
		for _, e := range list {
			file, err := e.file()
			if err != nil {
				continue
			}
			if !fs.ValidPath(file.Path) || file.Size < 0 || file.Blob == "" && file.SHA256 == (models.Digest{}) {
				t.Errorf("%+v", file)
			}
			files = append(files, file)
		}
		c, err := Choose(Ref{Repo: "o/r"}, files)
		if err == nil && len(c.Weights) == 0 {
			t.Errorf("no weights of %+v", files)
		}
	})
}

// A file that no model may hold is not there; a listing that leads out is a lie.
func TestListedPaths(t *testing.T) {
	list := func(name string) ([]File, error) {
		c, _ := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			page := []entry{{Type: "file", Path: name, OID: strings.Repeat("0", 40)}, {Type: "file", Path: "model.gguf", OID: strings.Repeat("0", 40)}}
			if err := json.NewEncoder(w).Encode(page); err != nil {
				t.Error(err)
			}
		}), secret)
		return c.Files(t.Context(), Commit{Repo: "o/r", SHA: strings.Repeat("a", 40)})
	}
	for _, name := range []string{"aux.gguf", "dir./x", "what?.png", `a\b`, "a:b", "x ", "."} {
		if files, err := list(name); err != nil || len(files) != 1 || files[0].Path != "model.gguf" {
			t.Errorf("%q: %v, %v", name, files, err)
		}
	}
	for _, name := range []string{"../x", "/x", "", "a//b"} {
		if _, err := list(name); err == nil || !strings.Contains(err.Error(), "is no path") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
