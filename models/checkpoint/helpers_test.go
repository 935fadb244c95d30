package checkpoint_test

import (
	"archive/tar"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/safetensors"
)

// The small model of these tests: two layers, four heads over two key-value heads of 4.
const layers, width, forward, heads, kvHeads, headDim, vocab = 2, 16, 24, 4, 2, 4, 10

// metadata is the small model's, as an ordered list that a test may change.
func metadata() []gguftest.Meta {
	return []gguftest.Meta{
		{Key: "general.architecture", Value: "llama"},
		{Key: "llama.block_count", Value: uint32(layers)},
		{Key: "llama.embedding_length", Value: uint32(width)},
		{Key: "llama.feed_forward_length", Value: uint32(forward)},
		{Key: "llama.attention.head_count", Value: uint32(heads)},
		{Key: "llama.attention.head_count_kv", Value: uint32(kvHeads)},
		{Key: "llama.context_length", Value: uint64(64)},
		{Key: "llama.rope.freq_base", Value: float32(5000)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(0.5)},
	}
}

// set replaces, adds, or, where value is nil, removes a key.
func set(meta []gguftest.Meta, key string, value any) []gguftest.Meta {
	var list []gguftest.Meta
	for _, m := range meta {
		if m.Key != key {
			list = append(list, m)
		}
	}
	if value != nil {
		list = append(list, gguftest.Meta{Key: key, Value: value})
	}
	return list
}

func matrix(name string, rows, cols int) gguftest.Tensor {
	t := gguftest.Tensor{Name: name, Type: gguf.F32, Shape: []uint64{uint64(cols), uint64(rows)}, Data: make([]byte, 4*rows*cols)}
	if rows == 1 {
		t.Shape = t.Shape[:1]
	}
	return t
}

// tensors are the small model's, with a tied embedding.
func tensors() []gguftest.Tensor {
	list := []gguftest.Tensor{matrix("token_embd.weight", vocab, width), matrix("output_norm.weight", 1, width)}
	for _, blk := range []string{"blk.0.", "blk.1."} {
		list = append(list,
			matrix(blk+"attn_norm.weight", 1, width), matrix(blk+"ffn_norm.weight", 1, width),
			matrix(blk+"attn_q.weight", heads*headDim, width), matrix(blk+"attn_k.weight", kvHeads*headDim, width),
			matrix(blk+"attn_v.weight", kvHeads*headDim, width), matrix(blk+"attn_output.weight", width, heads*headDim),
			matrix(blk+"ffn_gate.weight", forward, width), matrix(blk+"ffn_up.weight", forward, width),
			matrix(blk+"ffn_down.weight", width, forward))
	}
	return list
}

// put replaces or adds a tensor.
func put(list []gguftest.Tensor, t gguftest.Tensor) []gguftest.Tensor {
	return append(drop(list, t.Name), t)
}

func drop(list []gguftest.Tensor, name string) []gguftest.Tensor {
	var kept []gguftest.Tensor
	for _, t := range list {
		if t.Name != name {
			kept = append(kept, t)
		}
	}
	return kept
}

func fromGGUF(t *testing.T, meta []gguftest.Meta, list []gguftest.Tensor) (checkpoint.Checkpoint, error) {
	t.Helper()
	f, err := gguf.Parse(gguftest.Encode(meta, list))
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.FromGGUF(f)
}

// shapes are the tensors of a safetensors file, by name.
type shapes map[string][]int

// config is the small model's config.json.
func config() map[string]any {
	return map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": true,
		"hidden_size": width, "intermediate_size": forward, "num_hidden_layers": layers, "num_attention_heads": heads,
		"num_key_value_heads": kvHeads, "vocab_size": vocab, "max_position_embeddings": 64, "rope_theta": 5000.0, "rms_norm_eps": 0.5,
	}
}

func weights() shapes {
	s := shapes{"model.embed_tokens.weight": {vocab, width}, "model.norm.weight": {width}}
	for _, l := range []string{"model.layers.0.", "model.layers.1."} {
		s[l+"input_layernorm.weight"] = []int{width}
		s[l+"post_attention_layernorm.weight"] = []int{width}
		s[l+"self_attn.q_proj.weight"] = []int{heads * headDim, width}
		s[l+"self_attn.k_proj.weight"] = []int{kvHeads * headDim, width}
		s[l+"self_attn.v_proj.weight"] = []int{kvHeads * headDim, width}
		s[l+"self_attn.o_proj.weight"] = []int{width, heads * headDim}
		s[l+"mlp.gate_proj.weight"] = []int{forward, width}
		s[l+"mlp.up_proj.weight"] = []int{forward, width}
		s[l+"mlp.down_proj.weight"] = []int{width, forward}
	}
	return s
}

// file writes the tensors as BF16.
func (s shapes) file(t testing.TB) *safetensors.File {
	t.Helper()
	header, end := map[string]any{}, 0
	for name, shape := range s {
		size := 2
		for _, n := range shape {
			size *= n
		}
		header[name] = map[string]any{"dtype": "BF16", "shape": shape, "data_offsets": []int{end, end + size}}
		end += size
	}
	text := encode(t, header)
	data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	f, err := safetensors.Parse(append(data, make([]byte, end)...))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// packed reads files of a built model package, by their base names.
func packed(t *testing.T, archive string, names ...string) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join(testenv.Packages(t), archive))
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	found := make(map[string][]byte)
	for r := tar.NewReader(f); len(found) < len(names); {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v before all of %q", archive, err, names)
		}
		for _, name := range names {
			if strings.HasSuffix(h.Name, "model/"+name) {
				found[name] = make([]byte, h.Size)
				if _, err := io.ReadFull(r, found[name]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return found
}
