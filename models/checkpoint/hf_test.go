package checkpoint_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/safetensors"
)

func TestFromHFReadsTheConfiguration(t *testing.T) {
	c, err := checkpoint.FromHF(encode(t, config()), weights().file(t))
	if err != nil {
		t.Fatal(err)
	}
	want := checkpoint.Config{Architecture: "llama", Layers: 2, Width: 16, FeedForward: 24, Heads: 4, KVHeads: 2, HeadDim: 4,
		Vocab: 10, Context: 64, RopeBase: 5000, NormEpsilon: 0.5, QueryScale: 0.5, EmbeddingScale: 1}
	if got := c.Config(); !reflect.DeepEqual(got, want) {
		t.Errorf("config %+v, want %+v", got, want)
	}
	for _, x := range tensors() {
		got, ok := c.Tensor(x.Name)
		if !ok || got.Type != gguf.BF16 || got.Cols != int(x.Shape[0]) || got.Rows*got.Cols*4 != len(x.Data) {
			t.Errorf("%s is %d of %d in %s, %v", x.Name, got.Rows, got.Cols, got.Type, ok)
		}
	}
}

func TestFromHFReadsShards(t *testing.T) {
	a, b := weights(), shapes{}
	for name, shape := range a {
		if strings.Contains(name, "layers.1.") {
			b[name] = shape
			delete(a, name)
		}
	}
	if _, err := checkpoint.FromHF(encode(t, config()), a.file(t), b.file(t)); err != nil {
		t.Error(err)
	}
	if _, err := checkpoint.FromHF(encode(t, config()), a.file(t)); err == nil || !strings.Contains(err.Error(), `"model.layers.1.input_layernorm.weight" is missing`) {
		t.Errorf("half of the shards: %v", err)
	}
	if _, err := checkpoint.FromHF(encode(t, config()), a.file(t), b.file(t), b.file(t)); err == nil || !strings.Contains(err.Error(), "stands in two shards") {
		t.Errorf("a shard twice: %v", err)
	}
}

// changed returns the small model with other values in its config.json, those
// of nil removed, and other shapes.
func changed(t *testing.T, values map[string]any, other shapes) ([]byte, *safetensors.File) {
	t.Helper()
	c, s := config(), weights()
	maps.Copy(c, values)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	maps.Copy(s, other)
	maps.DeleteFunc(s, func(_ string, shape []int) bool { return shape == nil })
	return encode(t, c), s.file(t)
}

func TestFromHFAccepts(t *testing.T) {
	classifier := []string{"LlamaForSequenceClassification"}
	for _, c := range []struct {
		name   string
		values map[string]any
		other  shapes
		want   func(checkpoint.Checkpoint) bool
	}{
		{"defaults", map[string]any{"architectures": nil, "hidden_act": nil, "max_position_embeddings": nil, "rope_theta": nil, "rms_norm_eps": nil, "head_dim": nil}, nil,
			func(c checkpoint.Checkpoint) bool {
				g := c.Config()
				return g.Context == 2048 && g.RopeBase == 10000 && g.NormEpsilon == 1e-6 && g.HeadDim == 4
			}},
		{"null means absent", map[string]any{"rope_scaling": map[string]any(nil), "head_dim": (*int)(nil)}, nil,
			func(c checkpoint.Checkpoint) bool { return c.Config().HeadDim == 4 }},
		{"untied", map[string]any{"tie_word_embeddings": false}, shapes{"lm_head.weight": {vocab, width}},
			func(c checkpoint.Checkpoint) bool { _, ok := c.Tensor("output.weight"); return ok }},
		{"tied with a copy", nil, shapes{"lm_head.weight": {vocab, width}},
			func(c checkpoint.Checkpoint) bool { _, ok := c.Tensor("output.weight"); return !ok }},
		{"old buffers", nil, shapes{"model.layers.0.self_attn.rotary_emb.inv_freq": {2}},
			func(c checkpoint.Checkpoint) bool { return true }},
		{"scaling", map[string]any{"rope_scaling": map[string]any{"type": "linear", "factor": 2.0}}, nil,
			func(c checkpoint.Checkpoint) bool { return c.Config().RopeScaling == "linear" }},
		{"rotary parameters together", map[string]any{"rope_theta": nil, "rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 777.0}}, nil,
			func(c checkpoint.Checkpoint) bool {
				return c.Config().RopeScaling == "" && c.Config().RopeBase == 777
			}},
		{"classes in the order of their indices", map[string]any{"architectures": classifier, "id2label": map[string]string{"10": "k", "2": "c", "0": "a", "1": "b", "3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i", "9": "j"}},
			shapes{"score.weight": {11, width}},
			func(c checkpoint.Checkpoint) bool {
				x, ok := c.Tensor("cls.output.weight")
				return ok && x.Rows == 11 && strings.Join(c.Config().Classes, "") == "abcdefghijk"
			}},
		{"classes without names", map[string]any{"architectures": classifier}, shapes{"score.weight": {2, width}},
			func(c checkpoint.Checkpoint) bool {
				return slices.Equal(c.Config().Classes, []string{"LABEL_0", "LABEL_1"})
			}},
		{"names of no use", map[string]any{"id2label": map[string]string{"0": "LABEL_0"}}, nil,
			func(c checkpoint.Checkpoint) bool { return len(c.Config().Classes) == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, file := changed(t, c.values, c.other)
			got, err := checkpoint.FromHF(config, file)
			if err != nil {
				t.Fatal(err)
			}
			if !c.want(got) {
				t.Errorf("config %+v", got.Config())
			}
		})
	}
}

func TestFromHFRefuses(t *testing.T) {
	classifier := []string{"LlamaForSequenceClassification"}
	type values = map[string]any
	for _, c := range []struct {
		name   string
		values values
		other  shapes
		want   string
	}{
		{"size a string", values{"hidden_size": "16"}, nil, "config.json: "},
		{"size missing", values{"hidden_size": nil}, nil, "hidden size is 0"},
		{"size negative", values{"num_hidden_layers": -1}, nil, "number of layers is -1"},
		{"heads zero", values{"num_attention_heads": 0}, nil, "number of heads is 0"},
		{"key-value heads zero", values{"num_key_value_heads": 0}, nil, "number of key-value heads is 0"},
		{"other activation", values{"hidden_act": "gelu"}, nil, `activation "gelu"`},
		{"quantised", values{"quantization_config": values{"quant_method": "bitsandbytes"}}, nil, `quantised by "bitsandbytes"`},
		{"other vocabulary", values{"vocab_size": 11}, nil, "the embedding has 10 rows, and vocab_size is 11"},
		{"no output matrix", values{"tie_word_embeddings": nil}, nil, `"lm_head.weight" is missing`},
		{"no embedding", nil, shapes{"model.embed_tokens.weight": nil}, `tensor "model.embed_tokens.weight" is missing`},
		{"tensor missing", nil, shapes{"model.layers.1.mlp.up_proj.weight": nil}, `tensor "model.layers.1.mlp.up_proj.weight" is missing`},
		{"tensor of another size", nil, shapes{"model.layers.1.self_attn.q_proj.weight": {16, 15}}, `tensor "model.layers.1.self_attn.q_proj.weight" has 16 rows of 15, the configuration calls for 16 of 16`},
		{"three dimensions", nil, shapes{"model.norm.weight": {1, 1, width}}, `tensor "model.norm.weight" of shape [1 1 16] is not a matrix`},
		{"bias", nil, shapes{"model.layers.0.self_attn.q_proj.bias": {16}}, `tensor "model.layers.0.self_attn.q_proj.bias": biases are not supported`},
		{"adapter", nil, shapes{"base_model.model.q.lora_A.weight": {2, 16}}, `tensor "base_model.model.q.lora_A.weight" (1 such) has no place`},
		{"a name of GGUF", nil, shapes{"blk.0.attn_q.weight": {16, 16}}, `tensor "blk.0.attn_q.weight" (1 such) has no place`},
		{"scaling without numbers", values{"rope_scaling": values{"rope_type": "llama3"}}, nil, "rope_scaling llama3 lacks factor"},
		{"no head", values{"architectures": classifier}, nil, `tensor "score.weight" is missing`},
		{"head too narrow", values{"architectures": classifier}, shapes{"score.weight": {2, 15}}, `tensor "score.weight" has 2 rows of 15`},
		{"classes miscounted", values{"architectures": classifier, "id2label": values{"0": "a"}}, shapes{"score.weight": {2, width}}, "id2label names 1 classes, and score.weight has 2 rows"},
		{"class indices", values{"architectures": classifier, "id2label": values{"1": "a", "2": "b"}}, shapes{"score.weight": {2, width}}, "id2label has no class 0"},
		{"class indices padded", values{"architectures": classifier, "id2label": values{"00": "a", "1": "b"}}, shapes{"score.weight": {2, width}}, "id2label has no class 0"},
		{"class without a name", values{"architectures": classifier, "id2label": values{"0": "a", "1": ""}}, shapes{"score.weight": {2, width}}, "empty name for class 1"},
		{"many labels at once", values{"architectures": classifier, "problem_type": "multi_label_classification"}, shapes{"score.weight": {2, width}}, `problem type "multi_label_classification"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, file := changed(t, c.values, c.other)
			got, err := checkpoint.FromHF(config, file)
			if err == nil {
				t.Fatalf("accepted as %+v", got.Config())
			}
			if got != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q lacks %q", err, c.want)
			}
		})
	}
}

func TestFromHFRefusesTextThatIsNoConfiguration(t *testing.T) {
	for _, text := range []string{"", "[]", "{", `{"architectures":`, strings.Repeat(`{"a":`, 1<<20)} {
		if _, err := checkpoint.FromHF([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "config.json: ") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestFromHFNamesTheUnsupportedArchitecture(t *testing.T) {
	for text, want := range map[string]string{
		`{"architectures":["Qwen3MoeForCausalLM"]}`:                  "Qwen3MoeForCausalLM",
		`{"architectures":["Gemma3ForSequenceClassification"]}`:      "Gemma3ForSequenceClassification",
		`{"architectures":["Lfm2ForCausalLM"]}`:                      "Lfm2ForCausalLM",
		`{"model_type":"gemma3n"}`:                                   "gemma3n",
		`{"model_type":"qwen3_next"}`:                                "qwen3_next",
		`{"architectures":["LlamaModel"],"model_type":"llama"}`:      "LlamaModel",
		`{"architectures":["MistralForCausalLM"],"hidden_size":"x"}`: "",
	} {
		_, err := checkpoint.FromHF([]byte(text))
		var unsupported *checkpoint.UnsupportedError
		if is := errors.As(err, &unsupported); is != (want != "") || is && unsupported.Architecture != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The factors of Llama 3.2, computed apart with the published formula.
func TestFromHFComputesTheFrequencyFactorsOfLlama3(t *testing.T) {
	const headDim = 64
	c, s := config(), weights()
	maps.Copy(c, map[string]any{"head_dim": headDim, "rope_theta": 500000.0, "rope_scaling": map[string]any{
		"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})
	for name, shape := range s {
		switch {
		case strings.Contains(name, "q_proj"):
			shape[0] = heads * headDim
		case strings.Contains(name, "k_proj"), strings.Contains(name, "v_proj"):
			shape[0] = kvHeads * headDim
		case strings.Contains(name, "o_proj"):
			shape[1] = heads * headDim
		}
	}
	got, err := checkpoint.FromHF(encode(t, c), s.file(t))
	if err != nil {
		t.Fatal(err)
	}
	x, ok := got.Tensor("rope_freqs.weight")
	if !ok || x.Rows != 1 || x.Cols != headDim/2 || x.Type != gguf.F32 || got.Config().RopeScaling != "llama3" {
		t.Fatalf("factors %+v, %v", x, ok)
	}
	for i := range headDim / 2 {
		want := 1.0
		switch {
		case i >= 18:
			want = 32
		case i >= 15:
			want = []float64{1.6513292457638984, 3.2922621029408843, 9.666728978753293}[i-15]
		}
		if f := math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:])); math.Abs(float64(f)/want-1) > 1e-6 {
			t.Errorf("factor %d is %v, want %v", i, f, want)
		}
	}
}
