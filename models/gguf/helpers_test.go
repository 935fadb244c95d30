package gguf_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

// raw builds headers that no writer would.
type raw []byte

func header(version uint32, tensors, pairs uint64) raw {
	return raw("GGUF").u32(version).u64(tensors).u64(pairs)
}

func (b raw) u32(v uint32) raw  { return binary.LittleEndian.AppendUint32(b, v) }
func (b raw) u64(v uint64) raw  { return binary.LittleEndian.AppendUint64(b, v) }
func (b raw) text(s string) raw { return append(b.u64(uint64(len(s))), s...) }
func (b raw) zeros(n int) raw   { return append(b, make([]byte, n)...) }
func (b raw) align(n int) raw   { return b.zeros((n - len(b)%n) % n) }
func (b raw) dims(n ...uint64) raw {
	b = b.u32(uint32(len(n)))
	for _, v := range n {
		b = b.u64(v)
	}
	return b
}

// tensor describes a tensor.
func (b raw) tensor(name string, typ gguf.Type, offset uint64, shape ...uint64) raw {
	return b.text(name).dims(shape...).u32(uint32(typ)).u64(offset)
}

// check demands what must hold of every parsed file.
func check(t testing.TB, data []byte, f *gguf.File) {
	t.Helper()
	type extent struct{ start, end int }
	var used []extent
	for _, x := range f.Tensors() {
		rows := 1
		for _, n := range x.Shape[1:] {
			rows *= int(n)
		}
		if want := rows * x.Type.RowSize(int(x.Shape[0])); len(x.Data) != want || want == 0 || cap(x.Data) != want {
			t.Fatalf("tensor %q has %d bytes of %d, want %d", x.Name, len(x.Data), cap(x.Data), want)
		}
		if y, ok := f.Tensor(x.Name); !ok || &y.Data[0] != &x.Data[0] {
			t.Fatalf("tensor %q is not found under its name", x.Name)
		}
		start := int(uintptr(unsafe.Pointer(&x.Data[0])) - uintptr(unsafe.Pointer(&data[0])))
		if start < 24 || start+len(x.Data) > len(data) {
			t.Fatalf("tensor %q lies outside the file", x.Name)
		}
		used = append(used, extent{start, start + len(x.Data)})
	}
	slices.SortFunc(used, func(a, b extent) int { return a.start - b.start })
	for i := 1; i < len(used); i++ {
		if used[i].start < used[i-1].end {
			t.Fatalf("tensors overlap at byte %d", used[i].start)
		}
	}
	for _, k := range f.Keys() {
		n := 0
		for _, ok := range []bool{has(f.String(k)), has(f.Uint(k)), has(f.Float(k)), has(f.Bool(k)), has(f.Strings(k)), has(f.Ints(k)), has(f.Floats(k))} {
			if ok {
				n++
			}
		}
		if n > 1 && !emptyArray(f, k) {
			t.Fatalf("key %q has %d types", k, n)
		}
	}
}

func has[T any](_ T, ok bool) bool { return ok }

// An empty array of numbers is one of integers and of floats alike.
func emptyArray(f *gguf.File, key string) bool {
	list, ok := f.Ints(key)
	return ok && len(list) == 0
}

// pairs makes metadata of keys and values in turn.
func pairs(list ...any) []gguftest.Meta {
	var meta []gguftest.Meta
	for i := 0; i < len(list); i += 2 {
		meta = append(meta, gguftest.Meta{Key: list[i].(string), Value: list[i+1]})
	}
	return meta
}
