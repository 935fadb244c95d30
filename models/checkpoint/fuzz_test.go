package checkpoint_test

import (
	"maps"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/safetensors"
)

// readable demands that what an engine takes from a checkpoint is there, and of
// the sizes that the configuration says.
func readable(t *testing.T, c checkpoint.Checkpoint) {
	t.Helper()
	g := c.Config()
	q, kv := g.Heads*g.HeadDim, g.KVHeads*g.HeadDim
	for name, size := range map[string][2]int{
		"token_embd.weight": {g.Vocab, g.Width}, "output_norm.weight": {1, g.Width},
		"blk.0.attn_norm.weight": {1, g.Width}, "blk.0.ffn_norm.weight": {1, g.Width},
		"blk.0.attn_q.weight": {q, g.Width}, "blk.0.attn_k.weight": {kv, g.Width}, "blk.0.attn_v.weight": {kv, g.Width},
		"blk.0.attn_output.weight": {g.Width, q}, "blk.0.ffn_down.weight": {g.Width, g.FeedForward},
		"blk.0.ffn_gate.weight": {g.FeedForward, g.Width}, "blk.0.ffn_up.weight": {g.FeedForward, g.Width},
	} {
		x, ok := c.Tensor(name)
		if !ok || x.Rows != size[0] || x.Cols != size[1] || len(x.Data) != x.Rows*x.Type.RowSize(x.Cols) {
			t.Fatalf("%s is %d of %d in %d bytes, %v; config %+v", name, x.Rows, x.Cols, len(x.Data), ok, g)
		}
		x.Row(make([]float32, x.Cols), x.Rows-1)
	}
	if g.Heads%g.KVHeads != 0 || g.HeadDim%2 != 0 || !(g.RopeBase > 0) || !(g.NormEpsilon > 0) || g.Context < 1 {
		t.Fatalf("config %+v", g)
	}
	if !(g.QueryScale > 0) || g.Window < 0 || g.Window > 0 && len(g.Local) != g.Layers || g.LocalRopeBase < 0 {
		t.Fatalf("config %+v", g)
	}
	if head, ok := c.Tensor("cls.output.weight"); ok != (len(g.Classes) > 0) || head.Rows != len(g.Classes) {
		t.Fatalf("%d classes for a head of %d rows", len(g.Classes), head.Rows)
	}
}

func FuzzFromGGUF(f *testing.F) {
	f.Add(gguftest.Encode(metadata(), tensors()))
	f.Add(gguftest.Encode(set(metadata(), "llama.classifier.output_labels", []string{"a", "b"}), put(tensors(), matrix("cls.output.weight", 2, width))))
	f.Add(gguftest.Encode(set(metadata(), "llama.attention.head_count_kv", []int32{2, 2}), put(tensors(), matrix("rope_freqs.weight", 1, 2))))
	for _, family := range []string{"qwen2", "qwen3", "gemma3"} {
		f.Add(gguftest.Encode(renamed(family, map[string]any{"rope.scaling.type": "linear", "rope.scaling.factor": float32(2)}), extended(family)))
	}
	f.Add(gguftest.Encode(renamed("gemma3", map[string]any{"attention.sliding_window": uint32(8), "attention.sliding_window_pattern": []bool{true, false}}), extended("gemma3")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		if c, err := checkpoint.FromGGUF(file); err == nil {
			readable(t, c)
		}
	})
}

func FuzzFromHF(f *testing.F) {
	c := config()
	for range 2 {
		f.Add(encode(f, c))
		c["architectures"], c["id2label"] = []string{"LlamaForSequenceClassification"}, map[string]string{"0": "a", "1": "b"}
		c["rope_scaling"] = map[string]any{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
	}
	s := weights()
	files := []*safetensors.File{s.file(f)}
	s["score.weight"] = []int{2, width}
	files = append(files, s.file(f))
	for _, class := range []string{"Qwen2ForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM", "MistralForCausalLM"} {
		c := config()
		maps.Copy(c, map[string]any{"architectures": []string{class}, "head_dim": 4, "hidden_act": nil, "use_sliding_window": true, "sliding_window": 8})
		f.Add(encode(f, c))
		s := weights()
		maps.Copy(s, hfShapes(class))
		files = append(files, s.file(f))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, file := range files {
			if c, err := checkpoint.FromHF(text, file); err == nil {
				readable(t, c)
			}
		}
	})
}
