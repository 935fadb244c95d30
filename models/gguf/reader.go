package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds on what a header may claim. Real files stay far below: a vocabulary of
// 260,000 tokens takes 12 MB, the largest models have some thousand tensors.
const (
	maxHeader  = 256 << 20 // bytes before the tensors' data
	maxKeys    = 1 << 16
	maxTensors = 1 << 16
	maxKey     = 1<<16 - 1 // bytes in a key; the format's own bound
	maxName    = 64        // bytes in a tensor's name; the format's own bound
)

// ErrTruncated is wrapped by the error for a file that ends too early.
var ErrTruncated = errors.New("the file is truncated")

// reader walks a header. Its first error sticks, and from then on it yields zeros.
type reader struct {
	data []byte // the file, or the first maxHeader bytes of it
	size int    // of the whole file
	off  int
	err  error
}

func newReader(file []byte) *reader {
	return &reader{data: file[:min(len(file), maxHeader)], size: len(file)}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) left() uint64 { return uint64(len(r.data) - r.off) }

// take yields the next n bytes, which what names.
func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > r.left() {
		r.short(what, n)
		return nil
	}
	b := r.data[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return b
}

// short records that n things or bytes called what do not fit.
func (r *reader) short(what string, n uint64) {
	if r.size > len(r.data) {
		r.fail("byte %d: %s (%d) runs past the first %d bytes, the most that a header may take", r.off, what, n, len(r.data))
		return
	}
	r.fail("%w: has %d bytes, and %s (%d) at byte %d runs past the end; download it again", ErrTruncated, r.size, what, n, r.off)
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// text yields a length and that many bytes, at most limit.
func (r *reader) text(limit uint64, what string) string {
	at := r.off
	n := r.u64(what)
	if r.err == nil && n > limit {
		r.fail("byte %d: %s has %d bytes, more than %d", at, what, n, limit)
	}
	return string(r.take(n, what))
}

// count yields a 64-bit count of things that take at least size bytes each.
func (r *reader) count(limit, size uint64, what string) int {
	at := r.off
	n := r.u64(what)
	if r.err == nil && n > limit {
		r.fail("byte %d: %s is %d, more than %d", at, what, n, limit)
	}
	if r.err == nil && n > r.left()/size {
		r.short(what, n)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}
