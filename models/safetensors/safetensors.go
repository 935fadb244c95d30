// Package safetensors reads safetensors, Hugging Face's file format for weights,
// from bytes in memory. A file is hostile until parsed: its header is bounded,
// its JSON read strictly, and the tensors must tile the rest of the file exactly,
// as the format demands, without a hole or an overlap.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const (
	maxHeader = 100_000_000 // bytes; the format's own bound
	maxDims   = 8
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
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	header, body, err := split(data)
	if err != nil {
		return nil, err
	}
	entries, err := readHeader(header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	f := &File{index: make(map[string]int, len(entries))}
	next := uint64(0)
	for _, e := range entries {
		t, err := e.tensor(body, next)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", e.name, err)
		}
		f.index[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
		next = e.end
	}
	if next != uint64(len(body)) {
		return nil, fmt.Errorf("%d bytes behind the last tensor belong to none", uint64(len(body))-next)
	}
	return f, nil
}

// split parts a file into its JSON header and the tensors' bytes.
func split(data []byte) (header, body []byte, err error) {
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return nil, nil, errors.New("the file is a Git LFS pointer, not the weights; fetch it with git lfs pull")
	}
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("%w: has %d bytes, fewer than a header; download it again", ErrTruncated, len(data))
	}
	n, rest := binary.LittleEndian.Uint64(data), data[8:]
	if n > maxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: its header would take %d bytes, more than %d", n, maxHeader)
	}
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("%w: has %d bytes, and the header ends at %d; download it again", ErrTruncated, len(data), n+8)
	}
	header = rest[:n]
	if !bytes.HasPrefix(header, []byte("{")) || !utf8.Valid(header) {
		return nil, nil, errors.New("not a safetensors file: no JSON object in UTF-8 at byte 8")
	}
	return header, rest[n:], nil
}

// tensor checks an entry against the file; next is where the tensor before ended.
func (e entry) tensor(body []byte, next uint64) (Tensor, error) {
	size, ok := elementSizes[e.dtype]
	if !ok {
		return Tensor{}, fmt.Errorf("type %q is not supported, only F32, F16 and BF16; export the weights unquantised", e.dtype)
	}
	shape := make([]int, len(e.shape))
	for i, n := range e.shape {
		high, low := bits.Mul64(size, n)
		if high != 0 || n > 1<<31-1 {
			return Tensor{}, fmt.Errorf("shape %v is too large", e.shape)
		}
		size, shape[i] = low, int(n)
	}
	if e.end < e.begin || e.end-e.begin != size {
		return Tensor{}, fmt.Errorf("offsets %d to %d do not span the %d bytes of %s %v", e.begin, e.end, size, e.dtype, e.shape)
	}
	if e.begin != next {
		return Tensor{}, fmt.Errorf("begins at offset %d, not where the tensor before it ended, %d", e.begin, next)
	}
	if e.end > uint64(len(body)) {
		return Tensor{}, fmt.Errorf("%w: %d bytes follow the header, and the tensor ends at %d of them; download it again", ErrTruncated, len(body), e.end)
	}
	return Tensor{Name: e.name, DType: e.dtype, Shape: shape, Data: body[e.begin:e.end:e.end]}, nil
}
