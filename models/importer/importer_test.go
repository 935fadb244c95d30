package importer

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/models/demo"
	"cubby/models/gguf/gguftest"
	"cubby/models/importer/archivetest"
)

const (
	smallClient = "SYSTEM_PROMPT = 'Sort it.'\n"
	smallJob    = `{"task_description": "t", "classes_description": {"zebra": "stripes", "ant": "", "cow é": "moos"}}`
)

// demoWeights are real GGUF weights with a tokenizer and a chat template.
func demoWeights(t testing.TB) string {
	t.Helper()
	if !demo.Present {
		t.Skip("the demo model is left out of this build")
	}
	return string(demo.Files()["model.gguf"])
}

// folder writes a package folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "package")
	for name, data := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tarOf packs files as a tar in a folder of its own.
func tarOf(t testing.TB, files map[string]string) string {
	t.Helper()
	var items []archivetest.Item
	for name, data := range files {
		items = append(items, archivetest.File(name, data))
	}
	name := filepath.Join(t.TempDir(), "package.tar")
	if err := os.WriteFile(name, archivetest.Tar(t, items...), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// checkEmpty wants nothing to be visible in a store, nor left behind.
func checkEmpty(t testing.TB, s *models.Store) {
	t.Helper()
	entries, err := s.List()
	if err != nil || len(entries) != 0 {
		t.Errorf("the store shows %v, %v", entries, err)
	}
	left, err := filepath.Glob(filepath.Join(s.Root(), "*", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

func TestImportGGUF(t *testing.T) {
	files := map[string]string{
		"model/model.gguf": demoWeights(t), "model/Modelfile": "FROM ./model.gguf", "model_client.py": smallClient,
		"job_description.json": smallJob, "README.md": "card", "LICENSE": "terms", "model-adapter/README.md": "other card",
	}
	var first models.Prompt
	for name, path := range map[string]string{"folder": folder(t, files), "tar": tarOf(t, files)} {
		t.Run(name, func(t *testing.T) {
			s := models.NewStore(t.TempDir())
			res, err := Import(context.Background(), s, Options{Path: path, Name: "zoo"})
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.Open("zoo")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Digest != res.Digest.String() {
				t.Errorf("opened %s, installed %s", m.Digest, res.Digest)
			}
			if got := strings.Join(m.Labels().Names(), ","); got != "zebra,ant,cow é" {
				t.Errorf("labels %s: the order of the job description is lost", got)
			}
			if m.Labels().Label(2).Description != "moos" {
				t.Errorf("description %q", m.Labels().Label(2).Description)
			}
			first = m.Manifest.Prompt
			if want := (models.Prompt{Prefix: "<|im_start|>system\nSort it.<|im_end|>\n<|im_start|>user\n", Suffix: "<|im_end|>\n<|im_start|>assistant\n"}); first != want {
				t.Errorf("prompt %q", first)
			}
			if want := (models.Answer{Form: models.Bare, End: "<|im_end|>"}); m.Manifest.Answer != want || m.Manifest.Scoring != models.Constrained {
				t.Errorf("answer %+v, scoring %s", m.Manifest.Answer, m.Manifest.Scoring)
			}
			var names []string
			for _, f := range m.Manifest.Files {
				names = append(names, f.Path)
			}
			if got := strings.Join(names, " "); got != "LICENSE README.md data/job_description.json model.gguf model_client.py" {
				t.Errorf("files %s", got)
			}
			if err := s.Verify("zoo"); err != nil {
				t.Error(err)
			}
		})
	}
}

// The prompt of the built-in model is what its package would give.
func TestImportGivesTheDemosOwnPrompt(t *testing.T) {
	weights := demoWeights(t)
	built, err := models.OpenDemo()
	if err != nil {
		t.Fatal(err)
	}
	defer built.Close()
	system, _, _ := strings.Cut(strings.TrimPrefix(built.Manifest.Prompt.Prefix, "<|im_start|>system\n"), "<|im_end|>")
	literal, err := json.Marshal(system)
	if err != nil {
		t.Fatal(err)
	}
	s := models.NewStore(t.TempDir())
	res, err := Import(context.Background(), s, Options{Name: "again", Path: folder(t, map[string]string{
		"model.gguf": weights, "model_client.py": "SYSTEM_PROMPT = " + string(literal), "job_description.json": smallJob,
	})})
	if err != nil {
		t.Fatal(err)
	}
	if res.Manifest.Prompt != built.Manifest.Prompt || res.Manifest.Answer != built.Manifest.Answer {
		t.Errorf("got  %q %+v\nwant %q %+v", res.Manifest.Prompt, res.Manifest.Answer, built.Manifest.Prompt, built.Manifest.Answer)
	}
}

func TestImportOldClientIsTagged(t *testing.T) {
	s := models.NewStore(t.TempDir())
	res, err := Import(context.Background(), s, Options{Name: "old", Path: folder(t, map[string]string{
		"model.gguf": demoWeights(t), "model_client.py": oldClient, "job_description.json": smallJob,
	})})
	if err != nil {
		t.Fatal(err)
	}
	if want := (models.Answer{Form: models.Tagged, Prefix: "<output>", Suffix: "</output>", End: "<|im_end|>"}); res.Manifest.Answer != want {
		t.Errorf("answer %+v", res.Manifest.Answer)
	}
	if !strings.HasSuffix(res.Manifest.Prompt.Prefix, "user\n\n\nNow sort this {one}\n<question>") || !strings.HasPrefix(res.Manifest.Prompt.Suffix, "</question>\n<|im_end|>") {
		t.Errorf("prompt %q", res.Manifest.Prompt)
	}
}

func TestImportFindsTheJob(t *testing.T) {
	files := map[string]string{"model.gguf": demoWeights(t), "model_client.py": smallClient}
	other := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(other, []byte(`{"classes_description": {"only": ""}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	path := folder(t, files)
	s := models.NewStore(t.TempDir())
	if _, err := Import(context.Background(), s, Options{Path: path, Name: "a"}); err == nil || !strings.Contains(err.Error(), "name the file with -job") {
		t.Fatalf("without a job: %v", err)
	}
	checkEmpty(t, s)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), jobName), []byte(smallJob), 0o644); err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]string{"": "zebra", other: "only"} {
		res, err := Import(context.Background(), s, Options{Path: path, Name: "a", Job: job})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Manifest.Labels[0].Name; got != want {
			t.Errorf("job %q: first label %q, want %q", job, got, want)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	weights := demoWeights(t)
	qwen := string(gguftest.Encode([]gguftest.Meta{
		{Key: "general.architecture", Value: "qwen9"},
		{Key: "tokenizer.chat_template", Value: chatML},
		{Key: "tokenizer.ggml.tokens", Value: []string{"<|im_end|>"}},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(0)},
	}, nil))
	bare := string(gguftest.Encode([]gguftest.Meta{{Key: "general.architecture", Value: "llama"}}, nil))
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", map[string]string{"README.md": "x"}, "holds no model"},
		{"several weights", map[string]string{"a.gguf": "x", "b.gguf": "y"}, "several GGUF files: a.gguf, b.gguf"},
		{"no client", map[string]string{"model.gguf": "x", jobName: smallJob}, "no model_client.py in it or beside it"},
		{"client without prompt", map[string]string{"model.gguf": "x", jobName: smallJob, clientName: "import os\n"}, "neither a SYSTEM_PROMPT nor a get_prompt"},
		{"cut GGUF", map[string]string{"model.gguf": weights[:1<<20], jobName: smallJob, clientName: smallClient}, "model.gguf"},
		{"no GGUF at all", map[string]string{"model.gguf": "<html>", jobName: smallJob, clientName: smallClient}, "model.gguf"},
		{"GGUF without template", map[string]string{"model.gguf": bare, jobName: smallJob, clientName: smallClient}, "no tokenizer.chat_template"},
		{"unsupported architecture", map[string]string{"model.gguf": qwen, jobName: smallJob, clientName: smallClient}, `architecture "qwen9" is not supported`},
		{"no labels", map[string]string{"model.gguf": "x", jobName: `{"classes_description": {}}`, clientName: smallClient}, "label set is empty"},
		{"no classes", map[string]string{"model.gguf": "x", jobName: `{}`, clientName: smallClient}, `no "classes_description"`},
		{"list of classes", map[string]string{"model.gguf": "x", jobName: `{"classes_description": ["a"]}`, clientName: smallClient}, "not an object"},
		{"repeated label", map[string]string{"model.gguf": "x", jobName: `{"classes_description": {"a": "", "a": ""}}`, clientName: smallClient}, `"a" repeats`},
		{"safetensors alone", map[string]string{"model/model.safetensors": "x", jobName: smallJob}, "without a config.json beside it"},
		{"safetensors in two folders", map[string]string{"a/model.safetensors": "x", "b/model.safetensors": "x"}, "several folders"},
		{"classifier without classes", map[string]string{
			"model.safetensors": "x", configName: `{"architectures": ["LlamaForSequenceClassification"]}`, tokenizerName: "{}"}, "label set is empty"},
		{"classifier with a gap", map[string]string{
			"model.safetensors": "x", configName: `{"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "2": "b"}}`, tokenizerName: "{}"}, "none for 1"},
		{"classifier of another job", map[string]string{
			"model.safetensors": "x", configName: `{"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}`, tokenizerName: "{}", jobName: smallJob}, `does not have "a"`},
	} {
		for _, form := range []string{"folder", "tar"} {
			t.Run(c.name+"/"+form, func(t *testing.T) {
				path := folder(t, c.files)
				if form == "tar" {
					path = tarOf(t, c.files)
				}
				s := models.NewStore(t.TempDir())
				_, err := Import(context.Background(), s, Options{Path: path, Name: "a"})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want one that holds %q", err, c.want)
				}
				if !strings.Contains(err.Error(), path) {
					t.Errorf("the error does not name the package: %v", err)
				}
				checkEmpty(t, s)
			})
		}
	}
}

func TestImportRefusesBadOptions(t *testing.T) {
	s := models.NewStore(t.TempDir())
	for _, o := range []Options{{Path: ".", Name: "../x"}, {Path: ".", Name: ""}, {Path: filepath.Join(t.TempDir(), "none"), Name: "a"}} {
		if _, err := Import(context.Background(), s, o); err == nil {
			t.Errorf("%+v was imported", o)
		}
	}
	checkEmpty(t, s)
}

// The canary is scored on the model before anyone can see it, and a failure to
// score it installs nothing.
func TestImportRecordsTheCanary(t *testing.T) {
	path := tarOf(t, map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob})
	s := models.NewStore(t.TempDir())
	failure := errors.New("engine says no")
	_, err := Import(context.Background(), s, Options{Path: path, Name: "a", Start: starter(func(*models.Model) (*models.Canary, error) { return nil, failure })})
	if !errors.Is(err, failure) {
		t.Fatalf("error %v", err)
	}
	checkEmpty(t, s)
	want := &models.Canary{Text: "moo", Probabilities: []float64{0.25, 0.25, 0.5}, Tolerance: 1e-4}
	_, err = Import(context.Background(), s, Options{Path: path, Name: "a", Start: starter(func(m *models.Model) (*models.Canary, error) {
		if entries, err := s.List(); err != nil || len(entries) != 0 {
			t.Errorf("the store shows %v while the canary is scored, %v", entries, err)
		}
		_, err := m.Checkpoint()
		return want, err
	})})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Manifest.Canary == nil || m.Manifest.Canary.Text != "moo" {
		t.Errorf("canary %+v", m.Manifest.Canary)
	}
}

func TestImportStopsWithContext(t *testing.T) {
	path := folder(t, map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob})
	s := models.NewStore(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Import(ctx, s, Options{Path: path, Name: "a", Start: starter(func(*models.Model) (*models.Canary, error) {
		cancel()
		return nil, nil
	})})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	checkEmpty(t, s)
}

// A download cache is made of links to files elsewhere; in a folder that the
// user names, they count as the files.
func TestImportFollowsLinksInAFolder(t *testing.T) {
	dir := folder(t, map[string]string{clientName: smallClient, jobName: smallJob, ".cache/other.gguf": "x"})
	blob := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(blob, []byte(demoWeights(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(blob, filepath.Join(dir, "model.gguf")); err != nil {
		t.Skip("links are not available:", err)
	}
	s := models.NewStore(t.TempDir())
	if _, err := Import(context.Background(), s, Options{Path: dir, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify("a"); err != nil {
		t.Error(err)
	}
}

// readEntry returns one file of a tar.
func readEntry(t *testing.T, archive, name string) []byte {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s in %s: %v", name, archive, err)
		}
		if h.Name == name {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
	}
}

func sameLabels(a []labels.Label, names []string) bool {
	if len(a) != len(names) {
		return false
	}
	for i := range a {
		if a[i].Name != names[i] {
			return false
		}
	}
	return true
}

func hasFile(files []models.File, path string, data []byte) bool {
	for _, f := range files {
		if f.Path == path {
			return f.SHA256 == models.DigestOf(data) && f.Size == int64(len(data))
		}
	}
	return false
}

// A model folder that a user has tuned keeps its calibration and policy.
func TestImportOfAModelFolderKeepsItsManifest(t *testing.T) {
	if !demo.Present {
		t.Skip("the demo model is not in this program")
	}
	built, err := models.OpenDemo()
	if err != nil {
		t.Fatal(err)
	}
	defer built.Close()
	m := built.Manifest
	m.Calibration, m.Policy = &labels.Calibration{Temperature: 1.3}, &labels.Policy{Threshold: 0.8}
	dir := t.TempDir()
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{models.ManifestName: text}
	for name, data := range demo.Files() {
		files[name] = data
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := models.NewStore(t.TempDir())
	res, err := Import(t.Context(), s, Options{Path: dir, Name: "tuned", Answer: "tagged"})
	if err != nil {
		t.Fatal(err)
	}
	if c, p := res.Manifest.Calibration, res.Manifest.Policy; c == nil || c.Temperature != 1.3 || p == nil || p.Threshold != 0.8 || res.Manifest.Name != "tuned" {
		t.Errorf("installed manifest %+v", res.Manifest)
	}
	if res.Manifest.Answer != m.Answer || !slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, "-answer are not used") }) {
		t.Errorf("answer %+v, warnings %q", res.Manifest.Answer, res.Warnings)
	}
	if m, err := s.Open("tuned"); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	if _, err := Import(t.Context(), s, Options{Path: dir, Name: models.DemoName}); err == nil {
		t.Error("the name of the built-in model was given away")
	}
	if err := os.WriteFile(filepath.Join(dir, "model.gguf"), []byte("GGUF"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), s, Options{Path: dir, Name: "broken"}); !errors.As(err, new(*models.IntegrityError)) {
		t.Errorf("a damaged folder was imported: %v", err)
	}
}

// starter runs a model that does nothing but record a canary.
func starter(record func(*models.Model) (*models.Canary, error)) Starter {
	return func(m *models.Model) (Running, error) { return fakeRunning{m, record}, nil }
}

type fakeRunning struct {
	model  *models.Model
	record func(*models.Model) (*models.Canary, error)
}

func (r fakeRunning) CheckCanary(context.Context) error { return nil }

func (r fakeRunning) RecordCanary(context.Context) (*models.Canary, error) { return r.record(r.model) }

func (r fakeRunning) AnswerMass(context.Context, []models.Answer) ([]float64, error) {
	return nil, nil
}

func (r fakeRunning) Answer(context.Context, []string) ([]Answer, error) {
	return nil, errors.New("it answers nothing")
}

func (r fakeRunning) Close() error { return r.model.Close() }
