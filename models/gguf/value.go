package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
)

// kind is the type of a metadata value, numbered as the format numbers it.
type kind uint32

const (
	kindUint8 kind = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

// kindSizes holds the bytes of a number of each kind; 0 for what is none.
var kindSizes = [...]int{
	kindUint8: 1, kindInt8: 1, kindUint16: 2, kindInt16: 2, kindUint32: 4, kindInt32: 4,
	kindFloat32: 4, kindBool: 1, kindUint64: 8, kindInt64: 8, kindFloat64: 8,
}

// value is one metadata value, or the elements of an array, copied from the file.
type value struct {
	kind    kind // of the elements
	array   bool
	strings []string // of kindString
	numbers []byte   // of every other kind, as stored
}

// value reads a value with the kind before it.
func (r *reader) value() value {
	at := r.off
	v := value{kind: kind(r.u32("value type"))}
	if v.kind == kindArray {
		at, v.array = r.off, true
		v.kind = kind(r.u32("array type"))
	}
	switch {
	case v.kind == kindArray:
		r.fail("byte %d: an array inside an array is not supported", at)
	case v.kind >= kind(len(kindSizes)):
		r.fail("byte %d: value type %d is unknown", at, v.kind)
	}
	if r.err != nil {
		return v
	}
	if v.kind == kindString {
		v.strings = r.strings(v.array)
		return v
	}
	n := 1
	if v.array {
		n = r.count(maxHeader, uint64(kindSizes[v.kind]), "array length")
	}
	at = r.off
	v.numbers = bytes.Clone(r.take(uint64(n*kindSizes[v.kind]), "value"))
	if v.kind == kindBool {
		r.checkBools(v.numbers, at)
	}
	return v
}

func (r *reader) checkBools(b []byte, at int) {
	for i, x := range b {
		if x > 1 {
			r.fail("byte %d: boolean is %d, not 0 or 1", at+i, x)
			return
		}
	}
}

// strings reads one string or an array of them. An array is copied as a whole,
// lengths included, and cut: one allocation instead of one a token.
func (r *reader) strings(array bool) []string {
	if !array {
		return []string{r.text(maxHeader, "string")}
	}
	n, start := r.count(maxHeader, 8, "array length"), r.off
	for range n {
		r.take(r.u64("string length"), "string")
	}
	if r.err != nil {
		return nil
	}
	all, list := string(r.data[start:r.off]), make([]string, n)
	for i, off := 0, 0; i < n; i++ {
		length := int(binary.LittleEndian.Uint64(r.data[start+off:]))
		list[i] = all[off+8 : off+8+length]
		off += 8 + length
	}
	return list
}

// len is the number of numbers.
func (v value) len() int { return len(v.numbers) / max(1, kindSizes[v.kind]) }

// bits is number i as stored, above it zeros.
func (v value) bits(i int) uint64 {
	var b [8]byte
	n := kindSizes[v.kind]
	copy(b[:], v.numbers[i*n:(i+1)*n])
	return binary.LittleEndian.Uint64(b[:])
}

// integer is number i where it is one that an int64 holds.
func (v value) integer(i int) (int64, bool) {
	bits := v.bits(i)
	switch v.kind {
	case kindUint8, kindUint16, kindUint32, kindUint64:
		return int64(bits), bits <= math.MaxInt64
	case kindInt8:
		return int64(int8(bits)), true
	case kindInt16:
		return int64(int16(bits)), true
	case kindInt32:
		return int64(int32(bits)), true
	case kindInt64:
		return int64(bits), true
	}
	return 0, false
}

// float is number i where it is a floating-point one.
func (v value) float(i int) (float64, bool) {
	switch v.kind {
	case kindFloat32:
		return float64(math.Float32frombits(uint32(v.bits(i)))), true
	case kindFloat64:
		return math.Float64frombits(v.bits(i)), true
	}
	return 0, false
}
