package lora

import (
	"encoding/binary"
	"math"

	"cubby/models/gguf"
)

// types are the types of weights, by safetensors' name.
var types = map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

// encode writes values in a type, each rounded once, to the nearest. It reports
// whether all of them are finite in it.
func encode(dst []byte, src []float64, t gguf.Type) bool {
	ok := true
	for i, v := range src {
		switch t {
		case gguf.F32:
			f := float32(v)
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
			ok = ok && !math.IsInf(float64(f), 0) && f == f
		case gguf.F16:
			h := gguf.ToFloat16(toOdd(v))
			binary.LittleEndian.PutUint16(dst[2*i:], h)
			ok = ok && h&0x7c00 != 0x7c00
		case gguf.BF16:
			h := toBFloat16(toOdd(v))
			binary.LittleEndian.PutUint16(dst[2*i:], h)
			ok = ok && h&0x7f80 != 0x7f80
		}
	}
	return ok
}

// toOdd narrows to float32 so that a further rounding gives what one rounding of v
// would: what is not exact becomes the neighbour with an odd last bit (Boldo and
// Melquiond 2008).
func toOdd(v float64) float32 {
	f := float32(v)
	if float64(f) == v || v != v {
		return f
	}
	if math.IsInf(float64(f), 0) {
		return f
	}
	bits := math.Float32bits(f)
	if math.Abs(float64(f)) > math.Abs(v) {
		bits-- // towards zero; f is not zero
	}
	return math.Float32frombits(bits | 1)
}

// toBFloat16 rounds to the nearest, to even between two.
func toBFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// finite reports whether all values are.
func finite(values []float32) bool {
	for _, v := range values {
		if v-v != 0 {
			return false
		}
	}
	return true
}
