package gguf

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
)

// Meta returns all metadata in file order, each value in the type it is stored in:
// what Write needs to write it again.
func (f *File) Meta() []Meta {
	list := make([]Meta, len(f.keys))
	for i, key := range f.keys {
		list[i] = Meta{Key: key, Value: f.values[key].any()}
	}
	return list
}

// goTypes are the types of numbers of each kind.
var goTypes = [...]reflect.Type{
	kindUint8: reflect.TypeFor[uint8](), kindInt8: reflect.TypeFor[int8](), kindUint16: reflect.TypeFor[uint16](), kindInt16: reflect.TypeFor[int16](),
	kindUint32: reflect.TypeFor[uint32](), kindInt32: reflect.TypeFor[int32](), kindUint64: reflect.TypeFor[uint64](), kindInt64: reflect.TypeFor[int64](),
	kindFloat32: reflect.TypeFor[float32](), kindFloat64: reflect.TypeFor[float64](), kindBool: reflect.TypeFor[bool](),
}

// any is the value, or the slice of values, in its own type.
func (v value) any() any {
	if v.kind == kindString {
		if v.array {
			return slices.Clone(v.strings)
		}
		return v.strings[0]
	}
	list := reflect.MakeSlice(reflect.SliceOf(goTypes[v.kind]), v.len(), v.len())
	if err := binary.Read(bytes.NewReader(v.numbers), binary.LittleEndian, list.Interface()); err != nil {
		panic("gguf: " + err.Error()) // the lengths are equal
	}
	if v.array {
		return list.Interface()
	}
	return list.Index(0).Interface()
}
