package kernel

import (
	"fmt"
	"unsafe"
)

// LayoutVersion names the meaning of packed bytes. It is to be raised with any
// change of what a level packs for given weights: TestPackedBytesOfThisVersion
// fails until it is.
const LayoutVersion = 1

// maxSide bounds the columns and the inputs of a stored matrix, so that no
// product of them overflows.
const maxSide = 1 << 24

// Data returns the packed bytes of a matrix, in parts: what Stored takes when
// they stand one behind the other. They are the matrix's own, in the machine's
// byte order.
func (m *Matrix) Data() [][]byte {
	return [][]byte{bytesOf(m.w8), bytesOf(m.w16), bytesOf(m.w32), bytesOf(m.scales)}
}

// DataSize returns the number of packed bytes of a matrix of n columns × kk
// inputs, 0 for shapes that no matrix has.
func DataSize(w Weights, n, kk int) int64 {
	weights, scales := dataSizes(w, n, kk)
	return weights + scales
}

func dataSizes(w Weights, n, kk int) (weights, scales int64) {
	if n <= 0 || n > maxSide || kk <= 0 || kk > maxSide || kk%Block != 0 {
		return 0, 0
	}
	cells := int64(n+Panel-1) / Panel * Panel * int64(kk)
	switch w {
	case Int8:
		return cells, 4 * cells / Block
	case Int12:
		return 2 * cells, 4 * cells / Block
	case Float32:
		return 4 * cells, 0
	}
	return 0, 0
}

// Stored returns the matrix whose packed bytes are data, which must not change
// while it is used and may be memory that cannot be written. They must be of a
// matrix that a kernel of the same level and LayoutVersion packed; that is not
// seen from them, and other bytes give other numbers. What is checked is that
// there are as many as the shape takes, and that they lie on a multiple of 4.
func (k *Kernel) Stored(w Weights, n, kk int, data []byte) (*Matrix, error) {
	weights, scales := dataSizes(w, n, kk)
	if weights == 0 || weights+scales != int64(len(data)) {
		return nil, fmt.Errorf("a packed matrix of kind %d with %d columns of %d inputs takes %d bytes, not %d", w, n, kk, weights+scales, len(data))
	}
	if uintptr(unsafe.Pointer(&data[0]))%4 != 0 {
		return nil, fmt.Errorf("the bytes of a packed matrix do not begin on a multiple of 4")
	}
	m := &Matrix{N: n, K: kk, Weights: w, level: k.level, layout: k.layouts[w]}
	switch w {
	case Int8:
		m.w8 = sliceOf[int8](data[:weights])
	case Int12:
		m.w16 = sliceOf[int16](data[:weights])
	default:
		m.w32 = sliceOf[float32](data[:weights])
	}
	if scales > 0 {
		m.scales = sliceOf[float32](data[weights:])
	}
	return m, nil
}

// bytesOf and sliceOf look at the same memory as another type.
func bytesOf[T int8 | int16 | float32](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}

func sliceOf[T int8 | int16 | float32](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}
