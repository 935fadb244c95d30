package importer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

// object is a JSON object.
type object = map[string]any

// readJSON reads a file of a neighbouring package's test data.
func readJSON(t *testing.T, name string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// family is a model of one layer with weights of zero, in the smallest sizes.
type family struct {
	class, architecture string
	template            string
	tokenizer           object            // tokenizer.json
	vocab               int               // token ids
	ggufTokens          []gguftest.Meta   // the tokenizer in a GGUF
	hf                  map[string][]int  // tensors beside llama's, by name without model.layers.0
	gguf                map[string]uint64 // likewise, by name without blk.0
	config              object
	meta                map[string]any
}

const size = 32 // of everything but the vocabulary

func qwen3Family(t *testing.T) family {
	var made struct {
		Families map[string]struct{ Tokenizer object }
	}
	readJSON(t, "../tokenizer/testdata/families.json", &made)
	tok := made.Families["qwen2"].Tokenizer
	model := tok["model"].(object)
	added := tok["added_tokens"].([]any)
	n := len(model["vocab"].(object)) + len(added)
	for i, name := range []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"} {
		added = append(added, object{"id": n + i, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": i < 3})
	}
	tok["added_tokens"] = added
	tokens, types := make([]string, n+5), slices.Repeat([]int32{1}, n+5)
	for text, id := range model["vocab"].(object) {
		tokens[int(id.(float64))] = text
	}
	for _, a := range added {
		id, _ := a.(object)["id"].(int)
		if f, ok := a.(object)["id"].(float64); ok {
			id = int(f)
		}
		tokens[id], types[id] = a.(object)["content"].(string), 3
	}
	var merges []string
	for _, m := range model["merges"].([]any) {
		merges = append(merges, m.([]any)[0].(string)+" "+m.([]any)[1].(string))
	}
	return family{
		class: "Qwen3ForCausalLM", architecture: "qwen3", template: "qwen3", tokenizer: tok, vocab: n + 5,
		ggufTokens: []gguftest.Meta{
			{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "qwen2"}, {Key: "tokenizer.ggml.tokens", Value: tokens},
			{Key: "tokenizer.ggml.token_type", Value: types}, {Key: "tokenizer.ggml.merges", Value: merges}, {Key: "tokenizer.ggml.eos_token_id", Value: uint32(n + 2)},
		},
		hf:     map[string][]int{"self_attn.q_norm": {size}, "self_attn.k_norm": {size}},
		gguf:   map[string]uint64{"attn_q_norm": size, "attn_k_norm": size},
		config: object{"eos_token": "<|im_end|>"},
	}
}

func gemma3Family(t *testing.T) family {
	var made struct {
		Bare       struct{ Tokenizer object }
		Vocabulary struct {
			Tokens []string
			Scores []float32
			Types  []int32
		}
	}
	readJSON(t, "../tokenizer/testdata/sentencepiece.json", &made)
	v := made.Vocabulary
	norms := map[string][]int{"self_attn.q_norm": {size}, "self_attn.k_norm": {size}, "pre_feedforward_layernorm": {size}, "post_feedforward_layernorm": {size}}
	tok := made.Bare.Tokenizer
	tok["added_tokens"] = append(tok["added_tokens"].([]any), object{"id": len(v.Tokens), "content": "<image_soft_token>",
		"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}) // as in gemma's: beyond the weights
	return family{
		class: "Gemma3ForCausalLM", architecture: "gemma3", template: "gemma3", tokenizer: tok, vocab: len(v.Tokens),
		ggufTokens: []gguftest.Meta{
			{Key: "tokenizer.ggml.model", Value: "llama"}, {Key: "tokenizer.ggml.pre", Value: "default"}, {Key: "tokenizer.ggml.tokens", Value: v.Tokens},
			{Key: "tokenizer.ggml.token_type", Value: v.Types}, {Key: "tokenizer.ggml.scores", Value: v.Scores}, {Key: "tokenizer.ggml.add_space_prefix", Value: false},
			{Key: "tokenizer.ggml.bos_token_id", Value: uint32(2)}, {Key: "tokenizer.ggml.eos_token_id", Value: uint32(1)},
		},
		hf:     norms,
		gguf:   map[string]uint64{"attn_q_norm": size, "attn_k_norm": size, "post_attention_norm": size, "post_ffw_norm": size},
		config: object{"bos_token": "<bos>", "eos_token": "<eos>"},
		meta:   map[string]any{"attention.sliding_window": uint32(16)},
	}
}

// folder is the package as merged safetensors.
func (f family) folder(t *testing.T) map[string]string {
	shapes := map[string][]int{"model.embed_tokens.weight": {f.vocab, size}, "model.norm.weight": {size}}
	for _, part := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		shapes["model.layers.0."+part+".weight"] = []int{size, size}
	}
	for _, part := range []string{"input_layernorm", "post_attention_layernorm"} {
		shapes["model.layers.0."+part+".weight"] = []int{size}
	}
	for part, shape := range f.hf {
		shapes["model.layers.0."+part+".weight"] = shape
	}
	header, end := object{}, 0
	for name, shape := range shapes {
		start := end
		end += 2 * shape[0] * shape[len(shape)-1]
		if len(shape) == 1 {
			end = start + 2*shape[0]
		}
		header[name] = object{"dtype": "BF16", "shape": shape, "data_offsets": []int{start, end}}
	}
	text := writeJSON(t, header)
	return map[string]string{
		"model/model.safetensors": string(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))) + text + strings.Repeat("\x00", end),
		"model/config.json": writeJSON(t, object{"architectures": []string{f.class}, "hidden_size": size, "intermediate_size": size, "num_hidden_layers": 1,
			"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": size, "vocab_size": f.vocab, "max_position_embeddings": 64, "tie_word_embeddings": true}),
		"model/tokenizer.json":        writeJSON(t, f.tokenizer),
		"model/tokenizer_config.json": writeJSON(t, f.config),
		"model/chat_template.jinja":   f.source(t),
		clientName:                    smallClient, jobName: smallJob,
	}
}

func (f family) source(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "templates", f.template+".jinja"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// file is the package as a GGUF.
func (f family) file(t *testing.T) map[string]string {
	meta := []gguftest.Meta{{Key: "general.architecture", Value: f.architecture}, {Key: "tokenizer.chat_template", Value: f.source(t)}}
	values := map[string]any{
		"block_count": uint32(1), "embedding_length": uint32(size), "feed_forward_length": uint32(size), "attention.head_count": uint32(1),
		"attention.key_length": uint32(size), "context_length": uint32(64), "attention.layer_norm_rms_epsilon": float32(1e-6),
	}
	maps.Copy(values, f.meta)
	for key, value := range values {
		meta = append(meta, gguftest.Meta{Key: f.architecture + "." + key, Value: value})
	}
	var list []gguftest.Tensor
	add := func(name string, shape ...uint64) {
		n := uint64(4)
		for _, length := range shape {
			n *= length
		}
		list = append(list, gguftest.Tensor{Name: name, Type: gguf.F32, Shape: shape, Data: make([]byte, n)})
	}
	add("token_embd.weight", size, uint64(f.vocab))
	add("output_norm.weight", size)
	for _, part := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"} {
		add("blk.0."+part+".weight", size, size)
	}
	for _, part := range []string{"attn_norm", "ffn_norm"} {
		add("blk.0."+part+".weight", size)
	}
	for part, n := range f.gguf {
		add("blk.0."+part+".weight", n)
	}
	return map[string]string{"model.gguf": string(gguftest.Encode(append(meta, f.ggufTokens...), list)), clientName: smallClient, jobName: smallJob}
}

// TestImportFamilies imports packages of both kinds whole: weights, tokenizer,
// chat template and end of the answer.
func TestImportFamilies(t *testing.T) {
	for _, c := range []struct {
		family         family
		prefix, suffix string
		end            string
	}{
		{qwen3Family(t), "<|im_start|>system\nSort it.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "<|im_end|>"},
		{gemma3Family(t), "<bos><start_of_turn>user\nSort it.\n\n", "<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>"},
	} {
		for kind, files := range map[string]map[string]string{"safetensors": c.family.folder(t), "GGUF": c.family.file(t)} {
			t.Run(c.family.architecture+", "+kind, func(t *testing.T) {
				s := models.NewStore(t.TempDir())
				res, err := Import(context.Background(), s, Options{Path: folder(t, files), Name: "a"})
				if err != nil {
					t.Fatal(err)
				}
				if want := (models.Prompt{Prefix: c.prefix, Suffix: c.suffix}); res.Manifest.Prompt != want {
					t.Errorf("prompt %q", res.Manifest.Prompt)
				}
				if got := res.Manifest.Answer; got != (models.Answer{Form: models.Bare, End: c.end}) {
					t.Errorf("answer %+v", got)
				}
				m, err := s.Open("a")
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				ck, err := m.Checkpoint()
				if err != nil || ck.Config().Architecture != c.family.architecture {
					t.Fatalf("checkpoint of %v, %v", ck, err)
				}
				tok, err := m.Tokenizer()
				if err != nil {
					t.Fatal(err)
				}
				if got := tok.Decode(tok.EncodeSpecial(c.prefix + "the card" + c.suffix)); got != c.prefix+"the card"+c.suffix {
					t.Errorf("the prompt comes back as %q", got)
				}
			})
		}
	}
}
