package quantize_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/quantize"
)

// shape is a small model with the tensors that recipes look at.
type shape struct {
	architecture   string
	layers, width  uint64
	experts        uint64
	untied, joined bool // a head of its own; queries, keys and values in one
	heads, kv      uint32
	everyOther     bool // attention in every other layer, as hybrid families have
	small          bool // vectors and matrices that are never rounded
}

// file encodes a model of that shape with random weights of type F32 or F16.
func (s shape) file(typ gguf.Type) []byte {
	r := rand.New(rand.NewPCG(s.layers, s.width))
	meta := []gguftest.Meta{{Key: "general.architecture", Value: s.architecture}, {Key: "general.file_type", Value: uint32(0)}, {Key: "general.alignment", Value: uint32(32)},
		{Key: "tokenizer.ggml.tokens", Value: []string{"a", "b"}}, {Key: "tokenizer.ggml.scores", Value: []float32{0, -1}}, {Key: "tokenizer.ggml.add_bos_token", Value: true}}
	for key, value := range map[string]any{
		"block_count": uint32(s.layers), "embedding_length": uint32(s.width), "feed_forward_length": uint32(2 * s.width), "attention.head_count": max(1, s.heads),
		"attention.head_count_kv": max(1, s.kv), "context_length": uint32(64), "attention.layer_norm_rms_epsilon": float32(1e-6), "attention.layer_norm_epsilon": float32(1e-6),
		"attention.key_length": uint32(32), "expert_count": uint32(s.experts), "expert_used_count": uint32(min(2, s.experts)), "vocab_size": uint32(8),
		"ssm.conv_kernel": uint32(4), "ssm.inner_size": uint32(s.width), "ssm.state_size": uint32(16), "ssm.time_step_rank": uint32(16), "ssm.group_count": uint32(1), "attention.sliding_window": uint32(8),
	} {
		meta = append(meta, gguftest.Meta{Key: s.architecture + "." + key, Value: value})
	}
	slices.SortFunc(meta, func(a, b gguftest.Meta) int { return strings.Compare(a.Key, b.Key) })
	var list []gguftest.Tensor
	add := func(name string, lengths ...uint64) {
		n := 1
		for _, l := range lengths {
			n *= int(l)
		}
		values, to := make([]float32, n), typ
		for i := range values {
			values[i] = float32(r.NormFloat64() * 0.05)
		}
		if len(lengths) == 1 {
			to = gguf.F32
		}
		list = append(list, gguftest.Tensor{Name: name, Type: to, Shape: lengths, Data: encode(values, to)})
	}
	w := s.width
	add("token_embd.weight", w, 8)
	add("output_norm.weight", w)
	if s.untied {
		add("output.weight", w, 8)
	}
	for i := range s.layers {
		blk := fmt.Sprintf("blk.%d.", i)
		add(blk+"attn_norm.weight", w)
		if !s.everyOther || i%2 == 1 {
			if s.joined {
				add(blk+"attn_qkv.weight", w, 6)
			} else {
				add(blk+"attn_q.weight", w, 4)
				add(blk+"attn_k.weight", w, 2)
				add(blk+"attn_v.weight", w, 2)
			}
			add(blk+"attn_output.weight", w, 4)
		} else {
			add(blk+"ssm_conv1d.weight", 4, w)
			add(blk+"ssm_in.weight", w, 4)
			add(blk+"ssm_dt.bias", w)
		}
		if s.small {
			add(blk+"ffn_gate_inp.weight", w, 4)
			add(blk+"attn_q_norm.weight", w, 2)
			add(blk+"attn_v.bias", w)
		}
		if s.experts > 0 {
			add(blk+"ffn_gate_exps.weight", w, 3, s.experts)
			add(blk+"ffn_up_exps.weight", w, 3, s.experts)
			add(blk+"ffn_down_exps.weight", 2*w, 2, s.experts)
		} else {
			add(blk+"ffn_gate.weight", w, 3)
			add(blk+"ffn_up.weight", w, 3)
			add(blk+"ffn_down.weight", 2*w, 2)
		}
	}
	return gguftest.Encode(meta, list)
}

func encode(values []float32, typ gguf.Type) []byte {
	b := make([]byte, typ.RowSize(len(values)))
	if err := quantize.Encode(b, values, typ); err != nil {
		panic(err)
	}
	return b
}

var shapes = map[string]shape{
	"tied":           {architecture: "llama", layers: 12, width: 256},
	"narrow":         {architecture: "llama", layers: 30, width: 576},
	"no block":       {architecture: "llama", layers: 2, width: 80},
	"untied, gqa":    {architecture: "qwen2", layers: 9, width: 512, untied: true, heads: 8, kv: 2, small: true},
	"80 layers":      {architecture: "llama", layers: 80, width: 256, untied: true, heads: 8, kv: 1},
	"80, heads each": {architecture: "llama", layers: 80, width: 256, untied: true, heads: 8, kv: 8},
	"8 experts":      {architecture: "llama", layers: 8, width: 256, experts: 8, untied: true, small: true},
	"4 experts":      {architecture: "qwen3moe", layers: 8, width: 256, experts: 4},
	"falcon":         {architecture: "falcon", layers: 32, width: 256, joined: true, untied: true},
	"joined":         {architecture: "phi3", layers: 10, width: 256, joined: true},
	"hybrid":         {architecture: "mamba", layers: 16, width: 256, everyOther: true},
}

// quantized writes a file's bytes rounded.
func quantized(t testing.TB, data []byte, s quantize.Scheme) (*gguf.File, error) {
	t.Helper()
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := quantize.NewPlan(f, s)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := p.Write(t.Context(), &out, nil); err != nil {
		return nil, err
	}
	if f, err = gguf.Parse(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return f, nil
}

// What llama-quantize of llama.cpp writes, tensor by tensor: types and bytes.
func TestFilesAreThoseOfLlamaQuantize(t *testing.T) {
	ollama := os.Getenv("CUBBY_TEST_OLLAMA")
	if ollama == "" {
		t.Skip("CUBBY_TEST_OLLAMA does not name an Ollama, beside which llama-quantize lies")
	}
	tool := filepath.Join(filepath.Dir(ollama), "..", "lib", "ollama", "llama-quantize")
	if _, err := os.Stat(tool); err != nil {
		t.Skip(err)
	}
	for name, s := range shapes {
		for _, scheme := range quantize.Schemes() {
			t.Run(name+", "+string(scheme), func(t *testing.T) {
				data := s.file(gguf.F32)
				in, out := filepath.Join(t.TempDir(), "in.gguf"), filepath.Join(t.TempDir(), "out.gguf")
				if err := os.WriteFile(in, data, 0o644); err != nil {
					t.Fatal(err)
				}
				if text, err := exec.Command(tool, in, out, strings.ToUpper(string(scheme)), "1").CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				want, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				theirs, err := gguf.Parse(want)
				if err != nil {
					t.Fatal(err)
				}
				ours, err := quantized(t, data, scheme)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, ours, theirs)
			})
		}
	}
}

func compare(t *testing.T, ours, theirs *gguf.File) {
	t.Helper()
	if a, b := len(ours.Tensors()), len(theirs.Tensors()); a != b {
		t.Errorf("%d tensors, want %d", a, b)
	}
	for _, x := range theirs.Tensors() {
		y, ok := ours.Tensor(x.Name)
		if !ok || x.Type != y.Type || !slices.Equal(x.Shape, y.Shape) {
			t.Errorf("%s: %s of %v, want %s of %v", x.Name, y.Type, y.Shape, x.Type, x.Shape)
		} else if !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s, %s: other bytes", x.Name, x.Type)
		}
	}
	for _, m := range theirs.Meta() {
		i := slices.IndexFunc(ours.Meta(), func(n gguf.Meta) bool { return n.Key == m.Key })
		if m.Key != "general.alignment" && (i < 0 || fmt.Sprintf("%T %v", ours.Meta()[i].Value, ours.Meta()[i].Value) != fmt.Sprintf("%T %v", m.Value, m.Value)) {
			t.Errorf("key %s: want %v", m.Key, m.Value)
		}
	}
}

// The same as told by hand, for machines without llama-quantize.
func TestRecipe(t *testing.T) {
	for _, c := range []struct {
		shape  string
		scheme quantize.Scheme
		types  map[string]gguf.Type
	}{
		{"tied", quantize.Q4_K_M, map[string]gguf.Type{
			"token_embd.weight": gguf.Q6_K, "output_norm.weight": gguf.F32, "blk.0.attn_norm.weight": gguf.F32, "blk.0.attn_q.weight": gguf.Q4_K,
			"blk.0.attn_v.weight": gguf.Q6_K, "blk.0.ffn_down.weight": gguf.Q6_K, "blk.1.ffn_down.weight": gguf.Q4_K, "blk.3.attn_v.weight": gguf.Q6_K, "blk.11.ffn_down.weight": gguf.Q6_K,
		}},
		{"tied", quantize.Q8_0, map[string]gguf.Type{"token_embd.weight": gguf.Q8_0, "blk.0.attn_v.weight": gguf.Q8_0, "blk.0.attn_norm.weight": gguf.F32}},
		{"narrow", quantize.Q4_K_M, map[string]gguf.Type{"token_embd.weight": gguf.Q8_0, "blk.0.attn_v.weight": gguf.Q8_0, "blk.3.attn_v.weight": gguf.Q5_0, "blk.3.ffn_down.weight": gguf.Q5_0}},
		{"narrow", quantize.Q5_K_M, map[string]gguf.Type{"blk.3.attn_v.weight": gguf.Q5_1, "blk.3.ffn_up.weight": gguf.Q5_1}},
		{"narrow", quantize.Q6_K, map[string]gguf.Type{"blk.3.attn_v.weight": gguf.Q8_0}},
		{"no block", quantize.Q4_K_M, map[string]gguf.Type{"blk.0.attn_q.weight": gguf.F16, "blk.1.ffn_down.weight": gguf.Q8_0}},
		{"untied, gqa", quantize.Q5_K_M, map[string]gguf.Type{
			"token_embd.weight": gguf.Q5_K, "output.weight": gguf.Q6_K, "blk.0.ffn_gate_inp.weight": gguf.F32, "blk.0.attn_q_norm.weight": gguf.F32, "blk.0.attn_v.bias": gguf.F32,
		}},
		{"80 layers", quantize.Q4_K_M, map[string]gguf.Type{"blk.10.attn_v.weight": gguf.Q5_K, "blk.0.attn_v.weight": gguf.Q6_K}},
		{"80, heads each", quantize.Q4_K_M, map[string]gguf.Type{"blk.10.attn_v.weight": gguf.Q4_K}},
		{"8 experts", quantize.Q4_K_M, map[string]gguf.Type{"blk.0.attn_k.weight": gguf.Q8_0, "blk.0.attn_v.weight": gguf.Q8_0, "blk.0.attn_output.weight": gguf.Q5_K, "blk.0.ffn_down_exps.weight": gguf.Q6_K}},
		{"falcon", quantize.Q4_K_M, map[string]gguf.Type{"output.weight": gguf.Q8_0, "blk.1.ffn_down.weight": gguf.Q6_K, "blk.3.ffn_down.weight": gguf.Q5_K}},
		{"hybrid", quantize.Q4_K_M, map[string]gguf.Type{"blk.0.ssm_conv1d.weight": gguf.F32, "blk.0.ssm_in.weight": gguf.Q4_K, "blk.1.attn_v.weight": gguf.Q6_K, "blk.3.attn_v.weight": gguf.Q4_K}},
	} {
		f, err := quantized(t, shapes[c.shape].file(gguf.F32), c.scheme)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range c.types {
			if x, ok := f.Tensor(name); !ok || x.Type != want {
				t.Errorf("%s to %s: %s is %s, want %s", c.shape, c.scheme, name, x.Type, want)
			}
		}
	}
}

// From every type that can be read, each file is as close to its source as the type
// allows, and what is written in fewer bits is smaller.
func TestSources(t *testing.T) {
	s := shape{architecture: "llama", layers: 3, width: 256, untied: true}
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q6_K} {
		data := s.file(typ)
		f, err := quantized(t, data, quantize.Q4_K_M)
		if err != nil {
			t.Fatalf("from %s: %v", typ, err)
		}
		source, err := gguf.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range source.Tensors() {
			y, _ := f.Tensor(x.Name)
			if e := relative(x, y); e > 0.09 {
				t.Errorf("from %s: %s as %s is off by %.3f", typ, x.Name, y.Type, e)
			}
		}
		if number, _ := f.Uint("general.file_type"); number != 15 || f.Has("general.alignment") {
			t.Errorf("from %s: file type %d", typ, number)
		}
	}
}

// relative is the root of the mean squared error over that of the values.
func relative(x, y gguf.Tensor) float64 {
	n := int(x.Shape[0])
	var e, whole float64
	for row := range len(x.Data) / x.Type.RowSize(n) {
		a, b := make([]float32, n), make([]float32, n)
		gguf.Dequantize(a, x.Data[row*x.Type.RowSize(n):][:x.Type.RowSize(n)], x.Type)
		gguf.Dequantize(b, y.Data[row*y.Type.RowSize(n):][:y.Type.RowSize(n)], y.Type)
		for i := range a {
			e += math.Pow(float64(a[i]-b[i]), 2)
			whole += math.Pow(float64(a[i]), 2)
		}
	}
	return math.Sqrt(e / whole)
}

func TestMoreBitsAreRefused(t *testing.T) {
	for _, c := range []struct {
		from gguf.Type
		to   quantize.Scheme
		want string // empty: nothing to do
	}{
		{gguf.Q8_0, quantize.F16, "Q8_0 (8.5 bits a weight) and f16 wants F16 (16)"},
		{gguf.Q4_K, quantize.Q8_0, "Q4_K (4.5 bits a weight) and q8_0 wants Q8_0 (8.5)"},
		{gguf.Q4_K, quantize.Q4_K_M, "q4_k_m wants Q6_K"},
		{gguf.Q8_0, quantize.Q8_0, ""},
		{gguf.F16, quantize.F16, ""},
	} {
		f, err := gguf.Parse((shape{architecture: "llama", layers: 4, width: 256}).file(c.from))
		if err != nil {
			t.Fatal(err)
		}
		p, err := quantize.NewPlan(f, c.to)
		var raise *quantize.RaiseError
		if c.want == "" {
			if err != nil || p.Changes() {
				t.Errorf("%s to %s: %v", c.from, c.to, err)
			}
		} else if !errors.As(err, &raise) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	matrix := func(typ gguf.Type, data []byte) []byte {
		return gguftest.Encode([]gguftest.Meta{{Key: "general.architecture", Value: "llama"}}, []gguftest.Tensor{{Name: "blk.0.attn_q.weight", Type: typ, Shape: []uint64{256, 2}, Data: data}})
	}
	values := make([]float32, 512)
	values[300] = float32(math.Inf(-1))
	raw := make([]byte, 2048)
	for i, v := range values {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"infinite": {matrix(gguf.F32, raw), `tensor "blk.0.attn_q.weight", row 1: value 44 is -Inf`},
		"unknown":  {matrix(28, make([]byte, 4096)), "is of type F64, which cannot be rounded"},
	} {
		if _, err := quantized(t, c.data, quantize.Q4_K_M); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := quantize.ParseScheme("q3_k_m"); err == nil || !strings.Contains(err.Error(), "[f16 q8_0 q6_k q5_k_m q4_k_m]") {
		t.Error(err)
	}
	if s, err := quantize.ParseScheme("Q4_K_M"); s != quantize.Q4_K_M || err != nil {
		t.Error(s, err)
	}
}

func TestWriteStops(t *testing.T) {
	f, err := gguf.Parse(shapes["tied"].file(gguf.F32))
	if err != nil {
		t.Fatal(err)
	}
	p, err := quantize.NewPlan(f, quantize.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Write(ctx, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	released := 0
	if err := p.Write(t.Context(), io.Discard, func() { released++ }); err != nil || released != len(f.Tensors()) {
		t.Error(released, err)
	}
}

// Whatever file is planned, it is refused or written whole.
func FuzzPlan(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if s := shapes[name]; s.layers < 12 {
			f.Add(s.file(gguf.F16), byte(4))
		}
	}
	f.Add((shape{architecture: "llama", layers: 1, width: 32}).file(gguf.F32), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, scheme byte) {
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		p, err := quantize.NewPlan(file, quantize.Schemes()[int(scheme)%len(quantize.Schemes())])
		if err != nil {
			return
		}
		var out bytes.Buffer
		if p.Write(t.Context(), &out, nil) != nil {
			return
		}
		again, err := gguf.Parse(out.Bytes())
		if err != nil || len(again.Tensors()) != len(file.Tensors()) {
			t.Fatal(err)
		}
	})
}
