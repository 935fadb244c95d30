package kernel

import (
	"fmt"
	"math"
	"testing"
)

// lengths cover whole steps of every level, remainders, and nothing.
var lengths = []int{0, 1, 7, 16, 31, 32, 33, 64, 95, 576, 1000, 4097}

func near(got float32, want, tolerance float64) bool {
	return math.Abs(float64(got)-want) <= tolerance
}

func TestReductions(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths {
			x, y := normal(r, n), normal(r, n)
			var squares, dot, size float64
			top := math.Inf(-1)
			for i := range x {
				squares += float64(x[i]) * float64(x[i])
				dot += float64(x[i]) * float64(y[i])
				size += math.Abs(float64(x[i]) * float64(y[i]))
				top = max(top, float64(x[i]))
			}
			if got := k.SumSquares(x); !near(got, squares, 1e-6*squares) {
				t.Errorf("sum of %d squares %v, want %v", n, got, squares)
			}
			if got := k.Dot(x, y); !near(got, dot, 1e-6*size) {
				t.Errorf("dot product of %d values %v, want %v", n, got, dot)
			}
			if got := k.Max(x); float64(got) != top {
				t.Errorf("greatest of %d values %v, want %v", n, got, top)
			}
		}
	})
}

// TestMaxFindsEveryPlace puts the greatest value at each index in turn.
func TestMaxFindsEveryPlace(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		x := make([]float32, 100)
		for i := range x {
			x[i] = -5
		}
		for i := range x {
			x[i] = -1
			if got := k.Max(x); got != -1 {
				t.Fatalf("greatest at %d: %v", i, got)
			}
			x[i] = -5
		}
	})
}

func TestAdd(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths {
			x, y := normal(r, n), normal(r, n)
			want := make([]float32, n)
			for i := range x {
				want[i] = x[i] + y[i]
			}
			if k.Add(x, y); !sameBits(x, want) {
				t.Errorf("sum of %d values is wrong", n)
			}
		}
	})
}

// exps returns the level's e^x of each value, through SumExp of single values
// spread over a whole vector.
func exps(k *Kernel, x []float32) []float32 {
	e := append(make([]float32, 0, len(x)+vectorLanes), x...)
	for len(e)%vectorLanes != 0 {
		e = append(e, 0)
	}
	k.expSum(e, 0)
	return e[:len(x)]
}

// vectorLanes is a multiple of every level's step.
const vectorLanes = 64

// TestExp checks e^x over its range to 2 units in the last place.
func TestExp(t *testing.T) {
	var x []float32
	for v := -74.99; v < 88.7; v += 0.00137 {
		x = append(x, float32(v))
	}
	eachLevel(t, func(t *testing.T, k *Kernel) {
		worst := 0.0
		for i, e := range exps(k, x) {
			want := math.Exp(float64(x[i]))
			ulp := float64(math.Nextafter32(float32(want), inf) - float32(want))
			if off := math.Abs(float64(e)-want) / ulp; off > worst {
				worst = off
				if off > 2 {
					t.Fatalf("e^%v = %v, want %v: %.1f units in the last place off", x[i], e, want, off)
				}
			}
		}
		t.Logf("worst error %.2f units in the last place over %d values", worst, len(x))
	})
}

func TestExpExtremes(t *testing.T) {
	cases := []struct{ x, want float32 }{
		{0, 1}, {float32(math.Copysign(0, -1)), 1}, {math.SmallestNonzeroFloat32, 1},
		{-75.00001, 0}, {-100, 0}, {Masked, 0}, {-math.MaxFloat32, 0}, {-inf, 0},
		{88.73, inf}, {100, inf}, {1e30, inf}, {math.MaxFloat32, inf}, {inf, inf}, {nan, nan},
		{math.Float32frombits(0x7fc001ff), nan}, // whose payload must not reach the exponent
	}
	eachLevel(t, func(t *testing.T, k *Kernel) {
		x := make([]float32, len(cases))
		for i, c := range cases {
			x[i] = c.x
		}
		for i, e := range exps(k, x) {
			if want := cases[i].want; e != want && !(e != e && want != want) {
				t.Errorf("e^%v = %v, want %v", cases[i].x, e, want)
			}
		}
		if e := exps(k, []float32{expMax})[0]; !near(e, math.Exp(float64(float32(expMax))), 1e32) {
			t.Errorf("e^%v = %v", expMax, e)
		}
	})
}

func TestSiLUMul(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths {
			g, u := normal(r, n), normal(r, n)
			for i := range g {
				g[i] *= 10
			}
			got := append([]float32(nil), g...)
			k.SiLUMul(got, u)
			for i := range g {
				want := float64(g[i]) / (1 + math.Exp(-float64(g[i]))) * float64(u[i])
				if !near(got[i], want, 1e-6*math.Abs(want)+1e-30) {
					t.Fatalf("%d values: SiLU(%v)·%v = %v, want %v", n, g[i], u[i], got[i], want)
				}
			}
		}
	})
}

func TestSiLUMulExtremes(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, c := range []struct{ g, want float32 }{
			{0, 0}, {-1000, 0}, {-math.MaxFloat32, 0}, {1000, 1000}, {math.MaxFloat32, math.MaxFloat32}, {inf, inf}, {nan, nan},
		} {
			g, u := make([]float32, 64), make([]float32, 64)
			for i := range g {
				g[i], u[i] = c.g, 1
			}
			k.SiLUMul(g, u)
			for i, v := range g {
				if v != c.want && !(v != v && c.want != c.want) {
					t.Fatalf("SiLU(%v) at %d = %v, want %v", c.g, i, v, c.want)
				}
			}
		}
	})
}

func gelu(x float64) float64 {
	return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func TestGELUMul(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths {
			g, u := normal(r, n), normal(r, n)
			for i := range g {
				g[i] *= 3
			}
			got := append([]float32(nil), g...)
			k.GELUMul(got, u)
			for i := range g {
				want := gelu(float64(g[i])) * float64(u[i])
				// Far left of 0 the sigmoid's exponent is large, and its rounding with
				// it; farther still tanh is -1 in float64.
				size := 1e-6*math.Abs(want)*(1+math.Pow(math.Abs(float64(g[i])), 3)) + 1e-15
				if !near(got[i], want, size) {
					t.Fatalf("%d values: GELU(%v)·%v = %v, want %v", n, g[i], u[i], got[i], want)
				}
			}
		}
	})
}

func TestGELUMulExtremes(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, c := range []struct{ g, want float32 }{
			{0, 0}, {-1000, 0}, {-math.MaxFloat32, 0}, {1000, 1000}, {math.MaxFloat32, math.MaxFloat32}, {inf, inf}, {nan, nan},
		} {
			g, u := make([]float32, 64), make([]float32, 64)
			for i := range g {
				g[i], u[i] = c.g, 1
			}
			k.GELUMul(g, u)
			for i, v := range g {
				if v != c.want && !(v != v && c.want != c.want) {
					t.Fatalf("GELU(%v) at %d = %v, want %v", c.g, i, v, c.want)
				}
			}
		}
	})
}

func TestScaleMul(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths {
			x, w := normal(r, n), normal(r, n)
			scaled, product := make([]float32, n), make([]float32, n)
			for i, v := range x {
				scaled[i] = v * 1.7
				product[i] = scaled[i] * w[i]
			}
			got := append([]float32(nil), x...)
			if k.Scale(got, 1.7); !sameBits(got, scaled) {
				t.Errorf("%d values scaled are wrong", n)
			}
			if k.ScaleMul(x, w, 1.7); !sameBits(x, product) {
				t.Errorf("scaled product of %d values is wrong", n)
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range lengths[1:] {
			x := normal(r, n)
			for i := range x {
				x[i] *= 5
				if i > 0 && r.IntN(3) == 0 {
					x[i] = Masked * float32(1+r.IntN(5))
				}
			}
			got := append([]float32(nil), x...)
			k.Softmax(got)
			checkSoftmax(t, x, got)
		}
	})
}

func checkSoftmax(t *testing.T, x, got []float32) {
	t.Helper()
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, float64(v))
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	for i, v := range x {
		want := math.Exp(float64(v)-top) / sum
		if !near(got[i], want, 2e-6*want) || v <= Masked && got[i] != 0 {
			t.Fatalf("%d values: probability of %v is %v, want %v", len(x), v, got[i], want)
		}
	}
}

func TestSoftmaxExtremes(t *testing.T) {
	fill := func(v float32) []float32 {
		x := make([]float32, 64)
		for i := range x {
			x[i] = v
		}
		return x
	}
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, v := range []float32{Masked, -3e38, -inf} {
			x := fill(v)
			if k.Softmax(x); !sameBits(x, fill(0)) {
				t.Errorf("all scores %v: %v, want zeros", v, x)
			}
		}
		x := fill(Masked)
		x[40] = -80
		want := fill(0)
		want[40] = 1
		if k.Softmax(x); !sameBits(x, want) {
			t.Errorf("one score of −80, the others masked: %v", x)
		}
		x = fill(3)
		x[40] = nan
		if k.Softmax(x); x[0] == x[0] {
			t.Errorf("a NaN among the scores is hidden: %v", x)
		}
		k.Softmax(nil)
	})
}

func TestSumExp(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, n := range append(lengths, 150_001) {
			x := normal(r, n)
			before := append([]float32(nil), x...)
			want := 0.0
			for _, v := range x {
				want += math.Exp(float64(v) - 2.5)
			}
			if got := k.SumExp(x, 2.5); !near(got, want, 1e-6*want) {
				t.Errorf("sum over %d values %v, want %v", n, got, want)
			}
			if !sameBits(x, before) {
				t.Errorf("%d values were changed", n)
			}
		}
	})
}

func TestRope(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		for _, h := range []int{0, 1, 8, 16, 17, 32, 40, 64, 128} {
			x, c, s := normal(r, 2*h), normal(r, h), normal(r, h)
			got := append([]float32(nil), x...)
			k.Rope(got, c, s)
			for i := range h {
				a, b, cos, sin := float64(x[i]), float64(x[i+h]), float64(c[i]), float64(s[i])
				size := 1e-6 * (math.Abs(a) + math.Abs(b)) * (math.Abs(cos) + math.Abs(sin))
				if !near(got[i], a*cos-b*sin, size) || !near(got[i+h], a*sin+b*cos, size) {
					t.Fatalf("%d pairs: pair %d is (%v, %v)", h, i, got[i], got[i+h])
				}
			}
		}
	})
}

// TestGemmF32 checks products of every count of rows in a tile, odd strides,
// and that nothing outside rows × 32 is read or written.
func TestGemmF32(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for rows := 1; rows <= 14; rows++ {
			for _, kk := range []int{0, 1, 2, 3, 64, 101} {
				for _, accumulate := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d×%d,%v", rows, kk, accumulate), func(t *testing.T) {
						checkGemm(t, k, rows, kk, accumulate)
					})
				}
			}
		}
	})
}

func checkGemm(t *testing.T, k *Kernel, rows, kk int, accumulate bool) {
	r := newRand()
	lda, ldb, ldc := kk+3, 32+kk%2*7, 37
	a := normal(r, (rows-1)*lda+kk)
	b := normal(r, max(0, (kk-1)*ldb+32))
	before := normal(r, (rows-1)*ldc+32)
	c := append([]float32(nil), before...)
	k.GemmF32(rows, kk, a, lda, b, ldb, c, ldc, accumulate)
	for i, got := range c {
		row, col := i/ldc, i%ldc
		if col >= Panel {
			if got != before[i] {
				t.Fatalf("row %d: column %d outside the product was written", row, col)
			}
			continue
		}
		var want, size float64
		if accumulate {
			want = float64(before[i])
		}
		for j := range kk {
			term := float64(a[row*lda+j]) * float64(b[j*ldb+col])
			want, size = want+term, size+math.Abs(term)
		}
		if !near(got, want, productTolerance*(size+math.Abs(want))) {
			t.Fatalf("row %d, column %d: %v, want %v", row, col, got, want)
		}
	}
}

// TestGemmF32SameBits checks that a row's product has the same bits alone as
// among others, in one sum or continued.
func TestGemmF32SameBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		r := newRand()
		const rows, kk = 20, 75
		a, b := normal(r, rows*kk), normal(r, kk*Panel)
		c, d := make([]float32, rows*Panel), make([]float32, rows*Panel)
		k.GemmF32(rows, kk, a, kk, b, Panel, c, Panel, false)
		for row := range rows {
			k.GemmF32(1, kk, a[row*kk:], kk, b, Panel, d[row*Panel:], Panel, false)
		}
		if !sameBits(c, d) {
			t.Error("rows alone differ from rows together")
		}
		const cut = 33
		k.GemmF32(rows, cut, a, kk, b, Panel, d, Panel, false)
		k.GemmF32(rows, kk-cut, a[cut:], kk, b[cut*Panel:], Panel, d, Panel, true)
		if !sameBits(c, d) {
			t.Error("a sum continued differs from one at once")
		}
	})
}
