// Package gguftest writes small GGUF files for tests.
package gguftest

import (
	"bytes"
	"io"

	"cubby/models/gguf"
)

// Meta is one metadata pair.
type Meta = gguf.Meta

// Tensor is one tensor. Shape has the fastest-varying length first; Data holds
// the bytes of type Type, whatever their number.
type Tensor struct {
	Name  string
	Type  gguf.Type
	Shape []uint64
	Data  []byte
}

// Encode returns the bytes of a file. It panics on a value of a type that the
// format lacks.
func Encode(meta []Meta, tensors []Tensor) []byte {
	list := make([]gguf.Content, len(tensors))
	for i, t := range tensors {
		list[i] = gguf.Content{Name: t.Name, Type: t.Type, Shape: t.Shape, Size: int64(len(t.Data)), Write: func(w io.Writer) error {
			_, err := w.Write(t.Data)
			return err
		}}
	}
	var b bytes.Buffer
	if err := gguf.Write(&b, meta, list); err != nil {
		panic("gguftest: " + err.Error())
	}
	return b.Bytes()
}
