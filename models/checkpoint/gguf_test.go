package checkpoint_test

import (
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

func TestFromGGUFReadsTheConfiguration(t *testing.T) {
	c, err := fromGGUF(t, metadata(), tensors())
	if err != nil {
		t.Fatal(err)
	}
	want := checkpoint.Config{Architecture: "llama", Layers: 2, Width: 16, FeedForward: 24, Heads: 4, KVHeads: 2, HeadDim: 4,
		Vocab: 10, Context: 64, RopeBase: 5000, RopeInterleaved: true, NormEpsilon: 0.5, QueryScale: 0.5, EmbeddingScale: 1}
	if got := c.Config(); !reflect.DeepEqual(got, want) {
		t.Errorf("config %+v, want %+v", got, want)
	}
	for name, size := range map[string][2]int{"blk.1.attn_k.weight": {8, 16}, "blk.0.ffn_down.weight": {16, 24}, "output_norm.weight": {1, 16}} {
		if x, ok := c.Tensor(name); !ok || x.Rows != size[0] || x.Cols != size[1] || len(x.Data) != 4*x.Rows*x.Cols {
			t.Errorf("%s is %d of %d, %v", name, x.Rows, x.Cols, ok)
		}
	}
	if _, ok := c.Tensor("output.weight"); ok {
		t.Error("a tied model has an output matrix")
	}
}

func TestFromGGUFAccepts(t *testing.T) {
	same := []int32{2, 2}
	for _, c := range []struct {
		name    string
		meta    []gguftest.Meta
		tensors []gguftest.Tensor
		want    func(checkpoint.Checkpoint) bool
	}{
		{"equal heads in every layer", set(metadata(), "llama.attention.head_count_kv", same), tensors(),
			func(c checkpoint.Checkpoint) bool { return c.Config().KVHeads == 2 }},
		{"no key-value heads named", set(metadata(), "llama.attention.head_count_kv", nil),
			put(put(put(put(tensors(), matrix("blk.0.attn_k.weight", 16, 16)), matrix("blk.0.attn_v.weight", 16, 16)), matrix("blk.1.attn_k.weight", 16, 16)), matrix("blk.1.attn_v.weight", 16, 16)),
			func(c checkpoint.Checkpoint) bool { return c.Config().KVHeads == 4 }},
		{"default rotary base", set(metadata(), "llama.rope.freq_base", nil), tensors(),
			func(c checkpoint.Checkpoint) bool { return c.Config().RopeBase == 10000 }},
		{"scaling", set(metadata(), "llama.rope.scaling.type", "yarn"), tensors(),
			func(c checkpoint.Checkpoint) bool { return c.Config().RopeScaling == "yarn" }},
		{"no scaling", set(metadata(), "llama.rope.scaling.type", "none"), tensors(),
			func(c checkpoint.Checkpoint) bool { return c.Config().RopeScaling == "" }},
		{"frequency factors", metadata(), put(tensors(), matrix("rope_freqs.weight", 1, 2)),
			func(c checkpoint.Checkpoint) bool { return c.Config().RopeScaling == "llama3" }},
		{"untied", metadata(), put(tensors(), matrix("output.weight", vocab, width)),
			func(c checkpoint.Checkpoint) bool { x, ok := c.Tensor("output.weight"); return ok && x.Rows == vocab }},
		{"named classes", set(metadata(), "llama.classifier.output_labels", []string{"b", "a"}), put(tensors(), matrix("cls.output.weight", 2, width)),
			func(c checkpoint.Checkpoint) bool { return strings.Join(c.Config().Classes, " ") == "b a" }},
		{"unnamed classes", metadata(), put(tensors(), matrix("cls.output.weight", 3, width)),
			func(c checkpoint.Checkpoint) bool {
				return strings.Join(c.Config().Classes, " ") == "LABEL_0 LABEL_1 LABEL_2"
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fromGGUF(t, c.meta, c.tensors)
			if err != nil {
				t.Fatal(err)
			}
			if !c.want(got) {
				t.Errorf("config %+v", got.Config())
			}
		})
	}
}

func TestFromGGUFRefuses(t *testing.T) {
	with := func(key string, value any) []gguftest.Meta { return set(metadata(), key, value) }
	other := matrix("blk.0.ffn_up.weight", forward, width)
	other.Type, other.Data = gguf.Type(24), other.Data[:forward*width] // I8
	cube := matrix("blk.0.ffn_up.weight", forward, width)
	cube.Shape = []uint64{width, forward / 2, 2}
	for _, c := range []struct {
		name    string
		meta    []gguftest.Meta
		tensors []gguftest.Tensor
		want    string
	}{
		{"no architecture", with("general.architecture", nil), tensors(), `"general.architecture" is missing`},
		{"no layers", with("llama.block_count", nil), tensors(), `"llama.block_count" is missing`},
		{"layers a string", with("llama.block_count", "2"), tensors(), `"llama.block_count" is no integer in range`},
		{"layers negative", with("llama.block_count", int32(-2)), tensors(), `"llama.block_count" is no integer in range`},
		{"layers zero", with("llama.block_count", uint32(0)), tensors(), "number of layers is 0"},
		{"layers huge", with("llama.block_count", uint32(1<<31-1)), tensors(), "number of layers is 2147483647, not between 1 and 1024"},
		{"width beyond 32 bits", with("llama.embedding_length", uint64(1<<40)), tensors(), "is no integer in range"},
		{"heads zero", with("llama.attention.head_count", uint32(0)), tensors(), "number of heads is 0"},
		{"key-value heads zero", with("llama.attention.head_count_kv", uint32(0)), tensors(), "number of key-value heads is 0"},
		{"heads indivisible", with("llama.attention.head_count_kv", uint32(3)), tensors(), "4 heads are not divisible among 3"},
		{"heads by layer", with("llama.attention.head_count_kv", []int32{2, 1}), tensors(), "not the same in every layer"},
		{"no heads in the list", with("llama.attention.head_count_kv", []int32{}), tensors(), "no integer in range"},
		{"head dimension odd", with("llama.attention.key_length", uint32(3)), tensors(), "head dimension 3 is odd"},
		{"values of another length", with("llama.attention.value_length", uint32(8)), tensors(), `"llama.attention.value_length" is 8`},
		{"partly rotated", with("llama.rope.dimension_count", uint32(2)), tensors(), `"llama.rope.dimension_count" is 2, and the native engine computes only 4`},
		{"experts", with("llama.expert_count", uint32(8)), tensors(), `"llama.expert_count" is 8`},
		{"bidirectional", with("llama.attention.causal", false), tensors(), "llama.attention.causal"},
		{"no context", with("llama.context_length", uint32(0)), tensors(), "context length is 0"},
		{"base NaN", with("llama.rope.freq_base", float32(math.NaN())), tensors(), "rotary base NaN"},
		{"base infinite", with("llama.rope.freq_base", math.Inf(1)), tensors(), "rotary base +Inf"},
		{"base an integer", with("llama.rope.freq_base", uint32(1)), tensors(), `"llama.rope.freq_base" is no number`},
		{"no epsilon", with("llama.attention.layer_norm_rms_epsilon", nil), tensors(), "epsilon 0 is not between"},

		{"no embedding", metadata(), drop(tensors(), "token_embd.weight"), `tensor "token_embd.weight" is missing`},
		{"embedding too wide", metadata(), put(tensors(), matrix("token_embd.weight", vocab, width+1)), `tensor "token_embd.weight" has 10 rows of 17, the configuration calls for 10 of 16`},
		{"layer missing", with("llama.block_count", uint32(3)), tensors(), `tensor "blk.2.attn_norm.weight" is missing`},
		{"layer too many", with("llama.block_count", uint32(1)), tensors(), `tensor "blk.1.attn_k.weight" (9 such) has no place`},
		{"wrong rows", metadata(), put(tensors(), matrix("blk.1.attn_k.weight", 7, width)), `tensor "blk.1.attn_k.weight" has 7 rows of 16, the configuration calls for 8 of 16`},
		{"transposed", metadata(), put(tensors(), matrix("blk.0.ffn_down.weight", forward, width)), `tensor "blk.0.ffn_down.weight" has 24 rows of 16`},
		{"three dimensions", metadata(), put(tensors(), cube), `tensor "blk.0.ffn_up.weight" of shape [16 12 2] is not a matrix`},
		{"unreadable type", metadata(), put(tensors(), other), `tensor "blk.0.ffn_up.weight" has type I8`},
		{"bias", metadata(), put(tensors(), matrix("blk.0.attn_q.bias", 1, width)), `tensor "blk.0.attn_q.bias": biases are not supported`},
		{"stranger", metadata(), put(tensors(), matrix("blk.0.attn_q_norm.weight", 1, headDim)), `tensor "blk.0.attn_q_norm.weight" (1 such) has no place`},
		{"output of another size", metadata(), put(tensors(), matrix("output.weight", vocab-1, width)), `tensor "output.weight" has 9 rows`},
		{"factors of another size", metadata(), put(tensors(), matrix("rope_freqs.weight", 1, 4)), `tensor "rope_freqs.weight" has 1 rows of 4`},
		{"classes miscounted", with("llama.classifier.output_labels", []string{"a", "b", "c"}), put(tensors(), matrix("cls.output.weight", 2, width)), "names 3 classes, and cls.output.weight has 2 rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fromGGUF(t, c.meta, c.tensors)
			if err == nil {
				t.Fatalf("accepted as %+v", got.Config())
			}
			if got != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q lacks %q", err, c.want)
			}
		})
	}
}

func TestFromGGUFNamesTheUnsupportedArchitecture(t *testing.T) {
	_, err := fromGGUF(t, set(metadata(), "general.architecture", "lfm2"), nil)
	var unsupported *checkpoint.UnsupportedError
	if !errors.As(err, &unsupported) || unsupported.Architecture != "lfm2" {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{`"lfm2"`, "gemma3 (text)", "llama.cpp can run it"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

// Every matrix of the built-in model has sane values: finite, not all zero,
// and of the size that trained weights have.
func TestFromGGUFReadsTheDemo(t *testing.T) {
	data, err := os.ReadFile("../demo/model.gguf")
	if err != nil {
		t.Skip(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	want := checkpoint.Config{Architecture: "llama", Layers: 8, Width: 576, FeedForward: 1536, Heads: 9, KVHeads: 3, HeadDim: 64,
		Vocab: 16935, Context: 2048, RopeBase: 100000, RopeInterleaved: true, NormEpsilon: float64(float32(1e-5)), QueryScale: 0.125, EmbeddingScale: 1}
	if got := c.Config(); !reflect.DeepEqual(got, want) {
		t.Errorf("config %+v, want %+v", got, want)
	}
	if tokens, ok := f.Strings("tokenizer.ggml.tokens"); !ok || len(tokens) != want.Vocab || tokens[1] != "<|im_start|>" {
		t.Errorf("%d tokens, %v", len(tokens), ok)
	}
	for _, info := range f.Tensors() {
		x, ok := c.Tensor(info.Name)
		if !ok {
			t.Errorf("%s is lost", info.Name)
			continue
		}
		row, sum := make([]float32, x.Cols), 0.0
		for i := 0; i < x.Rows; i += 1 + x.Rows/50 {
			x.Row(row, i)
			for _, v := range row {
				sum += float64(v) * float64(v) / float64(x.Cols)
			}
		}
		if rms := math.Sqrt(sum / float64(min(x.Rows, 50))); !(rms > 1e-3 && rms < 20) {
			t.Errorf("%s has a root mean square of %g", info.Name, rms)
		}
	}
}
