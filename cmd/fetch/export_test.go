package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/models/demo"
)

// machine is a store and the program on it.
type machine struct {
	t     *testing.T
	store *models.Store
}

func newMachine(t *testing.T) machine { return machine{t, models.NewStore(t.TempDir())} }

// want runs fetch and compares exit code and output.
func (m machine) want(code int, printed string, args ...string) (stdout string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	got := run(m.t.Context(), append([]string{"fetch", "-home", m.store.Root()}, args...), &out, &errs)
	if got != code || !strings.Contains(out.String()+errs.String(), printed) {
		m.t.Errorf("fetch %v: exit code %d, want %d, with %q:\n%s%s", args, got, code, printed, out.String(), errs.String())
	}
	return out.String()
}

// digest is the artefact that a name points to.
func (m machine) digest(name string) string {
	m.t.Helper()
	o, err := m.store.Open(name)
	if err != nil {
		m.t.Fatal(err)
	}
	defer o.Close()
	return o.Digest
}

// command is the program as a process of its own.
func (m machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+m.store.Root())
	return cmd
}

// installed is a machine with the demo package under the name sorted.
func installed(t *testing.T) machine {
	t.Helper()
	if !demo.Present {
		t.Skip("the demo model is not in this program")
	}
	m := newMachine(t)
	pack := filepath.Join(t.TempDir(), "package.tar")
	writePackage(t, pack)
	test := filepath.Join(t.TempDir(), "test.jsonl")
	if err := os.WriteFile(test, []byte(`{"question":"zebra","answer":"a"}`+"\n"+`{"question":"ant","answer":"b"}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.want(exitOK, "installed sorted", "import", pack, "-name", "sorted", "-test", test)
	if r := manifest(t, m.store, "sorted").Replay; r == nil || r.Rows != 2 {
		t.Fatalf("replayed %+v", r)
	}
	return m
}

// A model that is carried to another machine is the same artefact there, by tar or
// as a folder of the store, and its tar has the same bytes again.
func TestExportImport(t *testing.T) {
	here, there := installed(t), newMachine(t)
	first := filepath.Join(t.TempDir(), "first.tar")
	here.want(exitOK, "exported sorted: ", "export", "sorted", first)
	if said := there.want(exitOK, here.digest("sorted"), "import", first, "-name", "sorted"); !strings.Contains(said, "; 2 rows, at its first import\n") {
		t.Error(said)
	}
	second := filepath.Join(t.TempDir(), "second.tar")
	there.want(exitOK, there.digest("sorted"), "export", "sorted@"+there.digest("sorted"), second)
	same(t, first, second)
	piped := here.want(exitOK, "elsewhere: fetch import FILE.tar -name sorted", "export", "sorted", "-")
	if data, err := os.ReadFile(first); err != nil || piped != string(data) {
		t.Errorf("the standard output has other bytes, %d; %v", len(piped), err)
	}

	third := newMachine(t)
	folder := filepath.Join(here.store.Root(), "models", strings.TrimPrefix(here.digest("sorted"), "sha256:"))
	third.want(exitOK, here.digest("sorted"), "import", folder, "-name", "sorted")

	// Under another name it is another artefact, with the same canary.
	third.want(exitOK, "installed other", "import", first, "-name", "other")
	a, b := manifest(t, third.store, "sorted"), manifest(t, third.store, "other")
	if a.Replay == nil || b.Replay == nil || *a.Replay != *b.Replay {
		t.Errorf("replays %+v and %+v", a.Replay, b.Replay)
	}
	if a.Canary == nil || b.Canary == nil || !slices.Equal(a.Canary.Probabilities, b.Canary.Probabilities) || third.digest("other") == third.digest("sorted") {
		t.Errorf("canaries %+v and %+v", a.Canary, b.Canary)
	}
}

func manifest(t *testing.T, s *models.Store, name string) models.Manifest {
	t.Helper()
	m, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return m.Manifest
}

func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	if err != nil || err2 != nil || !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ: %d and %d bytes; %v, %v", a, b, len(x), len(y), err, err2)
	}
}

func TestExportRefusals(t *testing.T) {
	m := installed(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "model.tar")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.want(exitUsage, "is there already: choose another name, or -force", "export", "sorted", file)
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("%q, %v", data, err)
	}
	m.want(exitUsage, "is there already", "export", "-force", "sorted", dir)
	m.want(exitOK, "exported sorted", "export", "sorted", file, "-force")
	m.want(exitUsage, "takes a model and a file", "export", "sorted")
	m.want(exitUsage, "takes a model and a file", "export", "sorted", file, file)
	m.want(exitUsage, "is no digest", "export", "sorted@x", file)
	m.want(exitFailure, "no model named", "export", "absent", filepath.Join(dir, "absent.tar"))
	m.want(exitFailure, "no such file", "export", "sorted", filepath.Join(dir, "nowhere", "x.tar"))

	weights := filepath.Join(m.store.Root(), "models", strings.TrimPrefix(m.digest("sorted"), "sha256:"), "model.gguf")
	data, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := errors.Join(os.Chmod(weights, 0o644), os.WriteFile(weights, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.tar")
	m.want(exitChecksum, `model "sorted" is damaged`, "export", "sorted", damaged)
	piped := m.want(exitChecksum, "is damaged", "export", "sorted", "-")
	if err := os.WriteFile(damaged, []byte(piped), 0o644); err != nil {
		t.Fatal(err)
	}
	newMachine(t).want(exitChecksum, "is damaged", "import", damaged, "-name", "x")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

// Whatever is changed in what a tar carries, it is refused as damaged.
func TestTamperedTar(t *testing.T) {
	m := installed(t)
	whole := m.want(exitOK, "", "export", "sorted", "-")
	files := untar(t, whole)
	change := func(name string, f func([]byte) []byte) []entry {
		out := slices.Clone(files)
		for i := range out {
			if filepath.Base(out[i].name) == name {
				out[i].data = f(slices.Clone(out[i].data))
			}
		}
		return out
	}
	flip := func(b []byte) []byte { b[rand.IntN(len(b))] ^= 1 << rand.IntN(8); return b }
	edit := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	without := func(name string) []entry {
		return slices.DeleteFunc(slices.Clone(files), func(e entry) bool { return filepath.Base(e.name) == name })
	}
	for name, tampered := range map[string][]entry{
		"a bit of the weights": change("model.gguf", flip), "a bit of the manifest": change("cubby.json", flip),
		"the prompt": change("cubby.json", edit("Sort it.", "Sort me.")), "the client": change("model_client.py", edit("Sort", "sort")),
		"shorter weights": change("model.gguf", func(b []byte) []byte { return b[:len(b)-1] }), "no weights": without("model.gguf"), "no client": without("model_client.py"),
		"longer client": change("model_client.py", func(b []byte) []byte { return append(b, '\n') }),
	} {
		t.Run(name, func(t *testing.T) {
			other := newMachine(t)
			file := filepath.Join(t.TempDir(), "x.tar")
			if err := os.WriteFile(file, []byte(retar(t, tampered)), 0o644); err != nil {
				t.Fatal(err)
			}
			other.want(exitChecksum, "is damaged", "import", file, "-name", "sorted")
			if list, err := other.store.List(); err != nil || len(list) != 0 {
				t.Errorf("installed %v, %v", list, err)
			}
		})
	}
	if retar(t, files) != whole {
		t.Error("a tar that is packed again has other bytes: this test tests something else")
	}
}

type entry struct {
	name string
	data []byte
}

func untar(t *testing.T, whole string) (files []entry) {
	t.Helper()
	for r := tar.NewReader(strings.NewReader(whole)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, entry{h.Name, data})
	}
}

func retar(t *testing.T, files []entry) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))})
		_, werr := w.Write(f.data)
		if err := errors.Join(err, werr); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// A copy of a model folder under another name may be edited: where its canary no
// longer fits, a new one is recorded. Under its own name, the digest, it may not, and
// must answer as it did.
func TestImportEditedFolder(t *testing.T) {
	m := installed(t)
	recorded := *manifest(t, m.store, "sorted").Canary
	other := []float64{0, 1}
	if recorded.Probabilities[1] > 0.5 {
		other = []float64{1, 0}
	}
	miss := func(m *models.Manifest) {
		m.Canary = &models.Canary{Text: "zebra", Probabilities: other, Tolerance: 0.01}
	}
	tune := func(m *models.Manifest) { m.Policy = &labels.Policy{Threshold: 0.7} }
	for _, c := range []struct {
		name, folder string // empty for the digest of the manifest as it was installed
		edit         func(*models.Manifest)
		code         int
		printed      string
	}{
		{"renamed", "mine", func(*models.Manifest) {}, exitOK, m.digest("sorted")},
		{"tuned", "mine", tune, exitOK, "installed sorted"},
		{"edited", "mine", miss, exitOK, "a new canary is recorded"},
		{"tuned in place", "", tune, exitChecksum, "give the folder another name if you have edited it"},
		{"not answering", "own", miss, exitFailure, "the canary does not pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			edited := manifest(t, m.store, "sorted")
			c.edit(&edited)
			text, err := edited.Encode()
			if err != nil {
				t.Fatal(err)
			}
			hex := strings.TrimPrefix(m.digest("sorted"), "sha256:")
			dir := filepath.Join(t.TempDir(), cmp.Or(c.folder, hex))
			if c.folder == "own" {
				dir = filepath.Join(t.TempDir(), models.DigestOf(text).Hex())
			}
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(m.store.Root(), "models", hex))); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, models.ManifestName)
			if err := errors.Join(os.Chmod(file, 0o644), os.WriteFile(file, text, 0o644)); err != nil {
				t.Fatal(err)
			}
			there := newMachine(t)
			there.want(c.code, c.printed, "import", dir, "-name", "sorted")
			if c.code != exitOK {
				if list, err := there.store.List(); err != nil || len(list) != 0 {
					t.Errorf("installed %v, %v", list, err)
				}
				return
			}
			if got := manifest(t, there.store, "sorted").Canary; got == nil || got.Text != recorded.Text || labels.Distribution(got.Probabilities).Distance(recorded.Probabilities) > 0.01 {
				t.Errorf("canary %+v, recorded before %+v", got, recorded)
			}
		})
	}
}

// Killed at any moment, an export leaves no file of that name, or a whole one.
func TestKilledExport(t *testing.T) {
	m := installed(t)
	dir := filepath.Join(m.store.Root(), "exported") // where its progress is watched
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.tar")
	k := newKilling(t, m.store.Root(), "export", "sorted", file)
	k.base = k.progress()
	k.finish()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for kills, midst := 0, 0; kills < importKills || midst < importMidst; {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		killed := k.kill()
		data, err := os.ReadFile(file)
		switch {
		case err == nil && !bytes.Equal(data, whole):
			t.Fatalf("%d bytes of %d are there", len(data), len(whole))
		case err != nil && !killed:
			t.Fatal(err)
		case killed && k.progress() > 0 && err != nil:
			midst++
		}
		if killed {
			kills++
		}
	}
	m.want(exitOK, "exported", "export", "-force", "sorted", file)
	newMachine(t).want(exitOK, m.digest("sorted"), "import", file, "-name", "sorted")
}

// The names and the removals of versions survive kills: whatever is left is whole, the
// name leads to one of them, and the same command finishes.
func TestKilledUseAndRemove(t *testing.T) {
	m := installed(t)
	first := m.digest("sorted")
	pack := t.TempDir()
	for name, text := range map[string]string{"model_client.py": "SYSTEM_PROMPT = 'Sort it well.'\n", "job_description.json": `{"classes_description": {"a": "", "b": ""}}`} {
		if err := os.WriteFile(filepath.Join(pack, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	weights, err := os.ReadFile(filepath.Join(m.store.Root(), "models", strings.TrimPrefix(first, "sha256:"), "model.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pack, "model.gguf"), weights, 0o644); err != nil {
		t.Fatal(err)
	}
	m.want(exitOK, "installed", "import", pack, "-name", "sorted")
	second := m.digest("sorted")
	check := func() {
		t.Helper()
		list, err := m.store.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Err != nil {
				t.Fatalf("%s %s: %v", e.Name, e.Digest, e.Err)
			}
			if err := m.store.Verify(e.Digest.String()); err != nil {
				t.Fatal(err)
			}
		}
	}
	use := newKilling(t, m.store.Root(), "use", "sorted@"+first)
	use.base = use.progress()
	use.finish()
	for runs, kills := 0, 0; kills < importKills; runs++ {
		to := []string{second, first}[runs%2]
		use.args = []string{"use", "sorted@" + to}
		killed := use.kill()
		if now := m.digest("sorted"); !killed && now != to {
			t.Fatalf("it reported success, and the name points to %s", now)
		}
		if killed {
			kills++
		}
		check()
	}
	rm := newKilling(t, m.store.Root(), "rm", "-all", "sorted")
	rm.base = rm.progress()
	rm.finish()
	for kills := 0; kills < importKills/4; {
		m.want(exitOK, "installed", "import", pack, "-name", "sorted")
		m.want(exitOK, "installed", "import", pack, "-name", "sorted")
		if rm.kill() {
			kills++
		}
		check()
		if list, err := m.store.List(); err != nil {
			t.Fatal(err)
		} else if len(list) > 0 {
			m.want(exitOK, "removed", "rm", "-all", "sorted")
		}
		m.want(exitFailure, "no model named", "use", "sorted")
	}
}

// Of two exports to one file, one makes it and the other says that it is there.
func TestExportTwice(t *testing.T) {
	m := installed(t)
	file := filepath.Join(t.TempDir(), "model.tar")
	codes := make(chan int)
	for range 2 {
		cmd := m.command("export", "sorted", file)
		go func() {
			_ = cmd.Run() // its code is looked at
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	if a, b := <-codes, <-codes; a+b != exitUsage {
		t.Errorf("exit codes %d and %d", a, b)
	}
	newMachine(t).want(exitOK, m.digest("sorted"), "import", file, "-name", "sorted")
}
