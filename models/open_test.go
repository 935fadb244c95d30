package models

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/models/demo"
)

func needDemo(t *testing.T) {
	t.Helper()
	if !demo.Present {
		t.Skip("the demo model is left out of this build")
	}
}

func TestOpenDemo(t *testing.T) {
	needDemo(t)
	m, err := OpenDemo()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Labels().Len() != 8 {
		t.Errorf("%d labels", m.Labels().Len())
	}
	c, err := m.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Config(); got.Architecture != "llama" || got.Layers != 8 || got.Width != 576 {
		t.Errorf("config %+v", got)
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if tok.Len() != c.Config().Vocab {
		t.Errorf("%d tokens for a vocabulary of %d", tok.Len(), c.Config().Vocab)
	}
	if _, ok := tok.Special(m.Manifest.Answer.End); !ok {
		t.Errorf("the vocabulary has no token %q", m.Manifest.Answer.End)
	}
	for name, data := range demo.Files() {
		f, ok := m.Manifest.file(name)
		if !ok || f.SHA256 != DigestOf(data) {
			t.Errorf("embedded %s is not what the manifest lists", name)
		}
	}
}

func TestOpenEmbeddedRefusesOtherFiles(t *testing.T) {
	needDemo(t)
	for name, files := range map[string]map[string][]byte{"none": {}, "short": {"model.gguf": []byte("GGUF")}} {
		if _, err := OpenEmbedded(demo.Manifest, files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// folderOf writes a model folder outside a store.
func folderOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := sample()
	m.Files = m.Files[:1] // model.gguf, "abc"
	for name, data := range map[string][]byte{ManifestName: encode(t, m), "model.gguf": []byte("abc"), "other.gguf": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFolder(t *testing.T) {
	dir := folderOf(t)
	m, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Folder(); got != dir {
		t.Errorf("folder %q, want %q", got, dir)
	}
	needDemo(t)
	if demo, err := OpenDemo(); err != nil || demo.Folder() != "" {
		t.Errorf("the demo's folder is %q, %v", demo.Folder(), err)
	}
}

func TestResolve(t *testing.T) {
	needDemo(t)
	empty := NewStore(t.TempDir())
	one := NewStore(t.TempDir())
	digest := install(t, one, "one", "weights of one").String()
	several := NewStore(t.TempDir())
	install(t, several, "first", "weights")
	install(t, several, "demo", "weights of another")
	dir := folderOf(t)
	bare := filepath.Join(t.TempDir(), "bare.gguf")
	if err := os.WriteFile(bare, []byte("GGUF"), 0o644); err != nil {
		t.Fatal(err)
	}
	noFolder := t.TempDir()
	t.Chdir(t.TempDir())
	builtIn, own := BuiltIn, GGUF
	for _, c := range []struct {
		name  string
		store *Store
		ref   string
		kind  Kind   // of the model that opens
		want  string // or part of the error
	}{
		{"nothing named, empty store", empty, "", builtIn, ""},
		{"nothing named, one model", one, "", own, ""},
		{"nothing named, several", several, "", "", "name one of demo, first"},
		{"built-in by name", one, "demo", builtIn, ""},
		{"the store's own demo", several, "demo", own, ""},
		{"name", several, "first", own, ""},
		{"digest", one, digest, own, ""},
		{"digest not there", empty, digest, "", "the store has no model sha256:"},
		{"bad digest", one, "sha256:zz", "", "hex digits"},
		{"unknown name", one, "two", "", `no model named "two" in the store; it has one`},
		{"unknown name, empty store", empty, "two", "", "(it is empty)"},
		{"folder", empty, dir, own, ""},
		{"GGUF in its folder", empty, filepath.Join(dir, "model.gguf"), own, ""},
		{"another GGUF there", empty, filepath.Join(dir, "other.gguf"), "", "describes other weights"},
		{"GGUF alone", empty, bare, "", "labels and prompt are unknown; import it"},
		{"no such path", empty, filepath.Join(dir, "none"), "", "there is no file or folder"},
		{"folder of something else", empty, noFolder, "", "not a model folder"},
		{"file of something else", empty, filepath.Join(dir, ManifestName), "", "neither a model folder nor a .gguf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Resolve(c.store, c.ref)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want one that holds %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Manifest.Source.Kind != c.kind {
				t.Errorf("opened a model of kind %q, want %q", m.Manifest.Source.Kind, c.kind)
			}
		})
	}
}

func TestResolveDoesNotHideDamage(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "demo", "weights")
	if err := rewrite(filepath.Join(s.modelDir(d), "model.gguf"), []byte("WEIGHTS")); err != nil {
		t.Fatal(err)
	}
	var damage *IntegrityError
	for _, ref := range []string{"", "demo"} {
		if _, err := Resolve(s, ref); !errors.As(err, &damage) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestOpenFolderHashes(t *testing.T) {
	dir := folderOf(t)
	if err := os.WriteFile(filepath.Join(dir, "model.gguf"), []byte("abd"), 0o644); err != nil {
		t.Fatal(err)
	}
	var damage *IntegrityError
	if _, err := OpenFolder(dir); !errors.As(err, &damage) || damage.File != filepath.Join(dir, "model.gguf") {
		t.Errorf("error %v", err)
	}
}

// A damaged or foreign weights file is an error of Checkpoint, not a crash.
func TestCheckpointOfBadWeights(t *testing.T) {
	s := NewStore(t.TempDir())
	install(t, s, "a", "GGUF, but not really")
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Checkpoint(); err == nil || !strings.Contains(err.Error(), `model "a": model.gguf`) {
		t.Errorf("checkpoint: %v", err)
	}
	if _, err := m.Tokenizer(); err == nil || !strings.Contains(err.Error(), `model "a": model.gguf`) {
		t.Errorf("tokenizer: %v", err)
	}
}

func TestWithoutTheDemo(t *testing.T) {
	if demo.Present {
		t.Skip("the demo model is part of this build")
	}
	if _, err := Resolve(NewStore(t.TempDir()), ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "fetch import") {
		t.Errorf("error %v", err)
	}
}

// A damaged model is never mistaken for an absent one.
func TestMissingManifestIsDamage(t *testing.T) {
	s := NewStore(t.TempDir())
	d := DigestOf([]byte("a model"))
	if err := os.MkdirAll(filepath.Join(s.Root(), "names"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.namePath(DemoName), []byte(d.String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var damage *IntegrityError
	if _, err := Resolve(s, DemoName); !errors.As(err, &damage) {
		t.Errorf("resolve: %v, want an integrity error", err)
	}
	if err := s.Verify(DemoName); !errors.As(err, &damage) {
		t.Errorf("verify: %v, want an integrity error", err)
	}
	if err := os.WriteFile(s.namePath(DemoName), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(DemoName); err != nil {
		t.Errorf("a name that names nothing cannot be removed: %v", err)
	}
}
