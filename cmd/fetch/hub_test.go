package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/internal/hub/localhub"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/safetensors"
)

// No test asks the real hub: those that ask a local one say so.
func init() {
	if os.Getenv(asProgram) == "" {
		_ = os.Setenv("HF_HUB_OFFLINE", "1")
	}
}

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
	p.want(exitFailure, "", "adapter", "pull", "hf.co/distil-labs/Tickets", "-keep-adapter") // what is installed has none
}

// A repo may hold the weights alone: the rest is named.
func TestHubPullBareGGUF(t *testing.T) {
	root, beside := t.TempDir(), t.TempDir()
	repo(t, root, "org/bare", map[string]string{"model.gguf": demoGGUF(t)})
	repo(t, beside, "", map[string]string{"c.py": hubClientText, "j.json": hubJob})
	p := newPullingHub(t, localhub.Options{Root: root}, nil)
	p.want(exitFailure, "", "cannot be imported without the prompt", "pull", "hf.co/org/bare")
	p.want(exitOK, "installed bare: 2 labels", "", "pull", "hf.co/org/bare", "-client", filepath.Join(beside, "c.py"), "-job", filepath.Join(beside, "j.json"))
	p.whole("bare")

	// What is to be typed again has the flags that were given.
	given := []string{"-as", "mine", "-job", filepath.Join(beside, "j.json"), "-client", filepath.Join(beside, "c.py"), "-answer", "bare"}
	p.want(exitOK, "installed mine: 2 labels", "", append([]string{"pull", "hf.co/org/bare"}, given...)...)
	p.want(exitOK, "\nto download it anew: fetch pull hf.co/org/bare "+strings.Join(given, " ")+" -again\n", "", append([]string{"pull", "hf.co/org/bare"}, given...)...)
	p.want(exitFailure, "", "fetch pull hf.co/org/bare -as mine -job "+given[3]+"; -job, -client, -answer and -base are to be repeated", "upgrade", "mine", "-job", given[3])
}

// unpacked is a package's folder.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// publish makes a folder a repo.
func publish(t *testing.T, root, name, dir string) {
	t.Helper()
	to := filepath.Join(root, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(dir, to)); err != nil {
		t.Fatal(err)
	}
}

// split makes two shards of model.safetensors in dir, and an index.
func split(t *testing.T, dir string) {
	t.Helper()
	whole := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	tensors := f.Tensors()
	index := map[string]string{}
	for i, part := range [][]safetensors.Tensor{tensors[:len(tensors)/2], tensors[len(tensors)/2:]} {
		name := fmt.Sprintf("model-%05d-of-00002.safetensors", i+1)
		var list []safetensors.Content
		for _, tensor := range part {
			index[tensor.Name] = name
			list = append(list, safetensors.Content{Name: tensor.Name, DType: tensor.DType, Shape: tensor.Shape,
				Write: func(w io.Writer) error { _, err := w.Write(tensor.Data); return err }})
		}
		out, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(safetensors.Write(out, list), out.Close()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "weight_map": index})
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), text, 0o644), os.Remove(whole)); err != nil {
		t.Fatal(err)
	}
}

// Trained students in the shapes that repos have: safetensors in a folder, shards at
// the root, a classifier, an adapter alone. Their labels come from -job where the
// repo has none.
func TestHubPullStudents(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads and opens models of 135 million weights: not in short mode")
	}
	task := filepath.Join(testenv.Packages(t), "banking-routing")
	job := filepath.Join(task, "job_description.json")
	root := t.TempDir()
	publish(t, root, "org/merged", unpacked(t, filepath.Join(task, "merged.tar")))
	shards := unpacked(t, filepath.Join(task, "merged.tar"))
	split(t, filepath.Join(shards, "model"))
	if err := os.Rename(filepath.Join(shards, "model_client.py"), filepath.Join(shards, "model", "model_client.py")); err != nil {
		t.Fatal(err)
	}
	publish(t, root, "org/shards", filepath.Join(shards, "model"))
	publish(t, root, "org/classifier", filepath.Join(unpacked(t, filepath.Join(task, "seqcls.tar")), "model"))
	publish(t, root, "org/adapter", unpacked(t, filepath.Join(task, "adapter.tar")))
	p := newPullingHub(t, localhub.Options{Root: root, Page: 2}, nil)
	p.want(exitOK, "installed merged: 8 labels", "", "pull", "hf.co/org/merged", "-job", job)
	p.want(exitOK, "installed shards: 8 labels", "", "pull", "hf.co/org/shards", "-job", job)
	p.want(exitOK, "installed classifier: 8 labels", "", "pull", "hf.co/org/classifier")
	base := filepath.Join(testenv.Packages(t), "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct")
	p.want(exitAuth, "", "the hub shows no such model", "pull", "hf.co/org/adapter", "-job", job)
	p.want(exitOK, "installed adapter: 8 labels", "", "pull", "hf.co/org/adapter", "-job", job, "-base", base)
	var canaries []*models.Canary
	for _, name := range []string{"merged", "shards", "classifier", "adapter"} {
		p.whole(name)
		m, err := p.store.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		canaries = append(canaries, m.Manifest.Canary)
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(canaries[0].Probabilities, canaries[1].Probabilities) {
		t.Error("the shards are not the model that they were made from")
	}
}

// An adapter's base comes from the hub once, is kept for the next adapter of it, and
// can be listed and removed; a damaged one is mended.
func TestHubBases(t *testing.T) {
	if testing.Short() {
		t.Skip("merges 135 million weights: not in short mode")
	}
	packages := testenv.Packages(t)
	const name = "HuggingFaceTB/SmolLM2-135M-Instruct"
	p := newPullingHub(t, localhub.Options{Root: filepath.Join(packages, "hub")}, nil)
	adapter := func(task, name string) []string {
		return []string{"import", filepath.Join(packages, task, "adapter.tar"), "-name", name}
	}
	p.want(exitFailure, "", "nothing is downloaded with -offline, or with HF_HUB_OFFLINE set", append(adapter("banking-routing", "a"), "-offline")...)
	if p.large() != 0 || len(p.hub.Requests()) != 0 {
		t.Error("it asked the hub with -offline")
	}
	out, errs := p.want(exitOK, "installed a: 8 labels", "downloading the base model "+name, adapter("banking-routing", "a")...)
	if !strings.Contains(out, "merged at import from the base "+name+" (sha256:") {
		t.Errorf("%s%s", out, errs)
	}
	once := p.large()
	p.want(exitOK, "installed b: ", "", append(adapter("ecommerce", "b"), "-offline")...)
	p.want(exitOK, "BASE MODEL", "", "ls")
	p.want(exitOK, "hf.co/"+name, "", "ls")
	if p.large() != once {
		t.Error("the base was downloaded twice")
	}
	files, err := filepath.Glob(filepath.Join(p.store.Root(), "bases", "*", "*", "model.safetensors"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{1, 2, 3}, 100<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	p.want(exitFailure, "", "is not whole", append(adapter("ecommerce", "c"), "-offline")...)
	p.want(exitOK, "installed c: ", "downloading the base model", adapter("ecommerce", "c")...)
	b, err := p.store.Open("b")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := p.store.Open("c")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !slices.Equal(b.Manifest.Canary.Probabilities, c.Manifest.Canary.Probabilities) {
		t.Error("the mended base makes another model")
	}
	p.want(exitUsage, "", "fetch rm hf.co/"+name, "rm", "hf.co/"+name+"@main")
	p.want(exitOK, "removed hf.co/"+name+"\n", "", "rm", "hf.co/"+name)
	p.want(exitFailure, "", "keeps no base model", "rm", "hf.co/"+name)
	if left, _ := os.ReadDir(filepath.Join(p.store.Root(), "bases")); len(left) > 0 {
		t.Errorf("left of the base: %v", left)
	}
	p.whole("b")
}

// A base that is gated is refused with what to do, and no byte of it is asked for.
func TestHubGatedBase(t *testing.T) {
	packages := testenv.Packages(t)
	const name = "HuggingFaceTB/SmolLM2-135M-Instruct"
	p := newPullingHub(t, localhub.Options{Root: filepath.Join(packages, "hub"), Gated: []string{name}}, nil)
	p.want(exitAuth, "", "accept the licence at "+p.server.URL+"/"+name, "import", filepath.Join(packages, "banking-routing", "adapter.tar"), "-name", "a")
	if p.large() != 0 {
		t.Error("it asked for large files")
	}
	p = newPullingHub(t, localhub.Options{Root: t.TempDir()}, nil)
	t.Setenv("HF_TOKEN", localhub.Token)
	p.want(exitNetwork, "", "the hub has no such model, or it is private", "import", filepath.Join(packages, "banking-routing", "adapter.tar"), "-name", "a")
}

// What the hub does not give is refused before a weight is downloaded, with what to
// do about it.
func TestHubPullRefusals(t *testing.T) {
	root := t.TempDir()
	whole := map[string]string{"model.gguf": demoGGUF(t), "model_client.py": hubClientText, "job_description.json": hubJob}
	for _, name := range []string{"org/plain", "org/gated", "org/waiting", "org/private"} {
		repo(t, root, name, whole)
	}
	repo(t, root, "org/several", map[string]string{"a-q4.gguf": demoGGUF(t), "sub/b-q8.gguf": demoGGUF(t), "mmproj.gguf": "x", "model_client.py": hubClientText, "job_description.json": hubJob})
	repo(t, root, "org/bare", map[string]string{"model.gguf": demoGGUF(t), "README.md": "x"})
	repo(t, root, "org/pickles", map[string]string{"pytorch_model.bin": "x", "config.json": "{}"})
	repo(t, root, "org/onnx", map[string]string{"model.onnx": "x"})
	repo(t, root, "org/parts", map[string]string{"m-00001-of-00002.gguf": "x", "m-00002-of-00002.gguf": "x"})
	repo(t, root, "org/sentencepiece", map[string]string{"model.safetensors": "x", "config.json": "{}", "tokenizer.model": "x"})
	repo(t, root, "org/unfinished", map[string]string{"model-00001-of-00003.safetensors": "x", "config.json": "{}", "tokenizer.json": "{}"})
	p := newPullingHub(t, localhub.Options{Root: root, Gated: []string{"org/gated"}, Refused: []string{"org/waiting"}, Private: []string{"org/private"}, Renamed: map[string]string{"old/name": "org/plain"}}, nil)
	for _, row := range []struct {
		name, token string
		code        int
		says        string
		args        []string
	}{
		{"absent", "", exitAuth, "check the name; if it is private, log in", []string{"hf.co/org/absent"}},
		{"absent, with a token", localhub.Token, exitNetwork, "the hub has no such model, or it is private", []string{"hf.co/org/absent"}},
		{"private", "", exitAuth, "if it is private, log in", []string{"hf.co/org/private"}},
		{"gated", "", exitAuth, "accept the licence at " + p.server.URL + "/org/gated", []string{"hf.co/org/gated"}},
		{"gated, and not let in", localhub.Token, exitAuth, "ask for access at " + p.server.URL + "/org/waiting", []string{"hf.co/org/waiting"}},
		{"a wrong token", "hf_wrongToken", exitAuth, "the token of HF_TOKEN is wrong or has expired", []string{"hf.co/org/plain"}},
		{"no token at all", "not a token", exitUsage, "HF_TOKEN holds no token", []string{"hf.co/org/plain"}},
		{"no such revision", "", exitNetwork, `name one with @REVISION; "v9" is none`, []string{"hf.co/org/plain@v9"}},
		{"several GGUFs", "", exitFailure, "fetch pull hf.co/org/several/sub/b-q8.gguf    # 2", []string{"hf.co/org/several"}},
		{"no such file", "", exitFailure, "the repo has no file c.gguf; hf.co/org/several holds several GGUFs", []string{"hf.co/org/several/c.gguf"}},
		{"a file that is none", "", exitFailure, "of single files only GGUFs can be pulled", []string{"hf.co/org/plain/model_client.py"}},
		{"neither prompt nor labels", "", exitFailure, "fetch pull hf.co/org/bare -client FILE -job FILE", []string{"hf.co/org/bare"}},
		{"pickles", "", exitFailure, "can run code when it is read: pytorch_model.bin", []string{"hf.co/org/pickles"}},
		{"onnx", "", exitFailure, "neither safetensors nor a GGUF", []string{"hf.co/org/onnx"}},
		{"a GGUF in parts", "", exitFailure, "is one part of a GGUF in several files", []string{"hf.co/org/parts"}},
		{"one part of a GGUF", "", exitFailure, "is one part of a GGUF in several files", []string{"hf.co/org/parts/m-00001-of-00002.gguf"}},
		{"no tokenizer.json", "", exitFailure, "has no tokenizer.json beside model.safetensors", []string{"hf.co/org/sentencepiece"}},
		{"a shard is missing", "", exitFailure, "has 1 of the 3 files", []string{"hf.co/org/unfinished"}},
		{"a data set", "", exitUsage, "datasets hold no models", []string{"hf.co/datasets/org/plain"}},
		{"no repo", "", exitUsage, "it has no name of a repo", []string{"https://huggingface.co/gpt2"}},
		{"offline", "", exitUsage, "nothing is downloaded with -offline", []string{"hf.co/org/plain", "-offline"}},
		{"files", "", exitUsage, "-files keeps what the platform has", []string{"hf.co/org/plain", "-files", "x"}},
		{"no such client", "", exitUsage, "-client: ", []string{"hf.co/org/plain", "-client", filepath.Join(root, "none")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p.t = t
			t.Setenv("HF_TOKEN", row.token)
			p.want(row.code, "", row.says, append([]string{"pull"}, row.args...)...)
			if n := p.large(); n != 0 {
				t.Errorf("%d requests for large files", n)
			}
			if left, _ := os.ReadDir(filepath.Join(p.store.Root(), "staging")); len(left) > 0 && row.code == exitAuth {
				t.Errorf("left in staging: %v", left)
			}
		})
	}
	p.t = t
	t.Setenv("HF_ENDPOINT", "http://example.com")
	p.want(exitUsage, "", "use https", "pull", "hf.co/org/plain")
	t.Setenv("HF_ENDPOINT", p.server.URL)
	t.Setenv("HF_TOKEN", localhub.Token)
	p.want(exitOK, "installed gated: 2 labels", "", "pull", "hf.co/org/gated")
	p.want(exitOK, "installed private: 2 labels", "", "pull", "hf.co/org/private")
	p.want(exitOK, "installed plain: 2 labels", "", "pull", "hf.co/old/name")
	p.want(exitOK, "plain is installed already", "", "pull", "hf.co/org/plain")
	p.want(exitOK, "installed several: 2 labels", "", "pull", "hf.co/org/several/a-q4.gguf")
	p.want(exitFailure, "", "another model named several, from hf.co/org/several/a-q4.gguf@", "pull", "hf.co/org/several/sub/b-q8.gguf")
	client, job := filepath.Join(t.TempDir(), "client.py"), filepath.Join(t.TempDir(), "job.json")
	if err := errors.Join(os.WriteFile(client, []byte(hubClientText), 0o644), os.WriteFile(job, []byte(hubJob), 0o644)); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK, "installed bare: 2 labels", "", "pull", "hf.co/org/bare", "-client", client, "-job", job)
	m, err := p.store.Open("bare")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !strings.Contains(m.Manifest.Prompt.Prefix, "Sort it.") || !slices.ContainsFunc(m.Manifest.Files, func(f models.File) bool { return f.Path == "model_client.py" }) {
		t.Errorf("the prompt begins %.80q", m.Manifest.Prompt.Prefix)
	}
	p.whole("bare")
}

// Another commit takes the name; what it shares with the old one is not downloaded
// again while the old one is on its way.
func TestHubPullNewCommit(t *testing.T) {
	root := t.TempDir()
	repo(t, root, "org/m", map[string]string{"model.gguf": demoGGUF(t), "model_client.py": "broken(", "job_description.json": hubJob})
	p := newPullingHub(t, localhub.Options{Root: root}, nil)
	p.want(exitFailure, "", "the download is kept", "pull", "hf.co/org/m")
	once := p.large()
	if err := os.WriteFile(filepath.Join(root, "org", "m", "model_client.py"), []byte(hubClientText), 0o644); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK, "installed m: 2 labels", "", "pull", "hf.co/org/m")
	if p.large() != once {
		t.Error("the weights were downloaded twice")
	}
	if err := os.WriteFile(filepath.Join(root, "org", "m", "job_description.json"), []byte(`{"classes_description": {"a": "", "b": "", "c": ""}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK, "installed m: 3 labels", "", "pull", "hf.co/org/m")
	p.want(exitOK, "installed m: 3 labels", "", "pull", "hf.co/org/m", "-again")
	out, _ := p.want(exitOK, `"event":"already_installed"`, "", "pull", "hf.co/org/m", "-json")
	if !strings.Contains(out, `"model":"hf.co/org/m"`) {
		t.Error(out)
	}
	p.whole("m")
}
