package lora_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/lora"
	"cubby/models/safetensors"
)

// object is a JSON object.
type object = map[string]any

// tensor is a small tensor of a test's file.
type tensor struct {
	dtype  string
	shape  []int
	values []float64
}

// file is the tensors of a safetensors file.
type file map[string]tensor

// random makes a tensor of values that its type holds exactly.
func random(rnd *rand.Rand, dtype string, shape ...int) tensor {
	t := tensor{dtype: dtype, shape: shape, values: make([]float64, product(shape))}
	for i := range t.values {
		t.values[i] = float64(rnd.IntN(255)-127) / 64
	}
	return t
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func (t tensor) bytes() (data []byte) {
	for _, v := range t.values {
		switch t.dtype {
		case "F32":
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
		case "F16":
			data = binary.LittleEndian.AppendUint16(data, gguf.ToFloat16(float32(v)))
		case "BF16":
			data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float32(v))>>16))
		}
	}
	return data
}

func (f file) bytes(t testing.TB) []byte {
	t.Helper()
	var list []safetensors.Content
	for _, name := range slices.Sorted(maps.Keys(f)) {
		x := f[name]
		list = append(list, safetensors.Content{Name: name, DType: x.dtype, Shape: x.shape, Write: func(w io.Writer) error {
			_, err := w.Write(x.bytes())
			return err
		}})
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Sizes of the base: two layers.
const vocab, width, forward, rank = 7, 12, 20, 3

// base is a model with a tied embedding.
func base(dtype string) file {
	rnd := rand.New(rand.NewPCG(1, 2))
	f := file{"model.embed_tokens.weight": random(rnd, dtype, vocab, width), "model.norm.weight": random(rnd, dtype, width)}
	for _, l := range []string{"model.layers.0.", "model.layers.1."} {
		f[l+"self_attn.q_proj.weight"] = random(rnd, dtype, width, width)
		f[l+"mlp.up_proj.weight"] = random(rnd, dtype, forward, width)
		f[l+"mlp.down_proj.weight"] = random(rnd, dtype, width, forward)
		f[l+"input_layernorm.weight"] = random(rnd, dtype, width)
	}
	return f
}

// adapted are the modules with an update, by the shape of their weights.
var adapted = map[string][2]int{
	"model.layers.0.self_attn.q_proj": {width, width}, "model.layers.1.self_attn.q_proj": {width, width},
	"model.layers.0.mlp.up_proj": {forward, width}, "model.layers.1.mlp.up_proj": {forward, width},
}

// pack is an adapter under construction.
type pack struct {
	config object
	file   file
}

// adapter is a plain one.
func adapter(dtype string) pack {
	p := pack{config: object{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/base", "r": rank, "lora_alpha": 6, "bias": "none",
		"target_modules": []string{"q_proj", "up_proj"}, "lora_dropout": 0.1, "qalora_group_size": 16, "use_dora": false, "modules_to_save": nil,
	}, file: file{}}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, module := range slices.Sorted(maps.Keys(adapted)) {
		p.pair(rnd, dtype, module, rank, adapted[module])
	}
	return p
}

func (p pack) pair(rnd *rand.Rand, dtype, module string, rank int, shape [2]int) {
	p.file["base_model.model."+module+".lora_A.weight"] = random(rnd, dtype, rank, shape[1])
	p.file["base_model.model."+module+".lora_B.weight"] = random(rnd, dtype, shape[0], rank)
}

func (p pack) open(t testing.TB) (*lora.Adapter, error) {
	t.Helper()
	config, err := json.Marshal(p.config)
	if err != nil {
		t.Fatal(err)
	}
	data := p.file.bytes(t)
	return lora.Open(config, bytes.NewReader(data), int64(len(data)))
}

// product is B·A of a module, at [row*cols+col] of the weight that transformers
// stores as outputs × inputs.
func (p pack) product(module string) []float64 {
	a, b := p.file["base_model.model."+module+".lora_A.weight"], p.file["base_model.model."+module+".lora_B.weight"]
	return multiply(a, b)
}

func multiply(a, b tensor) []float64 {
	r, cols := a.shape[0], a.shape[1]
	out := make([]float64, b.shape[0]*cols)
	for i := range b.shape[0] {
		for j := range cols {
			for k := range r {
				out[i*cols+j] += b.values[i*r+k] * a.values[k*cols+j]
			}
		}
	}
	return out
}

// files makes the base's files of tensors.
func files(t testing.TB, list ...file) (out []lora.File) {
	for i, f := range list {
		data := f.bytes(t)
		out = append(out, lora.File{Name: string(rune('a'+i)) + ".safetensors", R: bytes.NewReader(data), Size: int64(len(data))})
	}
	return out
}

// merge merges and reads the result.
func merge(t testing.TB, p pack, b lora.Base) (*safetensors.File, *lora.Merge) {
	t.Helper()
	a, err := p.open(t)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Plan(b)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// nearest rounds to a type by trying both neighbours, slowly and plainly.
func nearest(v float64, dtype string) float64 {
	if dtype == "F32" {
		return float64(float32(v))
	}
	lo, hi := 0, 0x7c00
	value := func(h int) float64 { return float64(gguf.Float16(uint16(h))) }
	if dtype == "BF16" {
		hi = 0x7f80
		value = func(h int) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }
	}
	size := math.Abs(v)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; value(mid) <= size {
			lo = mid
		} else {
			hi = mid
		}
	}
	if below, above := size-value(lo), value(hi)-size; above < below || above == below && hi%2 == 0 {
		lo = hi
	}
	return math.Copysign(value(lo), v)
}

// want demands the values of a merged tensor, each rounded once.
func want(t *testing.T, f *safetensors.File, name, dtype string, shape []int, values []float64) {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %q", name)
	}
	if x.DType != dtype || !slices.Equal(x.Shape, shape) {
		t.Fatalf("%s is %s %v, want %s %v", name, x.DType, x.Shape, dtype, shape)
	}
	got := make([]float32, len(values))
	gguf.Dequantize(got, x.Data, map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}[dtype])
	for i, v := range values {
		if w := nearest(v, dtype); float64(got[i]) != w {
			t.Fatalf("%s: value %d is %v, want %v, rounded from %v", name, i, got[i], w, v)
		}
	}
}

func sum(w []float64, scale float64, delta []float64) []float64 {
	out := slices.Clone(w)
	for i := range out {
		out[i] += scale * delta[i]
	}
	return out
}

// fails wants an error that holds a text.
func fails(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one that holds %q", err, text)
	}
}
