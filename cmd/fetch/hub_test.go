package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/hub/localhub"
	"cubby/internal/testenv"
	"cubby/models"
)

// No test asks the real hub: those that ask a local one say so.
func init() { _ = os.Setenv("HF_HUB_OFFLINE", "1") }

// pullingHub is a hub, its host of large files, a store, and the program between.
type pullingHub struct {
	t           *testing.T
	hub         *localhub.Hub
	server, cdn *httptest.Server
	store       *models.Store
}

func newPullingHub(t *testing.T, opt localhub.Options, wrap func(http.Handler) http.Handler) *pullingHub {
	t.Helper()
	h, err := localhub.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	var files http.Handler = h.CDN
	if wrap != nil {
		files = wrap(files)
	}
	p := &pullingHub{t, h, httptest.NewServer(h), httptest.NewServer(files), models.NewStore(t.TempDir())}
	t.Cleanup(p.server.Close)
	t.Cleanup(p.cdn.Close)
	h.CDN.SetAddress(p.cdn.URL)
	for name, value := range map[string]string{
		"HF_HUB_OFFLINE": "", "HF_ENDPOINT": p.server.URL, "HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "", "HF_TOKEN_PATH": "",
		"HF_HOME": filepath.Join(t.TempDir(), "none"), "HF_HUB_CACHE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	return p
}

func (p *pullingHub) fetch(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(p.t.Context(), append([]string{"fetch", "-home", p.store.Root()}, args...), &out, &errs)
	printed := out.String() + errs.String()
	for _, secret := range []string{localhub.Token, os.Getenv("HF_TOKEN"), "X-Amz", "Signature"} {
		if secret != "" && strings.Contains(printed, secret) {
			p.t.Errorf("it printed %q:\n%s", secret, printed)
		}
	}
	if leaked := p.hub.CDN.Leaked(); len(leaked) > 0 {
		p.t.Errorf("the host of large files got %d credentials", len(leaked))
	}
	return code, out.String(), errs.String()
}

// want runs fetch and compares.
func (p *pullingHub) want(code int, inOut, inErr string, args ...string) (stdout, stderr string) {
	p.t.Helper()
	got, stdout, stderr := p.fetch(args...)
	if got != code || !strings.Contains(stdout, inOut) || !strings.Contains(stderr, inErr) {
		p.t.Errorf("fetch %v: exit code %d, want %d, with %q and %q:\n%s%s", args, got, code, inOut, inErr, stdout, stderr)
	}
	return stdout, stderr
}

// whole checks that the store holds a model of that name and nothing half done.
func (p *pullingHub) whole(name string) {
	p.t.Helper()
	if left, _ := os.ReadDir(filepath.Join(p.store.Root(), "staging")); len(left) > 0 {
		p.t.Errorf("left in staging: %v", left)
	}
	if err := p.store.Verify(name); err != nil {
		p.t.Error(err)
	}
}

// large counts the requests for large files.
func (p *pullingHub) large() int { return len(p.hub.CDN.Requests()) }

// repo writes files of a repo; a name behind "<" is the file that it is a copy of.
func repo(t *testing.T, root, name string, files map[string]string) {
	t.Helper()
	for file, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name), filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if from, ok := strings.CutPrefix(text, "<"); ok {
			if err := os.Symlink(from, path); err != nil {
				t.Skip(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	hubClientText = "SYSTEM_PROMPT = 'Sort it.'\n"
	hubJob        = `{"classes_description": {"a": "", "b": ""}}`
)

func demoGGUF(t *testing.T) string {
	return "<" + filepath.Join(testenv.Root(t), "models", "demo", "model.gguf")
}

// A repo with a GGUF and what came with it, as distil labs publishes models.
func TestHubPullGGUF(t *testing.T) {
	root := t.TempDir()
	repo(t, root, "distil-labs/Tickets", map[string]string{
		"model.gguf": demoGGUF(t), "model_client.py": hubClientText, "job_description.json": hubJob, "README.md": "# Tickets\n", "LICENSE": "terms\n",
		"pytorch_model.bin": "pickled", "Modelfile": "FROM model.gguf\n", ".gitattributes": "*.gguf filter=lfs\n",
	})
	p := newPullingHub(t, localhub.Options{Root: root, Page: 3, Tags: []string{"v1"}}, nil)
	p.want(exitOK, "installed tickets: 2 labels", "", "pull", "hf.co/distil-labs/Tickets")
	p.whole("tickets")
	m, err := p.store.Open("tickets")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	commit, err := p.hub.Commit("distil-labs/Tickets")
	if err != nil {
		t.Fatal(err)
	}
	if want := "hf.co/distil-labs/Tickets@" + commit; m.Manifest.Source.From != want || m.Manifest.Canary == nil {
		t.Errorf("source %q, want %q; canary %v", m.Manifest.Source.From, want, m.Manifest.Canary)
	}
	var kept []string
	for _, f := range m.Manifest.Files {
		kept = append(kept, f.Path)
	}
	if got := strings.Join(kept, " "); got != "LICENSE README.md data/job_description.json model.gguf model_client.py" {
		t.Errorf("it holds %s", got)
	}
	for _, r := range append(p.hub.Requests(), p.hub.CDN.Requests()...) {
		if strings.Contains(r, ".bin") || strings.Contains(r, ".gitattributes") {
			t.Errorf("it asked for %s", r)
		}
	}
	before := p.large()
	for _, name := range []string{"hf.co/distil-labs/Tickets", "https://huggingface.co/distil-labs/Tickets", "hf.co/distil-labs/Tickets@v1", "https://huggingface.co/distil-labs/Tickets/tree/main", "hf.co/distil-labs/Tickets@" + commit} {
		p.want(exitOK, "tickets is installed already", "", "pull", name)
	}
	if p.large() != before {
		t.Error("what is installed was downloaded again")
	}
	p.want(exitOK, "installed again: 2 labels", "", "pull", "hf.co/distil-labs/Tickets/model.gguf", "-as", "again")
	p.whole("again")
}
