// Package gguftest writes small GGUF files for tests.
package gguftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"

	"cubby/models/gguf"
)

// Meta is one metadata pair. Value is a string, a bool, a fixed-width integer, a
// float, or a slice of one of these.
type Meta struct {
	Key   string
	Value any
}

// Tensor is one tensor. Shape has the fastest-varying length first; Data holds
// the bytes of type Type, whatever their number.
type Tensor struct {
	Name  string
	Type  gguf.Type
	Shape []uint64
	Data  []byte
}

const (
	version   = 3
	alignment = 32
)

// The format's numbers of the value types.
var kinds = map[reflect.Kind]uint32{
	reflect.Uint8: 0, reflect.Int8: 1, reflect.Uint16: 2, reflect.Int16: 3, reflect.Uint32: 4, reflect.Int32: 5,
	reflect.Float32: 6, reflect.Bool: 7, reflect.String: 8, reflect.Slice: 9, reflect.Uint64: 10, reflect.Int64: 11, reflect.Float64: 12,
}

// Encode returns the bytes of a version 3 file with the default alignment. It
// panics on a value of a type that the format lacks.
func Encode(meta []Meta, tensors []Tensor) []byte {
	var b bytes.Buffer
	b.WriteString("GGUF")
	put(&b, uint32(version))
	put(&b, uint64(len(tensors)))
	put(&b, uint64(len(meta)))
	for _, m := range meta {
		text(&b, m.Key)
		v := reflect.ValueOf(m.Value)
		put(&b, kindOf(v.Type()))
		value(&b, v)
	}
	offset := 0
	for _, t := range tensors {
		describe(&b, t, offset)
		offset = aligned(offset + len(t.Data))
	}
	pad(&b)
	for _, t := range tensors {
		b.Write(t.Data)
		pad(&b)
	}
	return b.Bytes()
}

func describe(b *bytes.Buffer, t Tensor, offset int) {
	text(b, t.Name)
	put(b, uint32(len(t.Shape)))
	put(b, t.Shape)
	put(b, uint32(t.Type))
	put(b, uint64(offset))
}

func kindOf(t reflect.Type) uint32 {
	k, ok := kinds[t.Kind()]
	if !ok {
		panic(fmt.Sprintf("gguftest: no value type for %v", t))
	}
	return k
}

func value(b *bytes.Buffer, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		text(b, v.String())
	case reflect.Slice:
		put(b, kindOf(v.Type().Elem()))
		put(b, uint64(v.Len()))
		for i := range v.Len() {
			value(b, v.Index(i))
		}
	default:
		put(b, v.Interface())
	}
}

func text(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// put writes v, whose size is fixed, which is all that can fail.
func put(b *bytes.Buffer, v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		panic("gguftest: " + err.Error())
	}
}

func aligned(n int) int { return (n + alignment - 1) / alignment * alignment }

func pad(b *bytes.Buffer) { b.Write(make([]byte, aligned(b.Len())-b.Len())) }
