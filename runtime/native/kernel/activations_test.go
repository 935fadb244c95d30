package kernel

import (
	"math"
	"slices"
	"testing"
)

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// extremeBlocks are blocks' worth of values that quantisation could trip over.
func extremeBlocks() map[string][]float32 {
	fill := func(f func(i int) float32) []float32 {
		x := make([]float32, Block)
		for i := range x {
			x[i] = f(i)
		}
		return x
	}
	one := func(v float32) []float32 {
		return fill(func(i int) float32 {
			if i == 17 {
				return v
			}
			return float32(i)
		})
	}
	return map[string][]float32{
		"zeros":          fill(func(int) float32 { return 0 }),
		"negative zeros": fill(func(int) float32 { return float32(math.Copysign(0, -1)) }),
		"denormals":      fill(func(i int) float32 { return float32(i) * math.SmallestNonzeroFloat32 }),
		"just too small": fill(func(i int) float32 { return math.Nextafter32(minAbs, 0) }),
		"least":          fill(func(i int) float32 { return minAbs / float32(1+i) }),
		"huge":           fill(func(i int) float32 { return math.MaxFloat32 / float32(1+i) }),
		"ties":           fill(func(i int) float32 { return float32(127-8*i) / 2 * 1 }),
		"whole":          fill(func(i int) float32 { return float32(127 - 8*i) }),
		"one outlier":    one(1e20),
		"infinity":       one(inf),
		"negative inf":   one(-inf),
		"nan":            one(nan),
	}
}

// TestQuantizeExtremes checks each extreme block against what the definition
// says, at every level.
func TestQuantizeExtremes(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		for name, x := range extremeBlocks() {
			a := p.room(k, 1, Block)
			k.Quantize(a, 0, x, nil, 1)
			q, scales := quants(a, 0)
			checkQuantized(t, name, x, q, scales[0], a.steps)
		}
	})
}

func checkQuantized(t *testing.T, name string, x []float32, q []int16, scale, steps float32) {
	t.Helper()
	var top float32
	finite := true
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
		finite = finite && !math.IsInf(float64(v), 0) && v == v
	}
	if !finite || top < minAbs {
		if finite != (scale == 0) || finite == (scale != scale) {
			t.Errorf("%s: scale %v", name, scale)
		}
		if slices.ContainsFunc(q, func(v int16) bool { return v != 0 }) {
			t.Errorf("%s: quantised to %v, want zeros", name, q)
		}
		return
	}
	for i, v := range x {
		if want := math.RoundToEven(float64(v * (steps / top))); float64(q[i]) != want {
			t.Errorf("%s: %v of %v quantised to %d, want %v", name, v, top, q[i], want)
		}
	}
	if off := math.Abs(float64(scale)*float64(steps)/float64(top) - 1); off > 1e-6 {
		t.Errorf("%s: scale %v of greatest value %v", name, scale, top)
	}
}

// TestQuantizeSameAtAllLevels checks that every level gives the portable
// level's integers and scales, or those that split rows are defined to have, bit
// for bit, with and without weights.
func TestQuantizeSameAtAllLevels(t *testing.T) {
	plain, err := New(string(Portable))
	if err != nil {
		t.Fatal(err)
	}
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		for range 400 {
			kk, rows := Block*(1+r.IntN(20)), 1+r.IntN(40)
			row := r.IntN(rows)
			x, w, scale := normal(r, kk), normal(r, kk), float32(math.Exp(r.NormFloat64()*10))
			if r.IntN(2) == 0 {
				w = nil
			}
			want, got := p.room(plain, rows, kk), p.room(k, rows, kk)
			plain.Quantize(want, row, x, w, scale)
			k.Quantize(got, row, x, w, scale)
			q0, s0 := quants(want, row)
			if k.splits {
				var one float32
				q0, one = splitRow(x, w, scale)
				s0 = slices.Repeat([]float32{one}, kk/Block)
			}
			q1, s1 := quants(got, row)
			if !slices.Equal(q0, q1) || !sameBits(s0, s1) {
				t.Fatalf("row %d of %d × %d: %v %v, want %v %v", row, rows, kk, q1, s1, q0, s0)
			}
		}
	})
}

// TestQuantizeLeavesOtherRows checks that a row's values land in that row alone.
func TestQuantizeLeavesOtherRows(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		a := p.activations(r, k, 19, 96)
		for row := range 19 {
			var before [19][]int16
			for i := range before {
				before[i], _ = quants(a, i)
			}
			k.Quantize(a, row, normal(r, 96), nil, 1)
			for i := range before {
				if after, _ := quants(a, i); slices.Equal(after, before[i]) == (i == row) {
					t.Fatalf("quantising row %d: row %d changed: %v", row, i, i != row)
				}
			}
		}
	})
}

// TestPoisonedRow checks that a row with a value that is not finite gives NaN,
// and leaves the rows beside it alone.
func TestPoisonedRow(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		m, a := p.matrix(r, k, 32, 64).m, p.activations(r, k, 6, 64)
		clean, c := make([]float32, padRows(6, k.tileRows)*32), make([]float32, padRows(6, k.tileRows)*32)
		k.MulPanels(m, a, 0, 1, 0, 6, clean, 32)
		for _, bad := range []float32{inf, -inf, nan} {
			x := normal(r, 64)
			x[40] = bad
			k.Quantize(a, 2, x, nil, 1)
			k.MulPanels(m, a, 0, 1, 0, 6, c, 32)
			for i, v := range c[:6*32] {
				if poisoned := i/32 == 2; poisoned != (v != v) || !poisoned && v != clean[i] {
					t.Fatalf("%v in row 2: row %d, column %d is %v", bad, i/32, i%32, v)
				}
			}
		}
	})
}
