package gguf

import (
	"math"
	"slices"
)

// File is a parsed GGUF file.
type File struct {
	keys    []string
	values  map[string]value
	tensors []Tensor
	index   map[string]int
}

// Tensor is one tensor of a file. Data is a part of the bytes given to Parse.
type Tensor struct {
	Name  string
	Type  Type
	Shape []uint64 // one to four lengths, the fastest-varying first: columns, rows, …
	Data  []byte   // whole rows, Type.RowSize(Shape[0]) bytes each
}

// Keys returns the metadata keys in file order.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

// Has says whether the file has the key.
func (f *File) Has(key string) bool {
	_, ok := f.values[key]
	return ok
}

// Tensors returns the tensors in the order of the header.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// scalar returns the value of a key that holds a single number of a kind other than string.
func (f *File) scalar(key string) (value, bool) {
	v, ok := f.values[key]
	return v, ok && !v.array && v.kind != kindString
}

// list returns the value of a key that holds an array of numbers.
func (f *File) list(key string) (value, bool) {
	v, ok := f.values[key]
	return v, ok && v.array && v.kind != kindString
}

// String returns the string of a key; false where it is absent or of another type.
func (f *File) String(key string) (string, bool) {
	v, ok := f.values[key]
	if !ok || v.array || v.kind != kindString {
		return "", false
	}
	return v.strings[0], true
}

// Strings returns the array of strings of a key; false where it is absent or of
// another type. It is a copy, valid after the file's bytes are gone; the caller
// does not change it.
func (f *File) Strings(key string) ([]string, bool) {
	v, ok := f.values[key]
	if !ok || !v.array || v.kind != kindString {
		return nil, false
	}
	return v.strings, true
}

// Uint returns the integer of a key, of whichever integer type; false where it
// is absent, negative or no integer.
func (f *File) Uint(key string) (uint64, bool) {
	v, ok := f.scalar(key)
	if !ok {
		return 0, false
	}
	if v.kind == kindUint64 {
		return v.bits(0), true
	}
	n, ok := v.integer(0)
	if !ok || n < 0 {
		return 0, false
	}
	return uint64(n), true
}

// Float returns the float of a key, of either width; false where it is absent or
// of another type.
func (f *File) Float(key string) (float64, bool) {
	v, ok := f.scalar(key)
	if !ok {
		return 0, false
	}
	return v.float(0)
}

// Float32 returns the float of a key; false where it is absent or of another type,
// the wider float among them.
func (f *File) Float32(key string) (float32, bool) {
	v, ok := f.scalar(key)
	if !ok || v.kind != kindFloat32 {
		return 0, false
	}
	return math.Float32frombits(uint32(v.bits(0))), true
}

// Bool returns the boolean of a key, and whether the key holds one.
func (f *File) Bool(key string) (value, ok bool) {
	v, ok := f.scalar(key)
	if !ok || v.kind != kindBool {
		return false, false
	}
	return v.bits(0) == 1, true
}

// Ints returns the array of integers of a key, of whichever integer type; false
// where it is absent, of another type, or beyond an int64.
func (f *File) Ints(key string) ([]int64, bool) {
	v, ok := f.list(key)
	if !ok {
		return nil, false
	}
	return numbers(v, value.integer)
}

// Bools returns the array of booleans of a key; false where it is absent or of
// another type.
func (f *File) Bools(key string) ([]bool, bool) {
	v, ok := f.list(key)
	if !ok || v.kind != kindBool {
		return nil, false
	}
	list := make([]bool, v.len())
	for i := range list {
		list[i] = v.bits(i) == 1
	}
	return list, true
}

// Floats returns the array of floats of a key, of either width; false where it
// is absent or of another type.
func (f *File) Floats(key string) ([]float64, bool) {
	v, ok := f.list(key)
	if !ok {
		return nil, false
	}
	return numbers(v, value.float)
}

func numbers[T any](v value, at func(value, int) (T, bool)) ([]T, bool) {
	list := make([]T, v.len())
	for i := range list {
		n, ok := at(v, i)
		if !ok {
			return nil, false
		}
		list[i] = n
	}
	return list, true
}
