package gguf

import "fmt"

// Type is the storage type of a tensor, numbered as ggml numbers it.
type Type uint32

// The types that Dequantize reads.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// layout says how a type packs its values: blocks of a fixed number of values
// in a fixed number of bytes.
type layout struct {
	name   string // empty: no such type
	values int
	bytes  int
	decode func(dst []float32, src []byte) // nil where Dequantize cannot
}

// layouts also holds the types that only other engines read, so that the extent
// of their tensors can be checked. Q8_1 and Q8_K are missing on purpose: they
// exist during a computation and never in a file.
var layouts = [...]layout{
	F32:  {"F32", 1, 4, dequantizeF32},
	F16:  {"F16", 1, 2, dequantizeF16},
	Q4_0: {"Q4_0", 32, 18, dequantizeQ4_0},
	Q4_1: {"Q4_1", 32, 20, dequantizeQ4_1},
	Q5_0: {"Q5_0", 32, 22, dequantizeQ5_0},
	Q5_1: {"Q5_1", 32, 24, dequantizeQ5_1},
	Q8_0: {"Q8_0", 32, 34, dequantizeQ8_0},
	10:   {"Q2_K", 256, 84, nil},
	11:   {"Q3_K", 256, 110, nil},
	Q4_K: {"Q4_K", 256, 144, dequantizeQ4K},
	Q5_K: {"Q5_K", 256, 176, dequantizeQ5K},
	Q6_K: {"Q6_K", 256, 210, dequantizeQ6K},
	16:   {"IQ2_XXS", 256, 66, nil},
	17:   {"IQ2_XS", 256, 74, nil},
	18:   {"IQ3_XXS", 256, 98, nil},
	19:   {"IQ1_S", 256, 50, nil},
	20:   {"IQ4_NL", 32, 18, nil},
	21:   {"IQ3_S", 256, 110, nil},
	22:   {"IQ2_S", 256, 82, nil},
	23:   {"IQ4_XS", 256, 136, nil},
	24:   {"I8", 1, 1, nil},
	25:   {"I16", 1, 2, nil},
	26:   {"I32", 1, 4, nil},
	27:   {"I64", 1, 8, nil},
	28:   {"F64", 1, 8, nil},
	29:   {"IQ1_M", 256, 56, nil},
	BF16: {"BF16", 1, 2, dequantizeBF16},
	34:   {"TQ1_0", 256, 54, nil},
	35:   {"TQ2_0", 256, 66, nil},
	39:   {"MXFP4", 32, 17, nil},
	40:   {"NVFP4", 64, 36, nil},
	41:   {"Q1_0", 128, 18, nil},
}

// layout returns the zero layout for a number that names no type.
func (t Type) layout() layout {
	if uint64(t) < uint64(len(layouts)) {
		return layouts[t]
	}
	return layout{}
}

// String returns ggml's name of the type, "Q4_K", or its number where it has none.
func (t Type) String() string {
	if name := t.layout().name; name != "" {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Known reports whether Dequantize reads the type.
func (t Type) Known() bool { return t.layout().decode != nil }

// BlockSize is the number of values in a block; 0 for a number that names no type.
// A row is a whole number of blocks.
func (t Type) BlockSize() int { return t.layout().values }

// RowSize is the number of bytes of a row of cols values; 0 for a number that
// names no type. It rounds down where cols is no multiple of BlockSize.
func (t Type) RowSize(cols int) int {
	l := t.layout()
	if l.values == 0 {
		return 0
	}
	return cols / l.values * l.bytes
}

// Dequantize writes the values that src holds in type t to dst, with the
// formulas and the order of rounding of ggml, so that they are the same bits.
// It panics unless t is Known, len(dst) a multiple of t.BlockSize(), and
// len(src) equal to t.RowSize(len(dst)).
func Dequantize(dst []float32, src []byte, t Type) {
	l := t.layout()
	if l.decode == nil {
		panic("gguf: cannot dequantise " + t.String())
	}
	if len(dst)%l.values != 0 || len(src) != len(dst)/l.values*l.bytes {
		panic(fmt.Sprintf("gguf: %d bytes of %s are not %d values", len(src), t, len(dst)))
	}
	l.decode(dst, src)
}
