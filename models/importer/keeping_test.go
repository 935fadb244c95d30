package importer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/models/convert"
	"cubby/models/gguf"
	"cubby/models/lora"
)

// anyEngine stands for one that runs base and adapter.
var anyEngine = starter(func(m *models.Model) (*models.Canary, error) { return nil, nil })

func toGGUF(ctx context.Context, dir string, w io.Writer) (string, error) {
	s, err := convert.GGUF(ctx, dir, w)
	return s.By, err
}

func keepIn(t *testing.T, s *models.Store, name, path, base string) Result {
	t.Helper()
	res, err := Import(t.Context(), s, Options{Path: path, Name: name, Base: base, KeepAdapter: true, Convert: toGGUF, Start: anyEngine})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// fileNames are those of an installed model.
func fileNames(m models.Manifest) string {
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Path)
	}
	return strings.Join(names, " ")
}

func adapterPackage(t *testing.T) map[string]string {
	return with(smallPackage, in("model-adapter", adapterFiles(t, nil, nil)))
}

// ggufFile is a family's base as a GGUF file.
func ggufFile(t *testing.T, f family, name string) string {
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(f.file(t)["model.gguf"]), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestKeepAdapter(t *testing.T) {
	const prefix, suffix = "<|im_start|>system\nSort it.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
	hub := baseFolder(t, "Small", baseFiles(t))
	whole := with(qwen3Family(t).folder(t), in("model-adapter", adapterFiles(t, nil, nil)))
	own := adapterPackage(t)
	for _, name := range []string{tokenizerName, tokenizerConfigName, templateName} {
		own["model-adapter/"+name] = baseFiles(t)[name]
	}
	for _, c := range []struct {
		name, base string
		files      map[string]string
		want       string // the model's files
	}{
		{"of the hub", hub, adapterPackage(t), "adapter.gguf adapter_config.json base.gguf data/job_description.json model_client.py"},
		{"GGUF", ggufFile(t, qwen3Family(t), "Small.Q8_0.gguf"), adapterPackage(t), "adapter.gguf adapter_config.json base.gguf data/job_description.json model_client.py"},
		{"GGUF, and a tokenizer of its own", ggufFile(t, qwen3Family(t), "small-f32.gguf"), own, "adapter.gguf adapter_config.json base.gguf chat_template.jinja data/job_description.json model_client.py tokenizer.json tokenizer_config.json"},
		{"merged weights beside it", hub, whole, "adapter.gguf adapter_config.json base.gguf data/job_description.json model_client.py"},
	} {
		for _, kind := range []string{"folder", "tar"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				path := folder(t, c.files)
				if kind == "tar" {
					path = tarOf(t, c.files)
				}
				s := models.NewStore(t.TempDir())
				res := keepIn(t, s, "a", path, c.base)
				if len(res.Warnings) > 0 {
					t.Errorf("warnings %q", res.Warnings)
				}
				m := res.Manifest
				if m.Weights != keptBase || m.Adapter != keptAdapter || m.Source.Kind != models.Adapted || !strings.Contains(m.Source.Note, "kept beside the base "+modelName(c.base)+" (sha256:") {
					t.Errorf("weights %s, adapter %s, source %+v", m.Weights, m.Adapter, m.Source)
				}
				if m.Prompt.Prefix != prefix || m.Prompt.Suffix != suffix || m.Answer.End != "<|im_end|>" {
					t.Errorf("prompt %q, end %q", m.Prompt, m.Answer.End)
				}
				model, err := s.Open("a")
				if err != nil {
					t.Fatal(err)
				}
				defer model.Close()
				if got := fileNames(model.Manifest); got != c.want {
					t.Errorf("files %s", got)
				}
				if _, err := model.Checkpoint(); !errors.As(err, new(*checkpoint.UnsupportedError)) || !strings.Contains(err.Error(), "use -engine llama") {
					t.Errorf("for the native engine: %v", err)
				}
				tok, err := model.Tokenizer()
				if err != nil {
					t.Fatal(err)
				}
				if got := tok.Decode(tok.EncodeSpecial(prefix + "the card")); got != prefix+"the card" {
					t.Errorf("the prompt comes back as %q", got)
				}
			})
		}
	}
}

// Adapters of one base share its bytes, and one of them can be removed, damaged and
// imported again without the other.
func TestKeptAdaptersShareTheirBase(t *testing.T) {
	s, base := models.NewStore(t.TempDir()), baseFolder(t, "Small", baseFiles(t))
	paths := map[string]string{}
	for i, name := range []string{"a", "b"} {
		files := with(smallPackage, in("model-adapter", adapterFiles(t, object{"lora_alpha": 2 + i}, nil)))
		keepIn(t, s, name, folder(t, files), base)
		m, err := s.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		paths[name] = m.Folder()
		m.Close()
	}
	stat := func(name string) os.FileInfo {
		info, err := os.Stat(filepath.Join(paths[name], keptBase))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if paths["a"] == paths["b"] || !os.SameFile(stat("a"), stat("b")) {
		t.Error("the base is there twice")
	}
	if _, err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify("b"); err != nil {
		t.Errorf("with the other adapter gone: %v", err)
	}
	file := filepath.Join(paths["b"], keptBase)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(data)
	damaged[len(damaged)-1] ^= 1
	if err := errors.Join(os.Chmod(file, 0o644), os.WriteFile(file, damaged, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify("b"); !errors.As(err, new(*models.IntegrityError)) {
		t.Errorf("a damaged base: %v", err)
	}
	keepIn(t, s, "c", folder(t, adapterPackage(t)), base)
	if err := s.Verify("c"); err != nil {
		t.Errorf("a damaged base was shared: %v", err)
	}
}

// A model folder with an adapter is copied like any other, and shares its base as well.
func TestFolderWithAdapter(t *testing.T) {
	s, base := models.NewStore(t.TempDir()), baseFolder(t, "Small", baseFiles(t))
	keepIn(t, s, "a", folder(t, adapterPackage(t)), base)
	first, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if m, err := models.OpenFolder(first.Folder()); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	if _, err := Import(t.Context(), s, Options{Path: first.Folder(), Name: "b", Start: anyEngine}); err != nil {
		t.Fatal(err)
	}
	second, err := s.Open("b")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	one, err1 := os.Stat(filepath.Join(first.Folder(), keptBase))
	two, err2 := os.Stat(filepath.Join(second.Folder(), keptBase))
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(one, two) {
		t.Errorf("the copy has a base of its own, %v", err)
	}
}

func TestKeepAdapterRefuses(t *testing.T) {
	hub := baseFolder(t, "Small", baseFiles(t))
	mamba := baseFiles(t)
	mamba[configName] = strings.Replace(mamba[configName], "Qwen3ForCausalLM", "MambaForCausalLM", 1)
	bare := baseFiles(t)
	delete(bare, tokenizerName)
	text := filepath.Join(t.TempDir(), "Small.txt")
	cut := filepath.Join(t.TempDir(), "Small.gguf")
	for _, file := range []string{text, cut} {
		if err := os.WriteFile(file, []byte("GGUF"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	vocab := qwen3Family(t).vocab
	for _, c := range []struct {
		name   string
		base   string
		config object
		more   map[string][]int
		want   string
		is     error
	}{
		{"a classifier's adapter", hub, object{"task_type": "SEQ_CLS"}, nil, "for a classification head", lora.ErrMergeInstead},
		{"another task", hub, object{"task_type": "TOKEN_CLS"}, nil, `the task "TOKEN_CLS"`, nil},
		{"a head trained whole", hub, object{"modules_to_save": []string{"lm_head"}}, map[string][]int{"lm_head.weight": {vocab, size}}, "trained whole", lora.ErrMergeInstead},
		{"an update of a tied head", hub, object{"target_modules": []string{"q_proj", "lm_head"}},
			map[string][]int{"lm_head.lora_A.weight": {1, size}, "lm_head.lora_B.weight": {vocab, 1}}, "the embedding too", lora.ErrMergeInstead},
		{"DoRA", hub, object{"use_dora": true}, nil, "DoRA", lora.ErrUnsupported},
		{"another size", ggufFile(t, gemma3Family(t), "Small.gguf"), nil, map[string][]int{"model.layers.0.self_attn.q_proj.lora_A.weight": {1, size + 1}}, "it is another model; the adapter's base model is org/Small", nil},
		{"no model", text, nil, nil, "neither a folder of the Hugging Face hub nor a .gguf file", nil},
		{"cut", cut, nil, nil, "gguf: the file is truncated", gguf.ErrTruncated},
		{"no tokenizer", baseFolder(t, "Bare", bare), nil, nil, "tokenizer.json", fs.ErrNotExist},
		{"a base that is not written as GGUF", baseFolder(t, "Mamba", mamba), nil, nil, "a GGUF file of it can be named: -base FILE.gguf", nil},
		{"no base", "", nil, nil, "its base model org/Small are not inside", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := models.NewStore(t.TempDir())
			files := with(smallPackage, in("model-adapter", adapterFiles(t, c.config, c.more)))
			_, err := Import(t.Context(), s, Options{Path: folder(t, files), Name: "a", Base: c.base, KeepAdapter: true, Convert: toGGUF, Start: anyEngine})
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v", err)
			}
			checkEmpty(t, s)
		})
	}
	t.Run("no adapter", func(t *testing.T) {
		s := models.NewStore(t.TempDir())
		_, err := Import(t.Context(), s, Options{Path: folder(t, qwen3Family(t).folder(t)), Name: "a", Base: hub, KeepAdapter: true, Convert: toGGUF, Start: anyEngine})
		if err == nil || !strings.Contains(err.Error(), "holds no LoRA adapter") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nothing runs it", func(t *testing.T) {
		s := models.NewStore(t.TempDir())
		_, err := Import(t.Context(), s, Options{Path: folder(t, adapterPackage(t)), Name: "a", Base: hub, KeepAdapter: true, Convert: toGGUF})
		if !errors.As(err, new(*checkpoint.UnsupportedError)) {
			t.Errorf("error %v", err)
		}
		checkEmpty(t, s)
	})
	t.Run("a GGUF base to merge into", func(t *testing.T) {
		s := models.NewStore(t.TempDir())
		_, err := Import(t.Context(), s, Options{Path: folder(t, adapterPackage(t)), Name: "a", Base: ggufFile(t, qwen3Family(t), "Small.gguf"), Start: anyEngine})
		if err == nil || !strings.Contains(err.Error(), "-keep-adapter") {
			t.Errorf("error %v", err)
		}
	})
}

// A folder whose adapter is of another base is refused before any engine reads it.
func TestFolderWithForeignAdapter(t *testing.T) {
	s := models.NewStore(t.TempDir())
	keepIn(t, s, "a", folder(t, adapterPackage(t)), baseFolder(t, "Small", baseFiles(t)))
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(m.Folder())); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, keptAdapter))
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte("blk.0.attn_q"), []byte("blk.0.attn_x"), 1)
	manifest := m.Manifest
	i := slices.IndexFunc(manifest.Files, func(f models.File) bool { return f.Path == keptAdapter })
	manifest.Files = slices.Clone(manifest.Files)
	manifest.Files[i].SHA256 = models.DigestOf(data)
	text, err := manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{keptAdapter: data, models.ManifestName: text} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.Chmod(file, 0o644), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Import(t.Context(), s, Options{Path: dir, Name: "b", Start: anyEngine})
	if err == nil || !strings.Contains(err.Error(), "adapter.gguf: tensor \"blk.0.attn_x.weight.lora_a\" is for weights that the base lacks") {
		t.Errorf("error %v", err)
	}
}
