package enginetest

import (
	"bytes"
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
	"cubby/models/safetensors"
)

// families are the goldens; testdata/make.py made them and says what they hold.
//
//go:embed testdata/families.json
var families []byte

// foreign are those of families that the native engine does not run;
// testdata/make_foreign.py made them.
//
//go:embed testdata/foreign.json
var foreign []byte

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
	return goldens(t, families)
}

// Foreign returns models of families that the native engine does not run.
func Foreign(t testing.TB) []Golden {
	t.Helper()
	return goldens(t, foreign)
}

func goldens(t testing.TB, data []byte) []Golden {
	t.Helper()
	var file []struct {
		Name    string
		Config  json.RawMessage
		Tensors map[string]goldenTensor
		Tokens  []labels.Token
		Logits  string
	}
	if err := json.Unmarshal(data, &file); err != nil {
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
	parsed, err := safetensors.Parse(g.Safetensors(t))
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.FromHF(g.config, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return ck
}

// Safetensors is the model's file of weights, in float32.
func (g Golden) Safetensors(t testing.TB) []byte {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	add := func(name string, x goldenTensor) {
		start := len(data)
		data = x.fill(data, name)
		header[name] = map[string]any{"dtype": "F32", "shape": x.Shape, "data_offsets": []int{start, len(data)}}
	}
	var config struct {
		Layers int      `json:"num_hidden_layers"`
		Types  []string `json:"layer_types"`
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
			if i < len(config.Types) && !ofType(name, config.Types[i]) {
				continue
			}
			add(strings.Replace(name, ".N.", fmt.Sprintf(".%d.", i), 1), x)
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	return append(file, data...)
}

// ofType says whether a layer of a type has a tensor.
func ofType(name, layer string) bool {
	for part, types := range map[string]string{".self_attn.": "full_attention sliding_attention", ".N.conv.": "conv", ".linear_attn.": "linear_attention"} {
		if strings.Contains(name, part) && !strings.Contains(types, layer) {
			return false
		}
	}
	return true
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

// GGUF writes the model as llama.cpp's converter does. It is false where the
// format cannot say what the model is: a qwen2 with a sliding window, or queries
// scaled by another number than the size of a head. Matrices are of type F32 or
// Q8_0.
func (g Golden) GGUF(t testing.TB, matrices gguf.Type) (m Model, ok bool) {
	t.Helper()
	var b bytes.Buffer
	ck := g.HF(t)
	if matrices == gguf.Q8_0 {
		ck = quantized{ck}
	}
	if err := checkpoint.WriteGGUF(&b, ck, false); err != nil {
		t.Logf("%s: %v", g.Name, err)
		return m, false
	}
	return Model{b.Bytes()}, true
}

// quantized is a checkpoint with its matrices in Q8_0.
type quantized struct{ checkpoint.Checkpoint }

func (q quantized) Tensor(name string) (checkpoint.Tensor, bool) {
	x, ok := q.Checkpoint.Tensor(name)
	if !ok || x.Rows == 1 {
		return x, ok
	}
	out := checkpoint.Tensor{Type: gguf.Q8_0, Rows: x.Rows, Cols: x.Cols}
	row := make([]float32, x.Cols)
	for i := range x.Rows {
		x.Row(row, i)
		for rest := row; len(rest) > 0; rest = rest[gguf.Q8_0.BlockSize():] {
			out.Data = appendQ8(out.Data, rest[:gguf.Q8_0.BlockSize()])
		}
	}
	return out, true
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
