package kernel

import (
	"math"
	"testing"
)

// splitRow is what splitting levels quantise a row to.
func splitRow(x, w []float32, factor float32) (q []int16, scale float32) {
	y := make([]float32, len(x))
	scaleRow(y, x, w, factor)
	var top uint32
	for _, v := range y {
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	scale, inverse := blockScale(top, preciseSteps)
	q = make([]int16, len(y))
	if inverse != 0 {
		for i, v := range y {
			q[i] = int16(math.RoundToEven(float64(v * inverse)))
		}
	}
	return q, scale
}

// splitColumn is what they make of a column: its weights as shares of its
// greatest scale, negative, and the scale of those.
func splitColumn(kind Weights, q []int16, scales []float32) (v []int16, scale float64) {
	var top float32
	for _, s := range scales {
		top = max(top, float32(math.Abs(float64(s))))
	}
	free := map[Weights]int{Int8: 7, Int12: 3}[kind]
	v = make([]int16, len(q))
	for i, w := range q {
		share := min(math.RoundToEven(float64(scales[i/Block]*(-32768/top))), 32767)
		v[i] = int16((int32(w)<<free*int32(share)>>14 + 1) >> 1)
	}
	return v, -float64(top) / float64(int(1)<<free)
}

func lowByte(v int16) int64 { return int64(int8(v)) }

// splitSum is their product of a row and a column, and the sum of its terms'
// magnitudes.
func splitSum(a, v []int16) (sum, size float64) {
	for i := range a {
		term := float64(int64(a[i])*int64(v[i]) - lowByte(a[i])*lowByte(v[i]))
		sum, size = sum+term, size+math.Abs(term)
	}
	return sum, size
}

// TestSplitProductsAreNearlyExact bounds what splitting costs: the products of
// two low bytes, and what weights lose as shares of a column's scale.
func TestSplitProductsAreNearlyExact(t *testing.T) {
	const tolerance = 3e-5 // of the sum of the terms' magnitudes
	r := newRand()
	for _, kind := range []Weights{Int8, Int12} {
		for range 200 {
			const kk = 576
			x, _ := splitRow(normal(r, kk), nil, 1)
			w, scales := make([]int16, kk), make([]float32, kk/Block)
			for i := range w {
				w[i] = int16(r.IntN(2*kind.Steps()+1) - kind.Steps())
			}
			for i := range scales {
				scales[i] = 0.2 + r.Float32()
			}
			v, scale := splitColumn(kind, w, scales)
			got, _ := splitSum(x, v)
			var want, size float64
			for i := range x {
				term := float64(x[i]) * float64(w[i]) * float64(scales[i/Block])
				want, size = want+term, size+math.Abs(term)
			}
			if diff := math.Abs(got*scale - want); diff > tolerance*size {
				t.Fatalf("kind %d: %v of %v, off by %.2g of its terms", kind, got*scale, want, diff/size)
			}
		}
	}
}
