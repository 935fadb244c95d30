// Package safetensors reads and writes safetensors, Hugging Face's file format for
// weights: whole, from bytes in memory, or tensor by tensor. A file is hostile until parsed: its header is bounded,
// its JSON read strictly, and the tensors must tile the rest of the file exactly,
// as the format demands, without a hole or an overlap.
package safetensors

import (
	"errors"
	"fmt"
	"slices"
)

const (
	maxHeader = 100_000_000 // bytes; the format's own bound
	maxDims   = 8
	// maxTensors is far above what models have: the largest, some ten thousand.
	maxTensors = 1 << 17
)

// ErrTruncated is wrapped by the error for a file that ends too early.
var ErrTruncated = errors.New("the file is truncated")

// elementSizes holds the bytes of a value of each type that is read.
var elementSizes = map[string]uint64{"F32": 4, "F16": 2, "BF16": 2}

// File is a parsed safetensors file.
type File struct {
	tensors []Tensor
	index   map[string]int
}

// Tensor is one tensor of a file. Data is a part of the bytes given to Parse:
// little-endian values, the last dimension varying fastest.
type Tensor struct {
	Name  string
	DType string // "F32", "F16" or "BF16"
	Shape []int  // empty for a single value
	Data  []byte
}

// Tensors returns the tensors in the order of their bytes.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Parse reads the header of a whole safetensors file. The tensors' Data stay
// parts of data, so it must outlive them; everything else is copied.
// The format is described at huggingface.co/docs/safetensors.
func Parse(data []byte) (*File, error) {
	list, err := scan(int64(len(data)), func(offset, n int64) ([]byte, error) { return data[offset : offset+n], nil })
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f := &File{index: make(map[string]int, len(list))}
	for i, h := range list {
		end := h.Offset + h.Size
		f.index[h.Name] = i
		f.tensors = append(f.tensors, Tensor{Name: h.Name, DType: h.DType, Shape: h.Shape, Data: data[h.Offset:end:end]})
	}
	return f, nil
}
