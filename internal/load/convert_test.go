package load_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/internal/libraries/install"
	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/convert"
	"cubby/models/gguf"
	"cubby/models/importer"
	"cubby/models/safetensors"
	"cubby/runtime"
	"cubby/runtime/engine/enginetest"
)

func toGGUF(ctx context.Context, dir string, w io.Writer) (string, error) {
	s, err := convert.GGUF(ctx, dir, w)
	return s.By, err
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// ones is a LoRA of rank 1 that adds 2 to every weight of some modules.
func ones(t *testing.T, base string, modules ...string) (config, weights []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(base, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var list []safetensors.Content
	add := func(name string, shape ...int) {
		list = append(list, safetensors.Content{Name: "base_model.model." + name, DType: "F32", Shape: shape, Write: func(w io.Writer) error {
			return binary.Write(w, binary.LittleEndian, slices.Repeat([]float32{1}, shape[0]*shape[1]))
		}})
	}
	for _, x := range f.Tensors() {
		module, _ := strings.CutSuffix(x.Name, ".weight")
		if slices.Contains(modules, module[strings.LastIndex(module, ".")+1:]) {
			add(module+".lora_A.weight", 1, x.Shape[1])
			add(module+".lora_B.weight", x.Shape[0], 1)
		}
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return []byte(`{"peft_type":"LORA","task_type":"CAUSAL_LM","r":1,"lora_alpha":2,"bias":"none","target_modules":["` + strings.Join(modules, `","`) + `"],
"base_model_name_or_path":"org/Small"}`), b.Bytes()
}

// A package with safetensors of a family that only llama.cpp runs, or with an
// adapter of one, is converted when it is imported, and served.
func TestForeignSafetensors(t *testing.T) {
	home := t.TempDir()
	if _, err := install.Install(t.Context(), install.Options{Home: home, Paths: []string{testenv.Libllama(t)}}); err != nil {
		t.Fatal(err)
	}
	modules := map[string][]string{"lfm2": {"in_proj", "w1"}, "qwen35": {"in_proj_qkv", "down_proj"}}
	changed := map[string][]string{"lfm2": {"shortconv.in_proj", "ffn_gate"}, "qwen35": {"attn_qkv", "ffn_down"}}
	for _, g := range enginetest.Foreign(t) {
		if modules[g.Name] == nil {
			continue
		}
		base := g.Folder(t)
		put(t, base, "tokenizer_config.json", []byte(`{"bos_token":"<s>","eos_token":"</s>"}`))
		put(t, base, "chat_template.jinja", []byte(`{{ bos_token }}{% for m in messages %}{{ m.content }} {% endfor %}`))
		merged, adapter := t.TempDir(), t.TempDir()
		if err := os.CopyFS(filepath.Join(merged, "model"), os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		config, weights := ones(t, base, modules[g.Name]...)
		put(t, adapter, "model-adapter/adapter_config.json", config)
		put(t, adapter, "model-adapter/adapter_model.safetensors", weights)
		for _, dir := range []string{merged, adapter} {
			put(t, dir, "model_client.py", []byte("SYSTEM_PROMPT = \"sort it\"\n"))
			put(t, dir, "job_description.json", []byte(`{"task_description":"sort","classes_description":{"card":"a","cash":"b","car":"c"}}`))
		}
		plain := written(t, base)
		for kind, o := range map[string]importer.Options{"merged": {Path: merged}, "adapter": {Path: adapter, Base: base}} {
			t.Run(g.Name+" "+kind, func(t *testing.T) {
				o.Name, o.Convert, o.Start = g.Name+"-"+kind, toGGUF, load.Starter(home)
				res, err := importer.Import(t.Context(), models.NewStore(home), o)
				if err != nil {
					t.Fatal(err)
				}
				m := res.Manifest
				if m.Source.Kind != models.Merged || !strings.Contains(m.Source.Note, "converted at import from safetensors to GGUF by github.com/ollama/ollama/convert") ||
					strings.Contains(m.Source.Note, "merged at import") != (kind == "adapter") || m.Answer.End != "</s>" || m.Canary == nil {
					t.Errorf("manifest %+v", m)
				}
				b, err := load.Model(o.Name, load.Options{Home: home})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if err := b.CheckCanary(t.Context()); err != nil {
					t.Error(err)
				}
				r, err := b.Score(t.Context(), runtime.Request{Texts: []string{"where is my cash"}})
				if err != nil || r[0].Err != nil || r[0].Distribution.Check() != nil {
					t.Error(err, r)
				}
				data, err := os.ReadFile(filepath.Join(home, "models", strings.TrimPrefix(res.Digest.String(), "sha256:"), m.Weights))
				if err != nil {
					t.Fatal(err)
				}
				step := map[string]float32{"merged": 0, "adapter": 2}[kind]
				compareWeights(t, plain, data, step, changed[g.Name])
			})
		}
	}
}

// written is a folder's model as GGUF.
func written(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := convert.GGUF(t.Context(), dir, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compareWeights wants b to be a, and larger by step in some parts of its layers.
func compareWeights(t *testing.T, a, b []byte, step float32, parts []string) {
	t.Helper()
	x, err := gguf.Parse(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range x.Tensors() {
		got, _ := y.Tensor(want.Name)
		if got.Type != gguf.F32 || want.Type != gguf.F32 || !slices.Equal(got.Shape, want.Shape) {
			t.Fatalf("%s: %s %v, want %s %v", want.Name, got.Type, got.Shape, want.Type, want.Shape)
		}
		by := float32(0)
		if slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(want.Name, "."+part+".") }) {
			by = step
		}
		for i := 0; i < len(want.Data); i += 4 {
			v, w := math.Float32frombits(binary.LittleEndian.Uint32(got.Data[i:])), math.Float32frombits(binary.LittleEndian.Uint32(want.Data[i:]))
			if v != w+by {
				t.Fatalf("%s: value %d is %g, want %g", want.Name, i/4, v, w+by)
			}
		}
	}
}

// A trained student in float16 answers from a GGUF file as transformers does, and on
// the native engine as from its safetensors.
func TestConvertedStudent(t *testing.T) {
	if testing.Short() {
		t.Skip("scores 288 texts: not in short mode")
	}
	packages, shared := testenv.Packages(t), testenv.Shared(t)
	const task = "banking-routing"
	store := models.NewStore(t.TempDir())
	open := func(name, pack string, o load.Options) *runtime.Model {
		t.Helper()
		job := filepath.Join(packages, task, "job_description.json")
		if _, err := importer.Import(t.Context(), store, importer.Options{Path: pack, Name: name, Job: job}); err != nil {
			t.Fatal(err)
		}
		o.Home = store.Root()
		m, err := load.Model(name, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	original := open("original", filepath.Join(packages, task, "merged.tar"), load.Options{})
	kept, err := store.Open("original")
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	client, err := os.ReadFile(filepath.Join(kept.Folder(), "model_client.py"))
	if err != nil {
		t.Fatal(err)
	}
	pack := t.TempDir()
	put(t, pack, "model_client.py", client)
	put(t, pack, "model/model.gguf", written(t, kept.Folder()))
	converted := open("converted", pack, load.Options{})

	g := readGolden(t, filepath.Join(shared, "models", task, "chat", "golden.json"))
	texts, answers := testSet(t, filepath.Join(shared, "data", "tasks", task, "test.csv"))
	sameAnswers(t, distributions(t, converted, texts, models.Likelihood), distributions(t, original, texts, models.Likelihood))
	if o := compare(t, converted, g, texts, answers, models.Likelihood); o.agree != o.rows || o.mean > 0.003 {
		t.Errorf("too far from the goldens: %+v", o)
	}
	if os.Getenv("CUBBY_TEST_LIBLLAMA") == "" {
		return
	}
	onLlama := open("libllama", pack, load.Options{Engine: load.LibLlama, Llama: load.Llama{Libraries: testenv.Libllama(t)}})
	if o := compare(t, onLlama, g, texts, answers, models.Likelihood); o.agree != o.rows || o.mean > 0.003 {
		t.Errorf("on libllama too far from the goldens: %+v", o)
	}
}
