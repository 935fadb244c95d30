package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
)

// Meta is one metadata pair to write. Value is a string, a bool, a fixed-width
// integer, a float, or a slice of one of these.
type Meta struct {
	Key   string
	Value any
}

// Content is one tensor to write: Shape has the fastest-varying length first, and
// Write gives the Size bytes.
type Content struct {
	Name  string
	Type  Type
	Shape []uint64
	Size  int64
	Write func(io.Writer) error
}

const (
	writtenVersion = 3
	writtenAlign   = 32
)

// kinds are the format's numbers of the value types.
var kinds = map[reflect.Kind]uint32{
	reflect.Uint8: 0, reflect.Int8: 1, reflect.Uint16: 2, reflect.Int16: 3, reflect.Uint32: 4, reflect.Int32: 5,
	reflect.Float32: 6, reflect.Bool: 7, reflect.String: 8, reflect.Slice: 9, reflect.Uint64: 10, reflect.Int64: 11, reflect.Float64: 12,
}

// Write writes a version 3 file with the default alignment. Source of the format:
// docs/gguf.md of ggml.
func Write(w io.Writer, meta []Meta, tensors []Content) error {
	b := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	b.text("GGUF", false)
	b.put(uint32(writtenVersion))
	b.put(uint64(len(tensors)))
	b.put(uint64(len(meta)))
	for _, m := range meta {
		b.text(m.Key, true)
		v := reflect.ValueOf(m.Value)
		b.kind(v.Type())
		b.value(v)
	}
	offset := int64(0)
	for _, t := range tensors {
		b.text(t.Name, true)
		b.put(uint32(len(t.Shape)))
		b.put(t.Shape)
		b.put(uint32(t.Type))
		b.put(uint64(offset))
		offset = roundUp(offset + t.Size)
	}
	b.pad()
	for _, t := range tensors {
		start := b.n
		if b.err == nil {
			b.err = t.Write(b)
		}
		if b.err == nil && b.n-start != t.Size {
			b.err = fmt.Errorf("gguf: tensor %q was given %d bytes, not %d", t.Name, b.n-start, t.Size)
		}
		b.pad()
	}
	if b.err != nil {
		return b.err
	}
	return b.w.Flush()
}

// writer counts what it writes. Its first error sticks.
type writer struct {
	w   *bufio.Writer
	n   int64
	err error
}

// Write implements io.Writer.
func (b *writer) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.w.Write(p)
	b.n += int64(n)
	b.err = err
	return n, err
}

// put writes a value of fixed size.
func (b *writer) put(v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil && b.err == nil {
		b.err = err
	}
}

func (b *writer) text(s string, counted bool) {
	if counted {
		b.put(uint64(len(s)))
	}
	_, _ = io.WriteString(b, s) // the error sticks
}

func (b *writer) kind(t reflect.Type) {
	k, ok := kinds[t.Kind()]
	if !ok && b.err == nil {
		b.err = fmt.Errorf("gguf: no value type for %v", t)
	}
	b.put(k)
}

func (b *writer) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		b.text(v.String(), true)
	case reflect.Slice:
		b.kind(v.Type().Elem())
		b.put(uint64(v.Len()))
		for i := range v.Len() {
			b.value(v.Index(i))
		}
	default:
		b.put(v.Interface())
	}
}

func (b *writer) pad() { _, _ = b.Write(make([]byte, roundUp(b.n)-b.n)) }

func roundUp(n int64) int64 { return (n + writtenAlign - 1) / writtenAlign * writtenAlign }
