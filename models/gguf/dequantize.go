package gguf

import (
	"encoding/binary"
	"math"
)

// Each product below is converted to float32 before it is added to: that forbids
// the compiler to fuse the two into one rounding, which would give other bits
// than ggml on some machines.

// Float16 widens an IEEE 754 half, exactly: infinities, NaN payloads and subnormals too.
func Float16(h uint16) float32 {
	sign, bits := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	if bits >= 31<<23 {
		return math.Float32frombits(sign | 255<<23 | bits)
	}
	// The exponent's bias differs by 127 - 15; a product mends subnormals as well.
	f := math.Float32frombits(bits) * 0x1p112
	return math.Float32frombits(sign | math.Float32bits(f))
}

// ToFloat16 rounds to the nearest IEEE 754 half, to even between two; what is too
// large becomes an infinity.
func ToFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, size := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case size > 0x7f800000: // not a number
		return sign | 0x7e00
	case size >= 0x47800000: // 2^16 and more
		return sign | 0x7c00
	case size < 0x38800000: // below 2^-14: a step is 2^-24, as that of float32 at 0.5
		return sign | uint16(math.Float32bits(math.Float32frombits(size)+0.5)-math.Float32bits(0.5))
	}
	return sign | uint16((size-(127-15)<<23+0xfff+size>>13&1)>>13)
}

func halfAt(b []byte) float32 { return Float16(binary.LittleEndian.Uint16(b)) }

func dequantizeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src))
		src = src[4:]
	}
}

func dequantizeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = halfAt(src)
		src = src[2:]
	}
}

func dequantizeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src)) << 16)
		src = src[2:]
	}
}

// Q8_0: half d, int8 q[32]; value = q·d.
func dequantizeQ8_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[34:] {
		d, q, y := halfAt(src), (*[32]byte)(src[2:]), (*[32]float32)(dst)
		for i := range q {
			y[i] = float32(int8(q[i])) * d
		}
	}
}

// Q4_0: half d, nibbles q[16]; the low ones are the first 16 values; value = d·(q-8).
func dequantizeQ4_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[18:] {
		d, q, y := halfAt(src), (*[16]byte)(src[2:]), (*[32]float32)(dst)
		for i, b := range q {
			y[i] = d * float32(int32(b&15)-8)
			y[i+16] = d * float32(int32(b>>4)-8)
		}
	}
}

// Q4_1: half d, half m, nibbles q[16]; value = d·q + m.
func dequantizeQ4_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[20:] {
		d, m := halfAt(src), halfAt(src[2:])
		q, y := (*[16]byte)(src[4:]), (*[32]float32)(dst)
		for i, b := range q {
			y[i] = float32(d*float32(b&15)) + m
			y[i+16] = float32(d*float32(b>>4)) + m
		}
	}
}

// Q5_0: half d, 32 fifth bits, nibbles q[16]; value = d·(q-16).
func dequantizeQ5_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[22:] {
		d, high := halfAt(src), binary.LittleEndian.Uint32(src[2:])
		q, y := (*[16]byte)(src[6:]), (*[32]float32)(dst)
		for i, b := range q {
			y[i] = d * float32(int32(uint32(b&15)|high<<4&16)-16)
			y[i+16] = d * float32(int32(uint32(b>>4)|high>>12&16)-16)
			high >>= 1
		}
	}
}

// Q5_1: half d, half m, 32 fifth bits, nibbles q[16]; value = d·q + m.
func dequantizeQ5_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[24:] {
		d, m, high := halfAt(src), halfAt(src[2:]), binary.LittleEndian.Uint32(src[4:])
		q, y := (*[16]byte)(src[8:]), (*[32]float32)(dst)
		for i, b := range q {
			y[i] = float32(d*float32(int32(uint32(b&15)|high<<4&16))) + m
			y[i+16] = float32(d*float32(int32(uint32(b>>4)|high>>12&16))) + m
			high >>= 1
		}
	}
}
