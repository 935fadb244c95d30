package importer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/safetensors"
)

// adapterFiles are a small adapter of a family's base, by name in its folder, with
// updates of every q_proj: factors of ones and lora_alpha 2, so that each weight of
// zero becomes 2.
func adapterFiles(t *testing.T, change object, more map[string][]int) map[string]string {
	t.Helper()
	config := object{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 2, "target_modules": []string{"q_proj"},
		"base_model_name_or_path": "org/Small", "bias": "none"}
	maps.Copy(config, change)
	shapes := map[string][]int{
		"model.layers.0.self_attn.q_proj.lora_A.weight": {1, size}, "model.layers.0.self_attn.q_proj.lora_B.weight": {size, 1},
	}
	maps.Copy(shapes, more)
	return map[string]string{"adapter_config.json": writeJSON(t, config), "adapter_model.safetensors": ones(t, shapes)}
}

// ones is a safetensors file of an adapter's tensors, all of whose values are 1.
func ones(t *testing.T, shapes map[string][]int) string {
	header, body := object{}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		start, n := len(body), 1
		for _, d := range shapes[name] {
			n *= d
		}
		for range n {
			body = binary.LittleEndian.AppendUint32(body, math.Float32bits(1))
		}
		header["base_model.model."+name] = object{"dtype": "F32", "shape": shapes[name], "data_offsets": []int{start, len(body)}}
	}
	text := writeJSON(t, header)
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))) + text + string(body)
}

// in moves files into a folder of a package.
func in(dir string, files map[string]string) map[string]string {
	moved := map[string]string{}
	for name, data := range files {
		moved[filepath.ToSlash(filepath.Join(dir, name))] = data
	}
	return moved
}

func with(files ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		maps.Copy(all, f)
	}
	return all
}

// baseFiles are a family's base, as the hub hands it out.
func baseFiles(t *testing.T) map[string]string {
	files := map[string]string{}
	for name, data := range qwen3Family(t).folder(t) {
		if rest, ok := strings.CutPrefix(name, "model/"); ok {
			files[rest] = data
		}
	}
	return files
}

// baseFolder is one in a folder of that name.
func baseFolder(t *testing.T, name string, files map[string]string) string {
	dir := filepath.Join(filepath.Dir(folder(t, files)), "package")
	renamed := filepath.Join(filepath.Dir(dir), name)
	if err := os.Rename(dir, renamed); err != nil {
		t.Fatal(err)
	}
	return renamed
}

var smallPackage = map[string]string{clientName: smallClient, jobName: smallJob}

// values reads a weight of an installed model.
func values(t *testing.T, m *models.Model, name string) []float32 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Folder(), m.Manifest.Weights))
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	x, ok := f.Tensor(name)
	if !ok {
		return nil
	}
	list := make([]float32, len(x.Data)/2)
	gguf.Dequantize(list, x.Data, gguf.BF16)
	return list
}

func all(list []float32, v float32) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(x float32) bool { return x != v })
}

func importAdapter(t *testing.T, o Options) (*models.Model, Result) {
	t.Helper()
	s := models.NewStore(t.TempDir())
	o.Name = "a"
	res, err := Import(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if err := s.Verify("a"); err != nil {
		t.Error(err)
	}
	if _, err := m.Checkpoint(); err != nil {
		t.Error(err)
	}
	return m, res
}

func TestImportAdapter(t *testing.T) {
	files := baseFiles(t)
	base, weights := baseFolder(t, "Small", files), files[weightsName]
	adapter := adapterFiles(t, nil, nil)
	adapter["STUDENT_LICENSE"] = "terms"
	for _, dir := range []string{"model-adapter", "model-adapters", "."} {
		for _, kind := range []string{"folder", "tar"} {
			t.Run(dir+"/"+kind, func(t *testing.T) {
				files := with(smallPackage, in(dir, adapter))
				path := folder(t, files)
				if kind == "tar" {
					path = tarOf(t, files)
				}
				m, res := importAdapter(t, Options{Path: path, Base: base})
				if got := values(t, m, "model.layers.0.self_attn.q_proj.weight"); !all(got, 2) {
					t.Errorf("merged %v", got[:1])
				}
				if got := values(t, m, "model.layers.0.self_attn.k_proj.weight"); !all(got, 0) {
					t.Errorf("not merged %v", got[:1])
				}
				want := "merged at import from the base Small (" + models.DigestOf([]byte(weights)).String() + ") and an adapter (" +
					models.DigestOf([]byte(adapter[adapterWeightsName])).String() + ")"
				if src := res.Manifest.Source; src.Kind != models.Merged || src.Note != want {
					t.Errorf("source %+v\nwant the note %s", src, want)
				}
				if len(res.Warnings) != 0 {
					t.Errorf("warnings %q", res.Warnings)
				}
				var names []string
				for _, f := range m.Manifest.Files {
					names = append(names, f.Path)
				}
				if got := strings.Join(names, " "); got != "STUDENT_LICENSE adapter_config.json chat_template.jinja config.json data/job_description.json model.safetensors model_client.py tokenizer.json tokenizer_config.json" {
					t.Errorf("files %s", got)
				}
				if m.Manifest.Prompt.Suffix != "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n" {
					t.Errorf("prompt %q", m.Manifest.Prompt)
				}
			})
		}
	}
}

// Merged weights and GGUF files go before an adapter beside them.
func TestWholeWeightsGoBeforeAnAdapter(t *testing.T) {
	files := with(qwen3Family(t).folder(t), in("model-adapter", adapterFiles(t, nil, nil)))
	m, res := importAdapter(t, Options{Path: folder(t, files)})
	if got := values(t, m, "model.layers.0.self_attn.q_proj.weight"); !all(got, 0) || res.Manifest.Source.Note != "" || len(res.Warnings) != 0 {
		t.Errorf("the adapter was merged again: %v, %+v", got[:1], res)
	}
	_, res = importAdapter(t, Options{Path: folder(t, files), Base: "somewhere"})
	if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "the base somewhere is not used") {
		t.Errorf("warnings %q", res.Warnings)
	}
}

func TestOtherBaseIsWarnedOf(t *testing.T) {
	base := baseFolder(t, "Fork", baseFiles(t))
	for _, c := range []struct {
		name, config string // base_model_name_or_path, config.yaml
		want         string // empty for no warning
	}{
		{"org/Small", "", "org/Small"},
		{"other/fork", "", ""},
		{"/opt/ml/fork/", "", ""},
		{"/opt/ml/base", "base:\n  student_model_name: Fork\n", ""},
		{"", "base:\n  student_model_name: Qwen3-0.6B\n", "Qwen/Qwen3-0.6B"},
		{"", `{"base": {"student_model_name": "gemma-3-270m-it"}}`, "google/gemma-3-270m-it"},
		{"org/Small", "base:\n  student_model_name: Qwen3-0.6B\n", "org/Small"},
		{"", "", ""},
	} {
		files := with(smallPackage, in("model-adapter", adapterFiles(t, object{"base_model_name_or_path": c.name}, nil)))
		if c.config != "" {
			files["config.yaml"] = c.config
		}
		_, res := importAdapter(t, Options{Path: folder(t, files), Base: base})
		warned, note := strings.Join(res.Warnings, " "), res.Manifest.Source.Note
		if c.want == "" {
			if warned != "" || strings.Contains(note, "names its base") {
				t.Errorf("%+v: warnings %q, note %q", c, warned, note)
			}
		} else if warned != "the adapter is of the base model "+c.want+", and the weights are from Fork" || !strings.HasSuffix(note, "which names its base "+c.want) {
			t.Errorf("%+v: warnings %q, note %q", c, warned, note)
		}
	}
}

func TestImportAdapterOfATiedHead(t *testing.T) {
	base := baseFolder(t, "Small", baseFiles(t))
	vocab := qwen3Family(t).vocab
	adapter := adapterFiles(t, object{"modules_to_save": []string{"lm_head"}}, map[string][]int{"lm_head.weight": {vocab, size}})
	m, _ := importAdapter(t, Options{Path: folder(t, with(smallPackage, in("model-adapter", adapter))), Base: base})
	c, err := m.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	head, ok := c.Tensor("output.weight")
	if !ok {
		t.Fatal("the model computes without the head that was trained")
	}
	row := make([]float32, size)
	if head.Row(row, 0); !all(row, 1) || !all(values(t, m, "model.embed_tokens.weight"), 0) {
		t.Errorf("head %v", row)
	}
}

func TestImportAdapterIntoShards(t *testing.T) {
	files := baseFiles(t)
	whole := []byte(files["model.safetensors"])
	f, err := safetensors.Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, "model.safetensors")
	parts := [2][]safetensors.Content{}
	index := map[string]string{}
	for i, x := range f.Tensors() {
		parts[i%2] = append(parts[i%2], safetensors.Content{Name: x.Name, DType: x.DType, Shape: x.Shape, Write: func(w io.Writer) error {
			_, err := w.Write(x.Data)
			return err
		}})
		index[x.Name] = []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i%2]
	}
	for i, part := range parts {
		var b bytes.Buffer
		if err := safetensors.Write(&b, part); err != nil {
			t.Fatal(err)
		}
		files[[]string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i]] = b.String()
	}
	pack := folder(t, with(smallPackage, in("model-adapter", adapterFiles(t, nil, nil))))
	for _, indexed := range []bool{false, true} {
		if indexed {
			files["model.safetensors.index.json"] = writeJSON(t, object{"weight_map": index})
			files["consolidated.safetensors"] = "not one of the index"
		}
		m, res := importAdapter(t, Options{Path: pack, Base: baseFolder(t, "Small", files)})
		if got := values(t, m, "model.layers.0.self_attn.q_proj.weight"); !all(got, 2) || len(m.Manifest.Files) != 8 {
			t.Errorf("merged %v, files %v", got[:1], m.Manifest.Files)
		}
		lines := ""
		for _, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} {
			lines += models.DigestOf([]byte(files[name])).Hex() + "  " + name + "\n"
		}
		if !strings.Contains(res.Manifest.Source.Note, models.DigestOf([]byte(lines)).String()) {
			t.Errorf("note %s", res.Manifest.Source.Note)
		}
	}
}

// What lies beside an adapter is the newer: its tokenizer as a whole, its template,
// and the configuration, which alone names a classifier's classes.
func TestFilesBesideTheAdapterGoFirst(t *testing.T) {
	published := baseFiles(t)
	base := baseFolder(t, "Small", published)
	own := published[templateName] + "{# own #}"
	for name, c := range map[string]struct{ files, want map[string]string }{
		"template": {map[string]string{templateName: own}, map[string]string{templateName: own, tokenizerConfigName: published[tokenizerConfigName]}},
		"tokenizer": {
			map[string]string{tokenizerName: " " + published[tokenizerName], tokenizerConfigName: writeJSON(t, object{"eos_token": "<|im_end|>", "chat_template": own})},
			map[string]string{tokenizerName: " " + published[tokenizerName], templateName: ""},
		},
		"half a tokenizer": {map[string]string{tokenizerName: "{}"}, map[string]string{tokenizerName: published[tokenizerName]}},
	} {
		t.Run(name, func(t *testing.T) {
			files := with(smallPackage, in("model-adapter", with(adapterFiles(t, nil, nil), c.files)))
			m, _ := importAdapter(t, Options{Path: tarOf(t, files), Base: base})
			for name, want := range c.want {
				if want == "" {
					if slices.ContainsFunc(m.Manifest.Files, func(f models.File) bool { return f.Path == name }) {
						t.Errorf("%s is there", name)
					}
				} else if !hasFile(m.Manifest.Files, name, []byte(want)) {
					t.Errorf("%s is another", name)
				}
			}
		})
	}
}

func TestImportAdapterOfAClassifier(t *testing.T) {
	base := baseFolder(t, "Small", baseFiles(t))
	adapter := adapterFiles(t, object{"task_type": "SEQ_CLS", "modules_to_save": []string{"score"}}, map[string][]int{"score.weight": {2, size}})
	s := models.NewStore(t.TempDir())
	_, err := Import(t.Context(), s, Options{Path: folder(t, in("model-adapter", adapter)), Name: "a", Base: base})
	if err == nil || !strings.Contains(err.Error(), "put a config.json with …ForSequenceClassification and id2label beside adapter_config.json") {
		t.Fatalf("without names of the classes: %v", err)
	}
	checkEmpty(t, s)
	var config object
	if err := json.Unmarshal([]byte(baseFiles(t)[configName]), &config); err != nil {
		t.Fatal(err)
	}
	config["architectures"], config["id2label"] = []string{"Qwen3ForSequenceClassification"}, map[string]string{"0": "yes", "1": "no"}
	adapter[configName] = writeJSON(t, config)
	m, res := importAdapter(t, Options{Path: tarOf(t, in("model-adapter", adapter)), Base: base})
	if got := values(t, m, "score.weight"); !all(got, 1) || len(got) != 2*size {
		t.Errorf("head %v", got)
	}
	if !sameLabels(m.Manifest.Labels, []string{"yes", "no"}) || m.Manifest.Scoring != models.Head || res.Manifest.Source.Kind != models.SequenceClassifier ||
		!strings.HasPrefix(res.Manifest.Source.Note, "merged at import") {
		t.Errorf("manifest %+v", res.Manifest)
	}
}

func TestImportAdapterRefuses(t *testing.T) {
	good := baseFiles(t)
	without := func(name string) map[string]string {
		files := maps.Clone(good)
		delete(files, name)
		return files
	}
	set := func(name, data string) map[string]string { return with(good, map[string]string{name: data}) }
	plain := in("model-adapter", adapterFiles(t, nil, nil))
	change := func(key string, value any) map[string]string {
		return in("model-adapter", adapterFiles(t, object{key: value}, nil))
	}
	overlap := adapterFiles(t, nil, nil)
	overlap[adapterWeightsName] = strings.Replace(overlap[adapterWeightsName], `"data_offsets":[128,256]`, `"data_offsets":[064,256]`, 1)
	for _, c := range []struct {
		name       string
		pack, base map[string]string
		want       string
	}{
		{"weights without configuration", map[string]string{"adapter_model.safetensors": "x"}, good, "a LoRA adapter without its adapter_config.json"},
		{"configuration without weights", map[string]string{"model-adapter/adapter_config.json": "{}"}, good, "model-adapter/adapter_config.json lies without an adapter_model.safetensors beside it"},
		{"pickled", map[string]string{"adapter_config.json": "{}", "adapter_model.bin": "x"}, good, "safe_serialization=True"},
		{"several adapters", with(in("a", adapterFiles(t, nil, nil)), in("b", adapterFiles(t, nil, nil))), good, "several adapters: a/adapter_config.json, b/adapter_config.json"},
		{"another kind of adapter", change("use_dora", true), good, "model-adapter: adapter_config.json: use_dora is set: DoRA"},
		{"another task", change("task_type", "TOKEN_CLS"), good, `the task "TOKEN_CLS", not for classification`},
		{"cut weights", with(plain, map[string]string{"model-adapter/adapter_model.safetensors": "cut"}), good, "model-adapter: safetensors: the file is truncated"},
		{"overlapping tensors", in("model-adapter", overlap), good, "model-adapter: safetensors: "},
		{"base without configuration", plain, without(configName), "config.json"},
		{"base without tokenizer", plain, without(tokenizerName), "it has no tokenizer.json; the adapter's base model is org/Small"},
		{"base without weights", plain, without(weightsName), "it has no .safetensors files"},
		{"broken configuration", plain, set(configName, "{"), "config.json: unexpected end"},
		{"broken index", plain, set("model.safetensors.index.json", "{"), "model.safetensors.index.json: unexpected end"},
		{"empty index", plain, set("model.safetensors.index.json", "{}"), "names 0 files"},
		{"index that leads out", plain, set("model.safetensors.index.json", `{"weight_map": {"a": "../x.safetensors"}}`), `names "../x.safetensors", which is no file beside it`},
		{"index of missing shards", plain, set("model.safetensors.index.json", `{"weight_map": {"a": "x.safetensors"}}`), "x.safetensors"},
		{"another model", in("model-adapter", adapterFiles(t, object{"target_modules": nil}, map[string][]int{
			"model.layers.7.self_attn.q_proj.lora_A.weight": {1, size}, "model.layers.7.self_attn.q_proj.lora_B.weight": {size, 1}})), good,
			"have no place in the base, which is another model than the adapter's: base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"},
		{"another model's shape", in("model-adapter", adapterFiles(t, nil, map[string][]int{"model.layers.0.self_attn.q_proj.lora_A.weight": {1, size + 1}})), good,
			"it is another model; the adapter's base model is org/Small"},
		{"too large once merged", change("lora_alpha", 1e39), good, "too large for BF16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := baseFolder(t, "Small", c.base)
			pack := folder(t, with(smallPackage, c.pack))
			s := models.NewStore(t.TempDir())
			_, err := Import(t.Context(), s, Options{Path: pack, Name: "a", Base: base})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), pack) {
				t.Errorf("error %v, want one that holds %q and the package", err, c.want)
			}
			checkEmpty(t, s)
		})
	}
	t.Run("a GGUF file for a base", func(t *testing.T) {
		file := filepath.Join(folder(t, map[string]string{"base.gguf": "GGUF"}), "base.gguf")
		_, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: folder(t, with(smallPackage, plain)), Name: "a", Base: file})
		if err == nil || !strings.Contains(err.Error(), "it is not a folder: a base is a folder of the Hugging Face hub") {
			t.Errorf("error %v", err)
		}
	})
}

// expiring ends after it was asked a few times.
type expiring struct {
	context.Context
	left int
}

func (e *expiring) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// An import that is stopped while it merges ends, and leaves nothing.
func TestMergingStopsWithContext(t *testing.T) {
	base := baseFolder(t, "Small", baseFiles(t))
	pack := folder(t, with(smallPackage, in("model-adapter", adapterFiles(t, nil, nil))))
	m, err := models.NewStore(t.TempDir()).Stage()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Discard()
	p, err := openPack(t.Context(), m, pack)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.detect()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.findBase(t.Context(), &f, Options{Base: base}); err != nil {
		t.Fatal(err)
	}
	if err := p.keepWeights(&expiring{Context: t.Context(), left: 9}, f); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), weightsName) {
		t.Errorf("error %v", err)
	}
	if err := f.merging.close(); err != nil {
		t.Error(err)
	}
}

func TestBaseIsLookedFor(t *testing.T) {
	hub := t.TempDir()
	snapshot := filepath.Join(hub, "models--org--Small", "snapshots", "0123abcd")
	if err := errors.Join(os.MkdirAll(snapshot, 0o755), os.MkdirAll(filepath.Join(hub, "models--org--Small", "refs"), 0o755),
		os.WriteFile(filepath.Join(hub, "models--org--Small", "refs", "main"), []byte("0123abcd\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, data := range baseFiles(t) {
		if err := os.WriteFile(filepath.Join(snapshot, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pack := folder(t, with(smallPackage, in("model-adapter", adapterFiles(t, nil, nil))))
	_, res := importAdapter(t, Options{Path: pack, Bases: HubCache{Dir: hub}})
	if !strings.HasPrefix(res.Manifest.Source.Note, "merged at import from the base org/Small (sha256:") || len(res.Warnings) != 0 {
		t.Errorf("note %q, warnings %q", res.Manifest.Source.Note, res.Warnings)
	}
	other := folder(t, with(smallPackage, in("model-adapter", adapterFiles(t, object{"base_model_name_or_path": "org/Other"}, nil))))
	nameless := folder(t, with(smallPackage, in("model-adapter", adapterFiles(t, object{"base_model_name_or_path": nil}, nil))))
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{Path: other, Bases: HubCache{Dir: hub}}, []string{"the weights of its base model org/Other are not inside", "hf download org/Other", "-base FOLDER"}},
		{Options{Path: pack}, []string{"org/Small are not inside", "hf download org/Small", "-base FOLDER"}},
		{Options{Path: nameless, Bases: HubCache{Dir: hub}}, []string{"does not say of which base model", "-base"}},
	} {
		c.o.Name = "a"
		_, err := Import(t.Context(), models.NewStore(t.TempDir()), c.o)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v lacks %q", err, want)
			}
		}
	}
}

func TestHubCache(t *testing.T) {
	hub := t.TempDir()
	for _, name := range []string{"../x/y", "/etc", "a", "a/b/c", "a/..", "../a", "", "a/b c"} {
		if _, err := (HubCache{Dir: hub}).Base(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	refs := filepath.Join(hub, "models--a--b", "refs")
	if err := errors.Join(os.MkdirAll(refs, 0o755), os.WriteFile(filepath.Join(refs, "main"), []byte("../../.."), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := (HubCache{Dir: hub}).Base(t.Context(), "a/b"); err == nil || !strings.Contains(err.Error(), "does not name a commit") {
		t.Errorf("a commit that leads out: %v", err)
	}
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HOME", "")
	t.Setenv("XDG_CACHE_HOME", "/x")
	t.Setenv("SCRATCH", "/s")
	if dir, err := hubDir(); err != nil || dir != filepath.Join("/x", "huggingface", "hub") {
		t.Errorf("with XDG_CACHE_HOME: %s, %v", dir, err)
	}
	t.Setenv("HF_HOME", "$SCRATCH/h")
	if dir, err := hubDir(); err != nil || dir != filepath.Join("/s", "h", "hub") {
		t.Errorf("with a variable in HF_HOME: %s, %v", dir, err)
	}
	t.Setenv("HF_HOME", "/h")
	if dir, err := hubDir(); err != nil || dir != filepath.Join("/h", "hub") {
		t.Errorf("with HF_HOME: %s, %v", dir, err)
	}
	t.Setenv("HF_HUB_CACHE", "$SCRATCH/c")
	if dir, err := hubDir(); err != nil || dir != "/s/c" {
		t.Errorf("with HF_HUB_CACHE: %s, %v", dir, err)
	}
}

func TestModelNames(t *testing.T) {
	for _, c := range [][2]string{{"/x/models--Qwen--Qwen3-0.6B/snapshots/0ab", "Qwen/Qwen3-0.6B"}, {"/x/Qwen3-0.6B/", "Qwen3-0.6B"}} {
		if got := modelName(c[0]); got != c[1] {
			t.Errorf("%s is called %s", c[0], got)
		}
	}
	for student, want := range map[string]string{"Llama-3.2-1B-Instruct": "meta-llama/", "Qwen3.5-0.8B": "Qwen/", "LFM2-350M": "LiquidAI/", "gemma-3-270m-it": "google/",
		"functiongemma-270m-it": "google/", "SmolLM2-135M-Instruct": "HuggingFaceTB/", "mystery": ""} {
		if got := published(student); got != want+student {
			t.Errorf("%s is published as %s", student, got)
		}
	}
	if !sameModel(`C:\models\Qwen3`, "Qwen/qwen3") || sameModel("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B-Base") {
		t.Error("names are compared wrongly")
	}
}
