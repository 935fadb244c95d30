package gguf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// The least bytes that a metadata pair and a tensor's description take.
const (
	minPair   = 8 + 1 + 4 + 1
	minTensor = 8 + 1 + 4 + 8 + 4 + 8
)

// Alignment of the tensors' data: the format's default, the key that sets
// another one, and the largest that is believed.
const (
	defaultAlignment = 32
	alignmentKey     = "general.alignment"
	maxAlignment     = 1 << 16
)

// Parse reads the header of a whole GGUF file. The tensors' Data stay parts of
// data, so it must outlive them; everything else is copied.
// The format is described at github.com/ggml-org/ggml, docs/gguf.md.
func Parse(data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	if err := checkPreamble(data); err != nil {
		return nil, err
	}
	r := newReader(data)
	r.take(8, "magic and version")
	tensors := r.count(maxTensors, minTensor, "tensor count")
	pairs := r.count(maxKeys, minPair, "metadata count")
	f := &File{values: make(map[string]value), index: make(map[string]int)}
	f.readPairs(r, pairs)
	offsets := f.readTensors(r, tensors)
	if r.err != nil {
		return nil, r.err
	}
	align, err := f.alignment()
	if err != nil {
		return nil, err
	}
	if err := f.place(data, r.off, align, offsets); err != nil {
		return nil, err
	}
	return f, nil
}

// checkPreamble names what other kind of file this is, if it is none we read.
func checkPreamble(data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("version https://git-lfs")):
		return fmt.Errorf("the file is a Git LFS pointer, not the weights; fetch it with git lfs pull")
	case len(data) < 24 && bytes.HasPrefix([]byte("GGUF"), data[:min(len(data), 4)]):
		return fmt.Errorf("%w: has %d bytes, fewer than a header; download it again", ErrTruncated, len(data))
	case !bytes.HasPrefix(data, []byte("GGUF")):
		return fmt.Errorf("byte 0: not a GGUF file: it begins with %q", data[:min(len(data), 4)])
	}
	switch version := binary.LittleEndian.Uint32(data[4:]); {
	case version == 2 || version == 3:
		return nil
	case version == 1:
		return fmt.Errorf("byte 4: GGUF version 1 is not supported; convert the model again with a current llama.cpp")
	case version&0xffff == 0 && version != 0:
		return fmt.Errorf("byte 4: big-endian GGUF is not supported; convert the model for a little-endian machine")
	default:
		return fmt.Errorf("byte 4: GGUF version %d is not supported, only 2 and 3", version)
	}
}

func (f *File) readPairs(r *reader, n int) {
	for i := 0; i < n && r.err == nil; i++ {
		at := r.off
		key := r.text(maxKey, "key")
		v := r.value()
		if _, seen := f.values[key]; r.err == nil && (seen || key == "") {
			r.fail("byte %d: key %q is empty or stands twice", at, key)
		} else if r.err != nil && key != "" {
			r.err = fmt.Errorf("metadata key %q: %w", key, r.err)
		}
		f.keys = append(f.keys, key)
		f.values[key] = v
	}
}

// readTensors reads the tensors' descriptions and returns their offsets, still unchecked.
func (f *File) readTensors(r *reader, n int) []uint64 {
	var offsets []uint64
	for i := 0; i < n && r.err == nil; i++ {
		at := r.off
		t := Tensor{Name: r.text(maxName, "tensor name")}
		t.Shape = r.shape()
		t.Type = Type(r.u32("tensor type"))
		offsets = append(offsets, r.u64("tensor offset"))
		if _, seen := f.index[t.Name]; r.err == nil && (seen || t.Name == "") {
			r.fail("byte %d: tensor name %q is empty or stands twice", at, t.Name)
		} else if r.err != nil {
			r.err = fmt.Errorf("tensor %d %q: %w", i, t.Name, r.err)
		}
		f.index[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	return offsets
}

func (r *reader) shape() []uint64 {
	at := r.off
	n := r.u32("number of dimensions")
	if r.err == nil && (n < 1 || n > 4) {
		r.fail("byte %d: %d dimensions, not 1 to 4", at, n)
	}
	if r.err != nil {
		return nil
	}
	shape := make([]uint64, n)
	for i := range shape {
		if shape[i] = r.u64("dimension"); shape[i] == 0 {
			r.fail("byte %d: dimension %d is 0", r.off-8, i)
		}
	}
	return shape
}

func (f *File) alignment() (uint64, error) {
	if _, ok := f.values[alignmentKey]; !ok {
		return defaultAlignment, nil
	}
	n, ok := f.Uint(alignmentKey)
	if !ok || bits.OnesCount64(n) != 1 || n > maxAlignment {
		return 0, fmt.Errorf("metadata key %q is not a power of two up to %d", alignmentKey, maxAlignment)
	}
	return n, nil
}

// place gives each tensor its bytes. Offsets count from the first aligned byte
// behind the header.
func (f *File) place(data []byte, header int, align uint64, offsets []uint64) error {
	base := (uint64(header) + align - 1) / align * align
	for i := range f.tensors {
		t := &f.tensors[i]
		size, err := t.size()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if offsets[i]%align != 0 {
			return fmt.Errorf("tensor %q: offset %d is not a multiple of the alignment %d", t.Name, offsets[i], align)
		}
		start, c1 := bits.Add64(base, offsets[i], 0)
		end, c2 := bits.Add64(start, size, 0)
		if c1|c2 != 0 {
			return fmt.Errorf("tensor %q: offset %d is out of range", t.Name, offsets[i])
		}
		if end > uint64(len(data)) {
			return fmt.Errorf("%w: has %d bytes, and tensor %q ends at %d; download it again", ErrTruncated, len(data), t.Name, end)
		}
		t.Data = data[start:end:end]
	}
	return f.checkOverlap(offsets)
}

// size is the number of bytes of a tensor, or what is wrong with its shape.
func (t *Tensor) size() (uint64, error) {
	l := t.Type.layout()
	if l.name == "" {
		return 0, fmt.Errorf("%s is unknown; the file may need a newer version of this program", t.Type)
	}
	if t.Shape[0]%uint64(l.values) != 0 {
		return 0, fmt.Errorf("rows of %d values are not whole blocks of %s, %d values each", t.Shape[0], l.name, l.values)
	}
	size := t.Shape[0] / uint64(l.values)
	for _, n := range append([]uint64{uint64(l.bytes)}, t.Shape[1:]...) {
		high, low := bits.Mul64(size, n)
		if high != 0 {
			return 0, fmt.Errorf("shape %v of %s has no size that fits 64 bits", t.Shape, l.name)
		}
		size = low
	}
	return size, nil
}

// checkOverlap refuses tensors that share bytes: no honest file has them.
func (f *File) checkOverlap(offsets []uint64) error {
	order := make([]int, len(offsets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(offsets[a], offsets[b]) })
	for k := 1; k < len(order); k++ {
		a, b := order[k-1], order[k]
		if offsets[b]-offsets[a] < uint64(len(f.tensors[a].Data)) {
			return fmt.Errorf("tensors %q and %q overlap at offset %d", f.tensors[a].Name, f.tensors[b].Name, offsets[b])
		}
	}
	return nil
}
