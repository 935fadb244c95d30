package quantize

import (
	"encoding/binary"
	"fmt"
	"math"

	"cubby/models/gguf"
)

// encoders write whole blocks, and report whether every scale fits a half. Every
// product is converted to float32 before it is added to, as in package gguf: the
// bytes must be the same on every machine.
var encoders = map[gguf.Type]func(dst []byte, src []float32) bool{
	gguf.F32: encodeF32, gguf.F16: encodeF16, gguf.Q8_0: encodeQ8_0, gguf.Q5_0: encodeQ5_0, gguf.Q5_1: encodeQ5_1,
	gguf.Q4_K: encodeQ4K, gguf.Q5_K: encodeQ5K, gguf.Q6_K: encodeQ6K,
}

// largest bounds the values that are rounded at all: their weighted sums must be
// far from overflow. Most scales, which are halves, give out before.
const largest = 1 << 30

// Encode rounds values to type t: F32, F16, Q8_0, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K. It
// refuses what is no finite number, and what is too large for the type. It panics
// unless len(src) is a multiple of t.BlockSize() and len(dst) is t.RowSize(len(src)).
func Encode(dst []byte, src []float32, t gguf.Type) error {
	encode := encoders[t]
	if encode == nil || len(src)%t.BlockSize() != 0 || len(dst) != t.RowSize(len(src)) {
		panic(fmt.Sprintf("quantize: %d values do not become %d bytes of %s", len(src), len(dst), t))
	}
	var top float32
	for i, v := range src {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return fmt.Errorf("value %d is %v: the weights are damaged, or their training diverged", i, v)
		}
		if a := abs(v); a > top {
			top = a
		}
	}
	if t == gguf.F32 {
		encode(dst, src)
		return nil
	}
	if top > largest || !encode(dst, src) {
		return fmt.Errorf("values up to %g are too large for %s", top, t)
	}
	return nil
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// putHalf reports whether v is not too large for a half.
func putHalf(dst []byte, v float32) bool {
	h := gguf.ToFloat16(v)
	binary.LittleEndian.PutUint16(dst, h)
	return h&0x7c00 != 0x7c00
}

// inverse is 1/d, or 0 of 0. Of a d so small that the quotient is infinite it is 0
// too: the half of that d is 0, and so are the values.
func inverse(d float32) float32 {
	if q := 1 / d; !math.IsInf(float64(q), 0) {
		return q
	}
	return 0
}

func encodeF32(dst []byte, src []float32) bool {
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
	return true
}

func encodeF16(dst []byte, src []float32) bool {
	fits := true
	for i, v := range src {
		fits = putHalf(dst[2*i:], v) && fits
	}
	return fits
}

// Q8_0: d is the largest magnitude over 127; halves round away from zero.
func encodeQ8_0(dst []byte, src []float32) bool {
	fits := true
	for ; len(src) >= 32; dst, src = dst[34:], src[32:] {
		x, q := (*[32]float32)(src), (*[32]byte)(dst[2:])
		var top float32
		for _, v := range x {
			if a := abs(v); a > top {
				top = a
			}
		}
		d := top / 127
		fits = putHalf(dst, d) && fits
		d = inverse(d)
		for i, v := range x {
			q[i] = byte(int8(roundAway(v * d)))
		}
	}
	return fits
}

// roundAway rounds to the nearest integer, halves away from zero. The sum is exact
// in float64 wherever it could cross an integer.
func roundAway(v float32) int32 {
	return int32(float64(v) + math.Copysign(0.5, float64(v)))
}

// Q5_0: d is the value of the largest magnitude over -16, so that this one is exact.
func encodeQ5_0(dst []byte, src []float32) bool {
	fits := true
	for ; len(src) >= 32; dst, src = dst[22:], src[32:] {
		x := (*[32]float32)(src)
		var top, signed float32
		for _, v := range x {
			if a := abs(v); a > top {
				top, signed = a, v
			}
		}
		d := signed / -16
		fits = putHalf(dst, d) && fits
		d = inverse(d)
		var levels [32]byte
		for i, v := range x {
			levels[i] = byte(min(31, int32(float32(v*d)+16.5)))
		}
		putFiveBits(dst[2:], &levels)
	}
	return fits
}

// Q5_1: d spans the block's range in 31 steps from its least value m.
func encodeQ5_1(dst []byte, src []float32) bool {
	fits := true
	for ; len(src) >= 32; dst, src = dst[24:], src[32:] {
		x := (*[32]float32)(src)
		low, high := span(x)
		d := (high - low) / 31
		fits = putHalf(dst, d) && fits
		fits = putHalf(dst[2:], low) && fits
		d = inverse(d)
		var levels [32]byte
		for i, v := range x {
			levels[i] = byte(int32(float32((v-low)*d) + 0.5))
		}
		putFiveBits(dst[4:], &levels)
	}
	return fits
}

// span is the least and the largest value, of a zero with either sign the first.
func span(x *[32]float32) (low, high float32) {
	low, high = x[0], x[0]
	for _, v := range x {
		if v < low {
			low = v
		}
		if v > high {
			high = v
		}
	}
	return low, high
}

// putFiveBits packs 32 levels below 32: the fifth bits, then the nibbles.
func putFiveBits(dst []byte, levels *[32]byte) {
	var high uint32
	for i, l := range levels {
		high |= uint32(l>>4) << i
	}
	binary.LittleEndian.PutUint32(dst, high)
	nibbles := (*[16]byte)(dst[4:])
	for i := range nibbles {
		nibbles[i] = levels[i]&15 | levels[i+16]<<4
	}
}
