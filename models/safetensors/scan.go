package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// Header is what a file says of one of its tensors.
type Header struct {
	Name   string
	DType  string // "F32", "F16" or "BF16"
	Shape  []int  // empty for a single value
	Offset int64  // of its bytes in the file
	Size   int64  // in bytes
}

// Scan reads the header of a file of size bytes and not its tensors, which it
// returns in the order of their bytes. It refuses what Parse refuses.
func Scan(r io.ReaderAt, size int64) ([]Header, error) {
	list, err := scan(size, func(offset, n int64) ([]byte, error) {
		part := make([]byte, n)
		_, err := io.ReadFull(io.NewSectionReader(r, offset, n), part)
		return part, err
	})
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return list, nil
}

// scan gets n bytes of the file from part.
func scan(size int64, part func(offset, n int64) ([]byte, error)) ([]Header, error) {
	header, err := headerText(size, part)
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
	start := lengthSize + int64(len(header))
	body, next := uint64(size-start), uint64(0)
	list := make([]Header, len(entries))
	for i, e := range entries {
		if list[i], err = e.place(body, next); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", e.name, err)
		}
		list[i].Offset += start
		next = e.end
	}
	if next != body {
		return nil, fmt.Errorf("%d bytes behind the last tensor belong to none", body-next)
	}
	return list, nil
}

// lengthSize is the bytes of the number that a file begins with.
const lengthSize = 8

var pointer = []byte("version https://git-lfs")

// headerText returns the JSON header of a file.
func headerText(size int64, part func(offset, n int64) ([]byte, error)) ([]byte, error) {
	head, err := part(0, min(size, int64(len(pointer))))
	if err != nil {
		return nil, err
	}
	if bytes.Equal(head, pointer) {
		return nil, errors.New("the file is a Git LFS pointer, not the weights; fetch it with git lfs pull")
	}
	if size < lengthSize {
		return nil, fmt.Errorf("%w: has %d bytes, fewer than a header; download it again", ErrTruncated, size)
	}
	n := binary.LittleEndian.Uint64(head)
	if n > maxHeader {
		return nil, fmt.Errorf("not a safetensors file: its header would take %d bytes, more than %d", n, maxHeader)
	}
	if int64(n) > size-lengthSize {
		return nil, fmt.Errorf("%w: has %d bytes, and the header ends at %d; download it again", ErrTruncated, size, n+lengthSize)
	}
	text, err := part(lengthSize, int64(n))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte("{")) || !utf8.Valid(text) {
		return nil, errors.New("not a safetensors file: no JSON object in UTF-8 at byte 8")
	}
	return text, nil
}

// place checks an entry against a file with body bytes behind the header; next is
// where the tensor before ended.
func (e entry) place(body, next uint64) (Header, error) {
	size, err := e.size()
	if err != nil {
		return Header{}, err
	}
	shape := make([]int, len(e.shape))
	for i, n := range e.shape {
		shape[i] = int(n)
	}
	if e.end < e.begin || e.end-e.begin != size {
		return Header{}, fmt.Errorf("offsets %d to %d do not span the %d bytes of %s %v", e.begin, e.end, size, e.dtype, e.shape)
	}
	if e.begin != next {
		return Header{}, fmt.Errorf("begins at offset %d, not where the tensor before it ended, %d", e.begin, next)
	}
	if e.end > body {
		return Header{}, fmt.Errorf("%w: %d bytes follow the header, and the tensor ends at %d of them; download it again", ErrTruncated, body, e.end)
	}
	return Header{Name: e.name, DType: e.dtype, Shape: shape, Offset: int64(e.begin), Size: int64(size)}, nil
}

// size is the number of bytes that type and shape call for.
func (e entry) size() (uint64, error) {
	size, ok := elementSizes[e.dtype]
	if !ok {
		return 0, fmt.Errorf("type %q is not supported, only F32, F16 and BF16; export the weights unquantised", e.dtype)
	}
	for _, n := range e.shape {
		high, low := bits.Mul64(size, n)
		if high != 0 || n > 1<<31-1 {
			return 0, fmt.Errorf("shape %v is too large", e.shape)
		}
		size = low
	}
	return size, nil
}
