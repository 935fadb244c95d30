package enginetest

import (
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/safetensors"
)

// families are the goldens; testdata/make.py made them and says what they hold.
//
//go:embed testdata/families.json
var families []byte

// Golden is a small model with the logits that Hugging Face's transformers
// computes for it in float32.
type Golden struct {
	Name   string
	Tokens []labels.Token
	// Logits are those of every position over the vocabulary. A classifier has
	// its class scores at the last position only.
	Logits [][]float32

	config  json.RawMessage
	tensors map[string]goldenTensor
}

type goldenTensor struct {
	Shape  []int
	Mean   float64
	Spread float64
}

// Goldens returns a model of each family.
func Goldens(t testing.TB) []Golden {
	t.Helper()
	var file []struct {
		Name    string
		Config  json.RawMessage
		Tensors map[string]goldenTensor
		Tokens  []labels.Token
		Logits  string
	}
	if err := json.Unmarshal(families, &file); err != nil {
		t.Fatal(err)
	}
	list := make([]Golden, len(file))
	for i, f := range file {
		list[i] = Golden{Name: f.Name, Tokens: f.Tokens, config: f.Config, tensors: f.Tensors}
		data, err := base64.StdEncoding.DecodeString(f.Logits)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, len(data)/4)
		for j := range values {
			values[j] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*j:]))
		}
		rows := len(f.Tokens)
		if list[i].Classifier() {
			rows = 1
		}
		for n := len(values) / rows; len(values) > 0; values = values[n:] {
			list[i].Logits = append(list[i].Logits, values[:n])
		}
	}
	return list
}

// Classifier says whether the model has a classification head.
func (g Golden) Classifier() bool {
	_, ok := g.tensors["score.weight"]
	return ok
}

// HF opens the model as a Hugging Face folder would hold it.
func (g Golden) HF(t testing.TB) checkpoint.Checkpoint {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	add := func(name string, x goldenTensor) {
		start := len(data)
		data = x.fill(data, name)
		header[name] = map[string]any{"dtype": "F32", "shape": x.Shape, "data_offsets": []int{start, len(data)}}
	}
	var config struct {
		Layers int `json:"num_hidden_layers"`
	}
	if err := json.Unmarshal(g.config, &config); err != nil {
		t.Fatal(err)
	}
	for name, x := range g.tensors {
		if !strings.Contains(name, ".N.") {
			add(name, x)
			continue
		}
		for i := range config.Layers {
			add(strings.Replace(name, ".N.", fmt.Sprintf(".%d.", i), 1), x)
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	parsed, err := safetensors.Parse(append(file, data...))
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.FromHF(g.config, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return ck
}

// fill appends a tensor's values, as make.py's fill does.
func (x goldenTensor) fill(data []byte, name string) []byte {
	h := fnv.New32a()
	h.Write([]byte(name)) // a hash takes everything
	seed, n := h.Sum32(), 1
	for _, length := range x.Shape {
		n *= length
	}
	for i := range n {
		v := uint32(i)*0x9e3779b9 + seed
		v = (v ^ v>>16) * 0x7feb352d
		v = (v ^ v>>15) * 0x846ca68b
		v ^= v >> 16
		u := float64(v>>8) / (1 << 24)
		spread := float64(x.Spread * (2*u - 1)) // rounded: no fused multiply-add
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(x.Mean+spread)))
	}
	return data
}

// GGUF writes the model as llama.cpp's converter does: other names, the norms of
// gemma3 with their 1, and llama's rotated rows interleaved. It is false where
// the format cannot say what the model is: a qwen2 with a sliding window, or
// queries scaled by another number than the size of a head. Matrices are of type
// F32 or Q8_0.
func (g Golden) GGUF(t testing.TB, matrices gguf.Type) (m Model, ok bool) {
	t.Helper()
	ck := g.HF(t)
	c := ck.Config()
	if c.Architecture == "qwen2" && c.Window > 0 || c.QueryScale != 1/math.Sqrt(float64(c.HeadDim)) {
		return m, false
	}
	w := ggufWriter{ck: ck, cfg: c, matrices: matrices}
	w.meta = []gguftest.Meta{{Key: "general.architecture", Value: c.Architecture}}
	w.set("block_count", uint32(c.Layers))
	w.set("context_length", uint32(c.Context))
	w.set("embedding_length", uint32(c.Width))
	w.set("feed_forward_length", uint32(c.FeedForward))
	w.set("attention.head_count", uint32(c.Heads))
	w.set("attention.head_count_kv", uint32(c.KVHeads))
	w.set("attention.key_length", uint32(c.HeadDim))
	w.set("attention.value_length", uint32(c.HeadDim))
	w.set("attention.layer_norm_rms_epsilon", float32(c.NormEpsilon))
	w.set("rope.freq_base", float32(c.RopeBase))
	if c.Window > 0 {
		w.set("attention.sliding_window", uint32(c.Window))
	}
	if c.LocalRopeBase > 0 {
		w.set("rope.freq_base_swa", float32(c.LocalRopeBase))
	}
	if c.RopeScaling == "linear" {
		factors, _ := ck.Tensor("rope_freqs.weight")
		one := make([]float32, factors.Cols)
		factors.Row(one, 0)
		w.set("rope.scaling.type", "linear")
		w.set("rope.scaling.factor", one[0])
	}
	if len(c.Classes) > 0 {
		w.set("classifier.output_labels", c.Classes)
	}
	w.all()
	return Model{gguftest.Encode(w.meta, w.tensors)}, true
}

type ggufWriter struct {
	ck       checkpoint.Checkpoint
	cfg      checkpoint.Config
	matrices gguf.Type
	meta     []gguftest.Meta
	tensors  []gguftest.Tensor
}

func (w *ggufWriter) set(key string, value any) {
	w.meta = append(w.meta, gguftest.Meta{Key: w.cfg.Architecture + "." + key, Value: value})
}

// all writes every tensor that the model has.
func (w *ggufWriter) all() {
	names := []string{"token_embd.weight", "output_norm.weight", "output.weight", "cls.output.weight"}
	if w.cfg.RopeScaling == "llama3" {
		names = append(names, "rope_freqs.weight")
	}
	for i := range w.cfg.Layers {
		for _, part := range []string{"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm",
			"post_attention_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm"} {
			names = append(names, fmt.Sprintf("blk.%d.%s.weight", i, part), fmt.Sprintf("blk.%d.%s.bias", i, part))
		}
	}
	for _, name := range names {
		if x, ok := w.ck.Tensor(name); ok {
			w.tensors = append(w.tensors, w.tensor(name, x))
		}
	}
}

func (w *ggufWriter) tensor(name string, x checkpoint.Tensor) gguftest.Tensor {
	out := gguftest.Tensor{Name: name, Type: gguf.F32, Shape: []uint64{uint64(x.Cols), uint64(x.Rows)}}
	if x.Rows == 1 {
		out.Shape = out.Shape[:1]
	} else {
		out.Type = w.matrices
	}
	rotated := w.cfg.Architecture == "llama" && (strings.HasSuffix(name, "attn_q.weight") || strings.HasSuffix(name, "attn_k.weight"))
	row := make([]float32, x.Cols)
	for i := range x.Rows {
		if rotated {
			d := w.cfg.HeadDim
			x.Row(row, i/d*d+i%2*(d/2)+i%d/2)
		} else {
			x.Row(row, i)
		}
		out.Data = appendRow(out.Data, row, out.Type)
	}
	return out
}

func appendRow(data []byte, row []float32, t gguf.Type) []byte {
	if t == gguf.F32 {
		for _, v := range row {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		return data
	}
	for ; len(row) > 0; row = row[t.BlockSize():] {
		data = appendQ8(data, row[:t.BlockSize()])
	}
	return data
}

// appendQ8 writes a block of Q8_0: a float16 scale and 32 int8.
func appendQ8(data []byte, x []float32) []byte {
	var top float32
	for _, v := range x {
		top = max(top, v, -v)
	}
	scale := (math.Float32bits(top/127)>>13 + 1) << 13 // up to a float16: no value passes 127
	data = binary.LittleEndian.AppendUint16(data, uint16(scale>>13-(127-15)<<10))
	for _, v := range x {
		data = append(data, byte(int8(math.RoundToEven(float64(v/math.Float32frombits(scale))))))
	}
	return data
}
