package lora_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/lora"
)

// heads of the base: two, so six rows each.
const heads, headDim = 2, width / 2

// ggufNames are llama.cpp's names of the parts of a layer.
var ggufNames = map[string]string{"self_attn.q_proj": "attn_q", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}

// interleaved gives the rows of a projection their place in llama.cpp's files: of
// each head the first half's and the second half's rows take turns.
func interleaved(rows [][]float64) (out [][]float64) {
	for h := range heads {
		for i := range headDim / 2 {
			out = append(out, rows[h*headDim+i], rows[h*headDim+headDim/2+i])
		}
	}
	return out
}

func rowsOf(values []float64, cols int) [][]float64 {
	return slices.Collect(slices.Chunk(values, cols))
}

// ggufTensorName is a weight's name in a GGUF file, and whether its rows are moved.
func ggufTensorName(architecture, name string) (string, bool) {
	parts := strings.SplitN(name, ".", 4) // model.layers.N.…
	part := ggufNames[strings.TrimSuffix(parts[3], ".weight")]
	return "blk." + parts[2] + "." + part + ".weight", architecture == "llama" && part == "attn_q"
}

// ggufBase is the base's matrices as a GGUF file.
func ggufBase(t testing.TB, architecture string, b file) *gguf.File {
	t.Helper()
	list := []gguftest.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: []uint64{width, vocab}, Data: b["model.embed_tokens.weight"].bytes()}}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		w := b[name]
		if len(w.shape) != 2 || !strings.HasPrefix(name, "model.layers.") {
			continue
		}
		to, moved := ggufTensorName(architecture, name)
		if moved {
			w.values = slices.Concat(interleaved(rowsOf(w.values, w.shape[1]))...)
		}
		list = append(list, gguftest.Tensor{Name: to, Type: gguf.F32, Shape: []uint64{uint64(w.shape[1]), uint64(w.shape[0])}, Data: w.bytes()})
	}
	return parseGGUF(t, gguftest.Encode([]gguf.Meta{
		{Key: "general.architecture", Value: architecture}, {Key: architecture + ".embedding_length", Value: uint32(width)}, {Key: architecture + ".attention.head_count", Value: uint32(heads)},
	}, list))
}

func parseGGUF(t testing.TB, data []byte) *gguf.File {
	t.Helper()
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func convert(t testing.TB, p pack, base *gguf.File) ([]byte, error) {
	t.Helper()
	a, err := p.open(t)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Convert(base)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), lora.CheckGGUF(base, parseGGUF(t, b.Bytes()))
}

func floats(t testing.TB, f *gguf.File, name string) tensor {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok || x.Type != gguf.F32 || len(x.Shape) != 2 {
		t.Fatalf("tensor %q: %v %s %v", name, ok, x.Type, x.Shape)
	}
	out := tensor{dtype: "F32", shape: []int{int(x.Shape[1]), int(x.Shape[0])}}
	for data := x.Data; len(data) > 0; data = data[4:] {
		out.values = append(out.values, float64(math.Float32frombits(binary.LittleEndian.Uint32(data))))
	}
	return out
}

// applied is what llama.cpp adds to a weight: alpha/rank times the product.
func applied(t testing.TB, f *gguf.File, name string) []float64 {
	t.Helper()
	alpha, _ := f.Float32("adapter.lora.alpha")
	a, b := floats(t, f, name+".lora_a"), floats(t, f, name+".lora_b")
	scale := 1.0
	if alpha != 0 {
		scale = float64(alpha) / float64(a.shape[0])
	}
	out := multiply(a, b)
	for i := range out {
		out[i] *= scale
	}
	return out
}

// Base plus what llama.cpp computes of the written factors is the merged model, to
// the bit where the scale is alpha/rank, and else to what rounding lora_b once to
// float32 leaves.
func TestConvert(t *testing.T) {
	const wide = "model.layers.1.mlp.up_proj"
	for _, c := range []struct {
		name   string
		change object
		ranks  map[string]int
		exact  bool
	}{
		{"plain", nil, nil, true},
		{"fractional alpha", object{"lora_alpha": 1.5}, nil, true},
		{"an alpha that is no float32", object{"lora_alpha": 0.1}, nil, false},
		{"an alpha below float32", object{"lora_alpha": 1e-60}, nil, false},
		{"rank-stabilised", object{"use_rslora": true}, nil, false},
		{"alpha by name", object{"alpha_pattern": object{"up_proj": 12}}, nil, true}, // twice the other
		{"alpha by name, uneven", object{"alpha_pattern": object{"up_proj": 7}}, nil, false},
		{"rank by name", object{"rank_pattern": object{wide: 5}}, map[string]int{wide: 5}, true},
		{"all patterns", object{"rank_pattern": object{wide: 5}, "alpha_pattern": object{"q_proj": 0.3}, "use_rslora": true}, map[string]int{wide: 5}, false},
	} {
		for _, architecture := range []string{"llama", "qwen3"} {
			for _, dtype := range []string{"F32", "F16", "BF16"} {
				t.Run(c.name+"/"+architecture+"/"+dtype, func(t *testing.T) {
					b, p := base("F32"), adapter(dtype)
					maps.Copy(p.config, c.change)
					for module, r := range c.ranks {
						p.pair(rand.New(rand.NewPCG(5, 6)), dtype, module, r, adapted[module])
					}
					data, err := convert(t, p, ggufBase(t, architecture, b))
					if err != nil {
						t.Fatal(err)
					}
					written := parseGGUF(t, data)
					if n := len(written.Tensors()); n != 2*len(adapted) {
						t.Errorf("%d tensors for %d updates", n, len(adapted))
					}
					merged, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
					for module, shape := range adapted {
						name := module + ".weight"
						x, _ := merged.Tensor(name)
						want := make([]float32, len(b[name].values))
						gguf.Dequantize(want, x.Data, gguf.F32)
						to, moved := ggufTensorName(architecture, name)
						delta := rowsOf(applied(t, written, to), shape[1])
						if moved {
							delta = restored(delta)
						}
						size := multiply(absolute(p.file["base_model.model."+module+".lora_A.weight"]), absolute(p.file["base_model.model."+module+".lora_B.weight"]))
						for i, d := range slices.Concat(delta...) {
							got, bound := b[name].values[i]+d, 0.0
							if !c.exact {
								bound = 0x1p-23 * (size[i]*10 + math.Abs(got))
							}
							if math.Abs(float64(float32(got))-float64(want[i])) > bound {
								t.Fatalf("%s: value %d is %v, merged %v", name, i, got, want[i])
							}
						}
					}
				})
			}
		}
	}
}

// restored undoes interleaved.
func restored(rows [][]float64) [][]float64 {
	out := make([][]float64, len(rows))
	for h := range heads {
		for i := range headDim / 2 {
			out[h*headDim+i], out[h*headDim+headDim/2+i] = rows[h*headDim+2*i], rows[h*headDim+2*i+1]
		}
	}
	return out
}

func absolute(x tensor) tensor {
	out := tensor{dtype: x.dtype, shape: x.shape}
	for _, v := range x.values {
		out.values = append(out.values, math.Abs(v))
	}
	return out
}

func TestConvertRefuses(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const module = "model.layers.0.mlp.up_proj"
	for _, c := range []struct {
		name    string
		change  func(p pack, b file)
		want    string
		instead bool // it can be merged
	}{
		{"a module trained whole", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"norm"}
			p.file["base_model.model.model.norm.weight"] = random(rnd, "F32", width)
		}, "trained whole (modules_to_save): model.norm.weight", true},
		{"a resized embedding", func(p pack, _ file) {
			p.file["base_model.model.model.embed_tokens.weight"] = random(rnd, "F32", vocab, width)
		}, "trained whole", true},
		{"a score head", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"score"}
			p.file["base_model.model.score.weight"] = random(rnd, "F32", 3, width)
		}, "trained whole", true},
		{"an embedding", func(p pack, _ file) {
			p.config["target_modules"] = nil
			p.file["base_model.model.model.embed_tokens.lora_embedding_A"] = random(rnd, "F32", rank, vocab)
			p.file["base_model.model.model.embed_tokens.lora_embedding_B"] = random(rnd, "F32", width, rank)
		}, `"model.embed_tokens" is an embedding`, true},
		{"a tied head", func(p pack, _ file) {
			p.config["target_modules"] = nil
			p.pair(rnd, "F32", "lm_head", rank, [2]int{vocab, width})
		}, "changes the output matrix, which in the base is the embedding", true},
		{"transposed", func(p pack, _ file) { p.config["fan_in_fan_out"] = true }, "fan_in_fan_out", true},
		{"overflow", func(p pack, _ file) {
			p.config["alpha_pattern"] = object{"up_proj": 1e40}
		}, "too large for float32", true},
		{"not a number", func(p pack, _ file) {
			p.file["base_model.model."+module+".lora_B.weight"].values[0] = math.NaN()
		}, "not finite numbers", false},
		{"another width", func(p pack, _ file) { p.pair(rnd, "F32", module, rank, [2]int{forward, width + 1}) }, "make an update of 20 × 13, and the base's blk.0.ffn_up.weight is 20 × 12", false},
		{"another height", func(p pack, _ file) { p.pair(rnd, "F32", module, rank, [2]int{forward + 1, width}) }, "make an update of 21 × 12", false},
		{"another model", func(p pack, _ file) {
			p.pair(rnd, "F32", "model.layers.7.mlp.up_proj", rank, [2]int{forward, width})
		}, "2 adapter tensors have no place in the base", false},
		{"an incomplete file", func(p pack, _ file) { p.config["target_modules"] = []string{"q_proj", "up_proj", "down_proj"} }, "no tensors for 2 modules", false},
		{"twice", func(p pack, _ file) {
			p.pair(rnd, "F32", "model.language_model.layers.0.mlp.up_proj", rank, [2]int{forward, width})
		}, "another update of the same weights", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, b := adapter("F32"), base("F32")
			c.change(p, b)
			_, err := convert(t, p, ggufBase(t, "llama", b))
			fails(t, err, c.want)
			if errors.Is(err, lora.ErrMergeInstead) != c.instead {
				t.Errorf("%v: merge instead is not %v", err, c.instead)
			}
		})
	}
	_, err := convert(t, adapter("F32"), ggufBase(t, "mamba", base("F32")))
	fails(t, err, `architecture "mamba" is not one`)
}

// Heads that a header makes up are refused and not computed with.
func TestConvertChecksHeads(t *testing.T) {
	b := base("F32")
	for _, meta := range [][]gguf.Meta{
		nil,
		{{Key: "llama.attention.key_length", Value: uint32(5)}},
		{{Key: "llama.attention.key_length", Value: uint32(8)}},
		{{Key: "llama.attention.key_length", Value: uint64(1) << 40}},
		{{Key: "llama.embedding_length", Value: uint32(12)}, {Key: "llama.attention.head_count", Value: uint32(0)}, {Key: "llama.attention.key_length", Value: uint32(0)}},
	} {
		var list []gguftest.Tensor
		for _, x := range ggufBase(t, "llama", b).Tensors() {
			list = append(list, gguftest.Tensor(x))
		}
		f := parseGGUF(t, gguftest.Encode(append(meta, gguf.Meta{Key: "general.architecture", Value: "llama"}), list))
		if _, err := convert(t, adapter("F32"), f); err == nil || !strings.Contains(err.Error(), "heads") {
			t.Errorf("%v: %v", meta, err)
		}
	}
}

// plainAdapter is a file that passes, to be spoilt.
func plainAdapter() (meta []gguf.Meta, tensors []gguftest.Tensor) {
	meta = []gguf.Meta{
		{Key: "general.architecture", Value: "llama"}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"}, {Key: "adapter.lora.alpha", Value: float32(6)},
	}
	data := func(n int) []byte { return make([]byte, 4*n) }
	return meta, []gguftest.Tensor{
		{Name: "blk.0.ffn_up.weight.lora_a", Type: gguf.F32, Shape: []uint64{width, rank}, Data: data(width * rank)},
		{Name: "blk.0.ffn_up.weight.lora_b", Type: gguf.F32, Shape: []uint64{rank, forward}, Data: data(rank * forward)},
	}
}

func TestCheckGGUF(t *testing.T) {
	base := ggufBase(t, "llama", base("F32"))
	set := func(i int, value any) func(m []gguf.Meta, _ []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) {
		return func(m []gguf.Meta, x []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) {
			m[i].Value = value
			return m, x
		}
	}
	tensor := func(i int, change func(*gguftest.Tensor)) func(m []gguf.Meta, _ []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) {
		return func(m []gguf.Meta, x []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) {
			change(&x[i])
			return m, x
		}
	}
	for _, c := range []struct {
		name   string
		change func([]gguf.Meta, []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor)
		want   string // empty: it passes
	}{
		{"as it is", set(0, "llama"), ""},
		{"alpha 0", set(3, float32(0)), ""},
		{"another architecture", set(0, "qwen3"), `architecture "qwen3", and the base is "llama"`},
		{"a model", set(1, "model"), `it is no adapter`},
		{"no text", set(1, uint32(7)), `it is no adapter`},
		{"another kind", set(2, "ia3"), `adapter.type is "ia3"`},
		{"alpha of another type", set(3, uint32(6)), "adapter.lora.alpha is no float32"},
		{"a wide alpha", set(3, 6.0), "adapter.lora.alpha is no float32"},
		{"a negative alpha", set(3, float32(-1)), "adapter.lora.alpha is no float32 of 0 or more"},
		{"no number", set(3, float32(math.NaN())), "adapter.lora.alpha is no float32 of 0 or more"},
		{"activated", func(m []gguf.Meta, x []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) {
			return append(m, gguf.Meta{Key: "adapter.alora.invocation_tokens", Value: []uint32{1}}), x
		}, `"adapter.alora.invocation_tokens" is unknown here`},
		{"nothing", func(m []gguf.Meta, _ []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) { return m, nil }, "no tensors"},
		{"half", func(m []gguf.Meta, x []gguftest.Tensor) ([]gguf.Meta, []gguftest.Tensor) { return m, x[:1] }, "has no other factor"},
		{"a norm", tensor(0, func(x *gguftest.Tensor) { x.Name = "output_norm.weight" }), "is not a factor"},
		{"a factor of a factor", tensor(0, func(x *gguftest.Tensor) { x.Name += ".lora_b" }), "weights that the base lacks"},
		{"another layer", tensor(0, func(x *gguftest.Tensor) { x.Name = "blk.9.ffn_up.weight.lora_a" }), "weights that the base lacks"},
		{"another width", tensor(0, func(x *gguftest.Tensor) { x.Shape[0], x.Data = width+1, make([]byte, 4*(width+1)*rank) }), "do not make an update"},
		{"another rank", tensor(0, func(x *gguftest.Tensor) { x.Shape[1], x.Data = rank+1, make([]byte, 4*width*(rank+1)) }), "do not make an update"},
		{"a vector", tensor(0, func(x *gguftest.Tensor) { x.Shape = []uint64{width * rank} }), "do not make an update"},
		{"integers", tensor(0, func(x *gguftest.Tensor) { x.Type, x.Shape[0], x.Data = gguf.Q8_0, 32, make([]byte, 34*rank) }), "do not make an update"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, x := c.change(plainAdapter())
			err := lora.CheckGGUF(base, parseGGUF(t, gguftest.Encode(m, x)))
			if c.want == "" && err != nil {
				t.Error(err)
			} else if c.want != "" {
				fails(t, err, c.want)
			}
		})
	}
}

// Whatever an adapter's file holds, checking it ends, and one that passes fits.
func FuzzCheckGGUF(f *testing.F) {
	base := ggufBase(f, "llama", base("F32"))
	f.Add(gguftest.Encode(plainAdapter()))
	f.Fuzz(func(t *testing.T, data []byte) {
		adapter, err := gguf.Parse(data)
		if err != nil || lora.CheckGGUF(base, adapter) != nil {
			return
		}
		for _, x := range adapter.Tensors() {
			if len(x.Shape) != 2 {
				t.Error(fmt.Sprint(x.Name, x.Shape))
			}
		}
	})
}
