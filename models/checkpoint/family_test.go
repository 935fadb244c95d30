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
	"cubby/models/gguf/gguftest"
)

// renamed returns the small model's metadata for another architecture, with more keys.
func renamed(architecture string, more map[string]any) []gguftest.Meta {
	meta := metadata()
	for i, m := range meta {
		meta[i].Key = strings.Replace(m.Key, "llama.", architecture+".", 1)
	}
	meta = set(meta, "general.architecture", architecture)
	for key, value := range more {
		meta = set(meta, architecture+"."+key, value)
	}
	return meta
}

// extended returns the small model's tensors with those that the family adds.
func extended(architecture string) []gguftest.Tensor {
	list := tensors()
	for _, blk := range []string{"blk.0.", "blk.1."} {
		if architecture == "qwen2" {
			list = append(list, matrix(blk+"attn_q.bias", 1, heads*headDim), matrix(blk+"attn_k.bias", 1, kvHeads*headDim), matrix(blk+"attn_v.bias", 1, kvHeads*headDim))
		}
		if architecture == "qwen3" || architecture == "gemma3" {
			list = append(list, matrix(blk+"attn_q_norm.weight", 1, headDim), matrix(blk+"attn_k_norm.weight", 1, headDim))
		}
		if architecture == "gemma3" {
			list = append(list, matrix(blk+"post_attention_norm.weight", 1, width), matrix(blk+"post_ffw_norm.weight", 1, width))
		}
	}
	return list
}

func TestFromGGUFReadsTheFamilies(t *testing.T) {
	base := checkpoint.Config{Layers: 2, Width: 16, FeedForward: 24, Heads: 4, KVHeads: 2, HeadDim: 4, Vocab: 10, Context: 64,
		RopeBase: 5000, NormEpsilon: 0.5, QueryScale: 0.5, EmbeddingScale: 1}
	gemma := map[string]any{"attention.sliding_window": uint32(8), "attention.sliding_window_pattern": uint32(2)}
	with := func(more map[string]any) map[string]any {
		all := maps.Clone(gemma)
		maps.Copy(all, more)
		return all
	}
	for _, c := range []struct {
		name, architecture string
		more               map[string]any
		want               func(*checkpoint.Config)
	}{
		{"qwen2", "qwen2", nil, func(c *checkpoint.Config) {}},
		{"qwen3", "qwen3", nil, func(c *checkpoint.Config) {}},
		{"mistral", "llama", map[string]any{"attention.sliding_window": uint32(8)}, func(c *checkpoint.Config) {
			c.RopeInterleaved, c.Window, c.Local = true, 8, []bool{true, true}
		}},
		{"gemma3", "gemma3", gemma, func(c *checkpoint.Config) { c.Window, c.Local, c.LocalRopeBase = 8, []bool{true, false}, 10000 }},
		{"gemma3 with its own local base", "gemma3", with(map[string]any{"rope.freq_base_swa": float32(77)}),
			func(c *checkpoint.Config) { c.Window, c.Local, c.LocalRopeBase = 8, []bool{true, false}, 77 }},
		{"gemma3 layer by layer", "gemma3", with(map[string]any{"attention.sliding_window_pattern": []bool{false, true}}),
			func(c *checkpoint.Config) { c.Window, c.Local, c.LocalRopeBase = 8, []bool{false, true}, 10000 }},
		{"gemma3 without a pattern", "gemma3", map[string]any{"attention.sliding_window": uint32(8)},
			func(c *checkpoint.Config) { c.Window, c.Local, c.LocalRopeBase = 8, []bool{true, true}, 10000 }},
		{"gemma3 without a window", "gemma3", nil, func(c *checkpoint.Config) {}},
		{"gemma3, linear", "gemma3", map[string]any{"rope.scaling.type": "linear", "rope.scaling.factor": float32(8)},
			func(c *checkpoint.Config) { c.RopeScaling = "linear" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := base
			want.Architecture = c.architecture
			if c.architecture == "gemma3" {
				want.GELU, want.EmbeddingScale = true, 4
			}
			c.want(&want)
			got, err := fromGGUF(t, renamed(c.architecture, c.more), extended(c.architecture))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Config(), want) {
				t.Errorf("config %+v, want %+v", got.Config(), want)
			}
			x, ok := got.Tensor("rope_freqs.weight")
			if linear := want.RopeScaling == "linear"; ok != linear || linear && !slices.Equal(floats(x), []float32{8, 8}) {
				t.Errorf("rotary factors %v, %v", x, ok)
			}
		})
	}
}

func floats(x checkpoint.Tensor) []float32 {
	row := make([]float32, x.Cols)
	x.Row(row, 0)
	return row
}

func TestFromGGUFRefusesInTheFamilies(t *testing.T) {
	for _, c := range []struct {
		name, architecture string
		more               map[string]any
		tensors            []gguftest.Tensor
		want               string
	}{
		{"qwen3 without its norms", "qwen3", nil, tensors(), `"blk.0.attn_q_norm.weight" is missing`},
		{"qwen2 without biases", "qwen2", nil, tensors(), `"blk.0.attn_q.bias" is missing`},
		{"qwen3 with biases", "qwen3", nil, append(extended("qwen3"), matrix("blk.0.attn_q.bias", 1, 16)), "biases are not supported"},
		{"gemma3 without its norms", "gemma3", nil, extended("qwen3"), `"blk.0.post_attention_norm.weight" is missing`},
		{"norm of another size", "qwen3", nil, put(extended("qwen3"), matrix("blk.1.attn_k_norm.weight", 1, 8)), "has 1 rows of 8"},
		{"qwen2 with a window", "qwen2", map[string]any{"attention.sliding_window": uint32(8)}, extended("qwen2"), `"qwen2.attention.sliding_window" is 8`},
		{"capped logits", "gemma3", map[string]any{"final_logit_softcapping": float32(30)}, extended("gemma3"), "caps no logits"},
		{"pattern of three layers", "gemma3", map[string]any{"attention.sliding_window": uint32(8), "attention.sliding_window_pattern": []bool{true, true, false}}, extended("gemma3"), "for 3 layers of 2"},
		{"no local base", "gemma3", map[string]any{"attention.sliding_window": uint32(8), "rope.freq_base_swa": float32(math.Inf(1))}, extended("gemma3"), "rotary base of local layers"},
		{"linear without a factor", "gemma3", map[string]any{"rope.scaling.type": "linear"}, extended("gemma3"), `"linear" by 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fromGGUF(t, renamed(c.architecture, c.more), c.tensors)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v lacks %q", err, c.want)
			}
		})
	}
}

// hfShapes are the small model's tensors, with those that the family adds.
func hfShapes(class string) shapes {
	s := shapes{}
	for _, l := range []string{"model.layers.0.", "model.layers.1."} {
		if strings.HasPrefix(class, "Qwen2") {
			s[l+"self_attn.q_proj.bias"] = []int{heads * headDim}
			s[l+"self_attn.k_proj.bias"] = []int{kvHeads * headDim}
			s[l+"self_attn.v_proj.bias"] = []int{kvHeads * headDim}
		}
		if strings.HasPrefix(class, "Qwen3") || strings.HasPrefix(class, "Gemma3") {
			s[l+"self_attn.q_norm.weight"] = []int{headDim}
			s[l+"self_attn.k_norm.weight"] = []int{headDim}
		}
		if strings.HasPrefix(class, "Gemma3") {
			s[l+"pre_feedforward_layernorm.weight"] = []int{width}
			s[l+"post_feedforward_layernorm.weight"] = []int{width}
		}
	}
	return s
}

// The values are those of configurations as transformers 4 writes them; those of
// transformers 5 stand among the goldens of the engine's conformance suite.
func TestFromHFReadsTheFamilies(t *testing.T) {
	type values = map[string]any
	base := checkpoint.Config{Layers: 2, Width: 16, FeedForward: 24, Heads: 4, KVHeads: 2, HeadDim: 4, Vocab: 10, Context: 64,
		RopeBase: 5000, NormEpsilon: 0.5, QueryScale: 0.5, EmbeddingScale: 1}
	gemma := func(c *checkpoint.Config) {
		c.Architecture, c.GELU, c.EmbeddingScale, c.QueryScale = "gemma3", true, 4, 1.0/16
		c.Window, c.Local, c.LocalRopeBase = 8, []bool{true, true}, 10000
	}
	for _, c := range []struct {
		name, class string
		values      values
		want        func(*checkpoint.Config)
	}{
		{"qwen2", "Qwen2ForCausalLM", values{"use_sliding_window": false, "sliding_window": 8, "max_window_layers": 1}, func(c *checkpoint.Config) { c.Architecture = "qwen2" }},
		{"qwen2 with a window", "Qwen2ForCausalLM", values{"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1}, func(c *checkpoint.Config) {
			c.Architecture, c.Window, c.Local = "qwen2", 8, []bool{false, true}
		}},
		{"qwen3", "Qwen3ForCausalLM", values{"head_dim": 4, "sliding_window": nil, "use_sliding_window": false}, func(c *checkpoint.Config) { c.Architecture = "qwen3" }},
		{"qwen3 by its layers", "Qwen3ForCausalLM", values{"head_dim": 4, "sliding_window": 8, "use_sliding_window": true, "layer_types": []string{"sliding_attention", "full_attention"}},
			func(c *checkpoint.Config) { c.Architecture, c.Window, c.Local = "qwen3", 8, []bool{true, false} }},
		{"mistral", "MistralForCausalLM", values{"sliding_window": jsonNull}, func(c *checkpoint.Config) { c.Architecture = "llama" }},
		{"mistral with a window", "MistralForCausalLM", values{"sliding_window": 8}, func(c *checkpoint.Config) { c.Architecture, c.Window, c.Local = "llama", 8, []bool{true, true} }},
		{"mistral with the window of its class", "MistralForCausalLM", nil, func(c *checkpoint.Config) {
			c.Architecture, c.Window, c.Local = "llama", 4096, []bool{true, true}
		}},
		{"gemma3", "Gemma3ForCausalLM", values{"head_dim": 4, "sliding_window": 8, "hidden_act": nil, "hidden_activation": "gelu_pytorch_tanh"}, gemma},
		{"gemma3 by its pattern", "Gemma3ForCausalLM", values{"head_dim": 4, "sliding_window": 8, "sliding_window_pattern": 2, "query_pre_attn_scalar": 4, "rope_local_base_freq": 77.0,
			"rope_scaling": values{"rope_type": "linear", "factor": 8.0}},
			func(c *checkpoint.Config) {
				gemma(c)
				c.QueryScale, c.Local, c.LocalRopeBase, c.RopeScaling = 0.5, []bool{true, false}, 77, "linear"
			}},
		{"gemma3 with its class's own numbers", "Gemma3ForCausalLM", values{"head_dim": 4, "num_attention_heads": 4, "rope_theta": nil, "max_position_embeddings": nil, "rms_norm_eps": nil, "tie_word_embeddings": nil},
			func(c *checkpoint.Config) {
				gemma(c)
				c.RopeBase, c.Context, c.NormEpsilon, c.Window = 1e6, 131072, 1e-6, 4096
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := base
			c.want(&want)
			all := values{"architectures": []string{c.class}}
			maps.Copy(all, c.values)
			config, file := changed(t, all, hfShapes(c.class))
			got, err := checkpoint.FromHF(config, file)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Config(), want) {
				t.Errorf("config %+v\nwant   %+v", got.Config(), want)
			}
		})
	}
}

// The language model of a multimodal gemma3, as transformers 4 and 5 name its tensors.
func TestFromHFReadsTheLanguageModelOfAMultimodalOne(t *testing.T) {
	text := config()
	maps.Copy(text, map[string]any{"architectures": nil, "head_dim": 4, "sliding_window": 8, "hidden_act": nil})
	whole := map[string]any{"architectures": []string{"Gemma3ForConditionalGeneration"}, "text_config": text}
	plain := weights()
	maps.Copy(plain, hfShapes("Gemma3"))
	for _, prefix := range []string{"language_model.model.", "model.language_model."} {
		s := shapes{"vision_tower.head.probe": {1, 1, 4}, "multi_modal_projector.mm_soft_emb_norm.weight": {4}}
		for name, shape := range plain {
			s[prefix+strings.TrimPrefix(name, "model.")] = shape
		}
		got, err := checkpoint.FromHF(encode(t, whole), s.file(t))
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Config(); c.Architecture != "gemma3" || c.Layers != 2 || c.Window != 8 {
			t.Errorf("config %+v", c)
		}
		s["language_model.model.layers.0.stranger.weight"] = []int{4}
		if _, err := checkpoint.FromHF(encode(t, whole), s.file(t)); err == nil || !strings.Contains(err.Error(), "stranger") {
			t.Errorf("a tensor without a place: %v", err)
		}
	}
	if n, ok := checkpoint.HFVocab(encode(t, whole)); !ok || n != vocab {
		t.Errorf("vocabulary size %d, %v", n, ok)
	}
	whole["text_config"] = map[string]any{"hidden_size": "wide"}
	if _, err := checkpoint.FromHF(encode(t, whole), plain.file(t)); err == nil || !strings.Contains(err.Error(), "text_config") {
		t.Errorf("a broken text_config: %v", err)
	}
}

// jsonNull is written as null, where nil would remove the key.
var jsonNull = (*int)(nil)

func TestFromHFRefusesInTheFamilies(t *testing.T) {
	type values = map[string]any
	for _, c := range []struct {
		name, class string
		values      values
		want        string
	}{
		{"qwen3's own head size", "Qwen3ForCausalLM", nil, "the configuration calls for 512 of 16"},
		{"gemma3 with SiLU", "Gemma3ForCausalLM", values{"head_dim": 4, "hidden_activation": "silu"}, "only gelu_pytorch_tanh"},
		{"capped logits", "Gemma3ForCausalLM", values{"head_dim": 4, "final_logit_softcapping": 30.0}, "soft-capped"},
		{"capped scores", "Gemma3ForCausalLM", values{"head_dim": 4, "attn_logit_softcapping": 50.0}, "soft-capped"},
		{"both directions", "Gemma3ForCausalLM", values{"head_dim": 4, "use_bidirectional_attention": true}, "bidirectional"},
		{"no scale", "Gemma3ForCausalLM", values{"head_dim": 4, "query_pre_attn_scalar": 0}, "scale of the queries"},
		{"window of nothing", "MistralForCausalLM", values{"sliding_window": 0}, "sliding_window is 0"},
		{"window of words", "MistralForCausalLM", values{"sliding_window": "wide"}, "sliding_window is"},
		{"layers of another kind", "Gemma3ForCausalLM", values{"head_dim": 4, "layer_types": []string{"sliding_attention", "chunked_attention"}}, `"chunked_attention"`},
		{"layers miscounted", "Gemma3ForCausalLM", values{"head_dim": 4, "layer_types": []string{"full_attention"}}, "1 layers of 2"},
		{"linear without a factor", "Gemma3ForCausalLM", values{"head_dim": 4, "rope_scaling": values{"rope_type": "linear"}}, `"linear" by 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := values{"architectures": []string{c.class}}
			maps.Copy(all, c.values)
			config, file := changed(t, all, hfShapes(c.class))
			_, err := checkpoint.FromHF(config, file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v lacks %q", err, c.want)
			}
			var unsupported *checkpoint.UnsupportedError
			if errors.As(err, &unsupported) {
				t.Errorf("%v: the architecture is supported", err)
			}
		})
	}
}

// Gemma's norms are stored without their 1 by transformers, and with it in GGUF.
func TestGemmasNormsHaveTheirOne(t *testing.T) {
	config, file := changed(t, map[string]any{"architectures": []string{"Gemma3ForCausalLM"}, "head_dim": 4}, hfShapes("Gemma3"))
	hf, err := checkpoint.FromHF(config, file)
	if err != nil {
		t.Fatal(err)
	}
	list := extended("gemma3")
	for i := range list {
		if strings.HasSuffix(list[i].Name, "norm.weight") {
			for j := 0; j < len(list[i].Data); j += 4 {
				binary.LittleEndian.PutUint32(list[i].Data[j:], math.Float32bits(1))
			}
		}
	}
	gguf, err := fromGGUF(t, renamed("gemma3", nil), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		a, _ := hf.Tensor(x.Name)
		b, _ := gguf.Tensor(x.Name)
		if !slices.Equal(floats(a), floats(b)) {
			t.Errorf("%s begins with %v and %v", x.Name, floats(a)[0], floats(b)[0])
		}
	}
}
