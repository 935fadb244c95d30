package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/safetensors"
)

// small is a model of Qwen3's family with random weights: large enough that
// computing with them takes a moment, small enough that many do not take long.
type small struct {
	hidden, layers int // hidden is a multiple of smallHead
	seed           uint64
}

const (
	smallHead = 64 // values of an attention head
	smallRank = 64 // of an adapter
)

// object is a JSON object.
type object = map[string]any

// base is the model as the Hugging Face hub hands it out: files by name.
func (s small) base(t *testing.T) map[string][]byte {
	t.Helper()
	root := testenv.Root(t)
	var made struct {
		Families map[string]struct{ Tokenizer object }
	}
	data, err := os.ReadFile(filepath.Join(root, "models", "tokenizer", "testdata", "families.json"))
	if err := errors.Join(err, json.Unmarshal(data, &made)); err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(filepath.Join(root, "models", "importer", "testdata", "templates", "qwen3.jinja"))
	if err != nil {
		t.Fatal(err)
	}
	tokenizer := made.Families["qwen2"].Tokenizer
	added := tokenizer["added_tokens"].([]any)
	vocab := len(tokenizer["model"].(object)["vocab"].(object)) + len(added)
	for i, name := range []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"} {
		added = append(added, object{"id": vocab, "content": name, "special": i < 3, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
		vocab++
	}
	tokenizer["added_tokens"] = added
	return map[string][]byte{
		"config.json": encode(t, object{"architectures": []string{"Qwen3ForCausalLM"}, "model_type": "qwen3", "hidden_size": s.hidden, "intermediate_size": 2 * s.hidden,
			"num_hidden_layers": s.layers, "num_attention_heads": s.hidden / smallHead, "num_key_value_heads": s.hidden / smallHead, "head_dim": smallHead,
			"vocab_size": vocab, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true}),
		"tokenizer.json":        encode(t, tokenizer),
		"tokenizer_config.json": encode(t, object{"eos_token": "<|im_end|>"}),
		"chat_template.jinja":   template,
		"model.safetensors":     s.weights(t, "BF16", s.shapes(vocab)),
	}
}

func (s small) shapes(vocab int) map[string][]int {
	h := s.hidden
	shapes := map[string][]int{"model.embed_tokens.weight": {vocab, h}, "model.norm.weight": {h}}
	for layer := range s.layers {
		for part, shape := range map[string][]int{
			"self_attn.q_proj": {h, h}, "self_attn.k_proj": {h, h}, "self_attn.v_proj": {h, h}, "self_attn.o_proj": {h, h}, "self_attn.q_norm": {smallHead},
			"self_attn.k_norm": {smallHead}, "mlp.gate_proj": {2 * h, h}, "mlp.up_proj": {2 * h, h}, "mlp.down_proj": {h, 2 * h}, "input_layernorm": {h},
			"post_attention_layernorm": {h},
		} {
			shapes[fmt.Sprintf("model.layers.%d.%s.weight", layer, part)] = shape
		}
	}
	return shapes
}

// adapter is an update of the model: files by name in the adapter's folder.
func (s small) adapter(t *testing.T) map[string][]byte {
	t.Helper()
	shapes := map[string][]int{}
	for layer := range s.layers {
		name := fmt.Sprintf("base_model.model.model.layers.%d.self_attn.q_proj.", layer)
		shapes[name+"lora_A.weight"], shapes[name+"lora_B.weight"] = []int{smallRank, s.hidden}, []int{s.hidden, smallRank}
	}
	return map[string][]byte{
		"adapter_config.json": encode(t, object{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": smallRank, "lora_alpha": smallRank,
			"target_modules": []string{"q_proj"}, "base_model_name_or_path": "org/Small", "bias": "none"}),
		"adapter_model.safetensors": s.weights(t, "F32", shapes),
	}
}

// weights are a safetensors file of random values, the same for the same seed.
func (s small) weights(t *testing.T, dtype string, shapes map[string][]int) []byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(s.seed, uint64(len(shapes))))
	var list []safetensors.Content
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		n := 1
		for _, d := range shapes[name] {
			n *= d
		}
		var data []byte
		for range n {
			v := math.Float32bits(rng.Float32()*0.1 - 0.05)
			if dtype == "BF16" {
				data = binary.LittleEndian.AppendUint16(data, uint16(v>>16))
			} else {
				data = binary.LittleEndian.AppendUint32(data, v)
			}
		}
		list = append(list, safetensors.Content{Name: name, DType: dtype, Shape: shapes[name], Write: func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		}})
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// inFolder moves files into a folder of a package.
func inFolder(dir string, files map[string][]byte) map[string][]byte {
	moved := map[string][]byte{}
	for name, data := range files {
		moved[dir+"/"+name] = data
	}
	return moved
}

// around are the files of a package beside the weights.
func around() map[string][]byte {
	return map[string][]byte{
		"model_client.py":      []byte("SYSTEM_PROMPT = 'Sort it.'\n"),
		"job_description.json": []byte(`{"task_description": "Sort.", "classes_description": {"a": "", "b": ""}}`),
	}
}

// writeFolder writes files below a folder.
func writeFolder(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// writeTar packs files, the largest first.
func writeTar(t *testing.T, name string, files map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	order := func(a, b string) int { return cmp.Or(len(files[b])-len(files[a]), strings.Compare(a, b)) }
	for _, file := range slices.SortedFunc(maps.Keys(files), order) {
		err := w.WriteHeader(&tar.Header{Name: file, Size: int64(len(files[file])), Mode: 0o644})
		_, werr := w.Write(files[file])
		if err := errors.Join(err, werr); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
