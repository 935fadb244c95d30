package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	upstream "github.com/ollama/ollama/convert"

	"cubby/models/gguf"
	"cubby/models/safetensors"
)

// tensor is a tensor of a safetensors file as the other converter sees it.
type tensor struct {
	name   string
	shape  []uint64
	source gguf.Type
	data   []byte
	repack upstream.Repacker
}

var types = map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

func newTensor(name string, t safetensors.Tensor) (*tensor, error) {
	if len(t.Shape) < 1 || len(t.Shape) > 4 || slices.Contains(t.Shape, 0) {
		return nil, fmt.Errorf("tensor %q of shape %v is no weight", t.Name, t.Shape)
	}
	shape := make([]uint64, len(t.Shape))
	for i, n := range t.Shape {
		shape[i] = uint64(n)
	}
	return &tensor{name: name, shape: shape, source: types[t.DType], data: t.Data}, nil
}

// Name implements upstream.Tensor, as the methods below do.
func (t *tensor) Name() string { return t.name }

// Shape has the fastest-varying length last.
func (t *tensor) Shape() []uint64 { return t.shape }

// Kind is F32 for vectors and convolutions, which llama.cpp computes in it, and the
// type in the file for all else.
func (t *tensor) Kind() uint32 {
	if len(t.shape) == 1 || strings.HasSuffix(t.name, ".shortconv.conv.weight") || strings.HasSuffix(t.name, ".ssm_conv1d.weight") {
		return uint32(gguf.F32)
	}
	return uint32(t.source)
}

// SetRepacker sets what the values go through.
func (t *tensor) SetRepacker(f upstream.Repacker) { t.repack = f }

// Clone returns a tensor that can have another repacker.
func (t *tensor) Clone() upstream.Tensor {
	c := *t
	return &c
}

// WriteTo writes the values in the type of Kind.
func (t *tensor) WriteTo(w io.Writer) (int64, error) {
	if t.repack == nil && t.Kind() == uint32(t.source) {
		n, err := w.Write(t.data)
		return int64(n), err
	}
	values := make([]float32, len(t.data)/t.source.RowSize(1))
	gguf.Dequantize(values, t.data, t.source)
	if t.repack != nil {
		var err error
		if values, err = t.repack(t.name, values, slices.Clone(t.shape)); err != nil {
			return 0, fmt.Errorf("tensor %q: %w", t.name, err)
		}
	}
	out, err := encode(values, gguf.Type(t.Kind()))
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.name, err)
	}
	n, err := w.Write(out)
	return int64(n), err
}

// encode writes values in a type that holds them exactly: they have come from it,
// in another order.
func encode(values []float32, t gguf.Type) ([]byte, error) {
	out := make([]byte, 0, len(values)*t.RowSize(1))
	for _, v := range values {
		bits := math.Float32bits(v)
		switch t {
		case gguf.F32:
			out = binary.LittleEndian.AppendUint32(out, bits)
		case gguf.F16:
			out = binary.LittleEndian.AppendUint16(out, gguf.ToFloat16(v))
		case gguf.BF16:
			if bits&0xffff != 0 {
				return nil, fmt.Errorf("%g does not fit the type %s", v, t)
			}
			out = binary.LittleEndian.AppendUint16(out, uint16(bits>>16))
		}
	}
	return out, nil
}
