package lora

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"cubby/models/gguf"
)

// TestEncodeRoundsOnce looks at halfway points and their neighbours in float64,
// which two roundings get wrong.
func TestEncodeRoundsOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		typ   gguf.Type
		value func(uint16) float64
		top   uint16 // the largest finite
	}{
		{"F16", gguf.F16, func(h uint16) float64 { return float64(gguf.Float16(h)) }, 0x7bff},
		{"BF16", gguf.BF16, func(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }, 0x7f7f},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := func(v float64) uint16 {
				var b [2]byte
				if !encode(b[:], []float64{v}, c.typ) {
					t.Fatalf("%g is not finite", v)
				}
				return binary.LittleEndian.Uint16(b[:])
			}
			for h := range c.top {
				low, high := c.value(h), c.value(h+1)
				half := low + (high-low)/2
				even := h + h&1
				for v, want := range map[float64]uint16{
					low: h, high: h + 1, half: even,
					math.Nextafter(half, low): h, math.Nextafter(half, high): h + 1,
					math.Nextafter(low, high): h, math.Nextafter(high, low): h + 1,
				} {
					if g := got(v); g != want {
						t.Fatalf("%v, near %#x, became %#x, want %#x", v, h, g, want)
					}
					if g := got(-v); g != want|0x8000 {
						t.Fatalf("%v became %#x, want %#x", -v, g, want|0x8000)
					}
				}
			}
		})
	}
}

func TestEncodeTellsWhatIsNotFinite(t *testing.T) {
	b := make([]byte, 4)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300} {
		for _, typ := range types {
			if encode(b, []float64{v}, typ) {
				t.Errorf("%g passes as %s", v, typ)
			}
		}
	}
	if encode(b, []float64{65520}, gguf.F16) || !encode(b, []float64{65519}, gguf.F16) {
		t.Error("the largest float16 is 65504")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		v := rnd.NormFloat64() * math.Pow(10, float64(rnd.IntN(60)-30))
		encode(b, []float64{v}, gguf.F32)
		if got := math.Float32frombits(binary.LittleEndian.Uint32(b)); got != float32(v) {
			t.Errorf("%v became %v", v, got)
		}
	}
}
