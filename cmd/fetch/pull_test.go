package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/platform"
	"cubby/internal/platform/localplatform"
	"cubby/models"
)

// pulling is a platform, a store, and the program between them.
type pulling struct {
	t        *testing.T
	platform *localplatform.Platform
	server   *httptest.Server
	store    *models.Store
}

// newPulling makes one whose program is this process, or inherits its environment.
func newPulling(t *testing.T, opt localplatform.Options, wrap func(http.Handler) http.Handler) *pulling {
	t.Helper()
	p := openPulling(t, opt, wrap)
	for name, value := range p.environment() {
		t.Setenv(name, value)
	}
	return p
}

// environment is what leads the program to the platform.
func (p *pulling) environment() map[string]string {
	return map[string]string{"CUBBY_PLATFORM": p.server.URL, platform.TokenVariable: p.platform.Token(), "HF_HUB_CACHE": filepath.Join(p.store.Root(), "none")}
}

// openPulling makes one beside others; its program is wantChild's.
func openPulling(t *testing.T, opt localplatform.Options, wrap func(http.Handler) http.Handler) *pulling {
	t.Helper()
	p, err := localplatform.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler = p
	if wrap != nil {
		h = wrap(p)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &pulling{t, p, s, models.NewStore(t.TempDir())}
}

func (p *pulling) fetch(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(p.t.Context(), append([]string{"fetch", "-home", p.store.Root()}, args...), &out, &errs)
	printed := out.String() + errs.String()
	for _, secret := range []string{os.Getenv(platform.TokenVariable), "Signature", "X-Amz"} {
		if strings.Contains(printed, secret) {
			p.t.Errorf("it printed %q:\n%s", secret, printed)
		}
	}
	return code, out.String(), errs.String()
}

// want runs fetch and compares.
func (p *pulling) want(code int, inOut, inErr string, args ...string) (stdout string) {
	p.t.Helper()
	got, stdout, stderr := p.fetch(args...)
	if got != code || !strings.Contains(stdout, inOut) || !strings.Contains(stderr, inErr) {
		p.t.Errorf("fetch %v: exit code %d, want %d, with %q and %q:\n%s%s", args, got, code, inOut, inErr, stdout, stderr)
	}
	return stdout
}

// wantChild runs fetch as a process of its own, and compares.
func (p *pulling) wantChild(code int, inOut, inErr string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	for name, value := range p.environment() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its code is looked at
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(out.String(), inOut) || !strings.Contains(errs.String(), inErr) {
		p.t.Errorf("fetch %v: exit code %d, want %d, with %q and %q:\n%s%s", args, got, code, inOut, inErr, &out, &errs)
	}
}

// staging lists what lies in the store's staging area.
func (p *pulling) staging() (names []string) {
	entries, _ := os.ReadDir(filepath.Join(p.store.Root(), "staging"))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// whole checks that the store holds a model of that name and nothing half done.
func (p *pulling) whole(name string) {
	p.t.Helper()
	if left := p.staging(); len(left) > 0 {
		p.t.Errorf("left in staging: %v", left)
	}
	if err := p.store.Verify(name); err != nil {
		p.t.Error(err)
	}
}

// only is a folder of packages with one task.
func only(t *testing.T, task string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(task, filepath.Join(dir, filepath.Base(task))); err != nil {
		t.Skip(err)
	}
	return dir
}

// demoPackages is a folder of packages with the demo model as the only one.
func demoPackages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "demo"), 0o755); err != nil {
		t.Fatal(err)
	}
	writePackage(t, filepath.Join(dir, "demo", "gguf.tar"))
	for name, text := range map[string]string{
		"job_description.json": `{"task_description": "Sort.", "classes_description": {"a": "", "b": ""}}`,
		"config.yaml":          "base:\n  task: classification\n",
		"test.jsonl":           `{"text":"x","label":"a"}` + "\n",
		"predictions.jsonl":    `{"completion":"a"}` + "\n",
		"metrics.json":         `{"tuned_model_performance":{"accuracy":0.75}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, "demo", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
