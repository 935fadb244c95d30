package kernel

import "fmt"

// Masked is the score of a position that must not be attended to: Softmax
// gives exactly 0 to any score at or below it.
const Masked = -1e30

// GemmF32 multiplies rows × kk values of a (rows lda apart) with kk × 32 of b
// (ldb apart) into rows × 32 of c (ldc apart): c = a·b, or c += a·b if
// accumulate is set. It touches nothing outside these values. Each value of c is
// one sum in order of kk, starting from 0 or c.
func (k *Kernel) GemmF32(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	if rows <= 0 {
		return
	}
	ok := kk >= 0 && len(c) >= (rows-1)*ldc+Panel && (rows == 1 || ldc >= Panel && lda >= 0)
	if kk > 0 {
		ok = ok && len(a) >= (rows-1)*lda+kk && ldb >= 0 && len(b) >= (kk-1)*ldb+Panel
	}
	if !ok {
		panic(fmt.Sprintf("kernel: float product of %d rows × %d: buffers too small: a %d by %d, b %d by %d, c %d by %d",
			rows, kk, len(a), lda, len(b), ldb, len(c), ldc))
	}
	k.gemmF32(rows, kk, a, lda, b, ldb, c, ldc, accumulate)
}

// SumSquares returns Σ x².
func (k *Kernel) SumSquares(x []float32) float32 { return k.sumSquares(x) }

// Dot returns Σ x·y.
func (k *Kernel) Dot(x, y []float32) float32 {
	sameLength("dot product", x, y)
	return k.dot(x, y)
}

// Add adds x to dst, elementwise.
func (k *Kernel) Add(dst, x []float32) {
	sameLength("sum", dst, x)
	k.add(dst, x)
}

// SiLUMul sets g to g × sigmoid(g) × u, elementwise.
func (k *Kernel) SiLUMul(g, u []float32) {
	sameLength("gated SiLU", g, u)
	k.siluMul(g, u)
}

// GELUMul sets g to GELU(g) × u, elementwise, with the tanh approximation of
// Hendrycks & Gimpel (2016): g/2·(1 + tanh(√(2/π)·(g + 0.044715·g³))), computed
// as g × sigmoid of twice that tanh's argument.
func (k *Kernel) GELUMul(g, u []float32) {
	sameLength("gated GELU", g, u)
	k.geluMul(g, u)
}

// Scale multiplies x by s, elementwise.
func (k *Kernel) Scale(x []float32, s float32) { k.scale(x, s) }

// ScaleMul multiplies x by s and by w, elementwise.
func (k *Kernel) ScaleMul(x, w []float32, s float32) {
	sameLength("scaled product", x, w)
	k.scaleMul(x, w, s)
}

// Softmax sets x to exp(x − max) / Σ exp(x − max), see Exp.
func (k *Kernel) Softmax(x []float32) { k.scale(x, k.Exp(x)) }

// Exp sets x to exp(x − max) and returns 1/Σ. Scores at or below Masked give
// exactly 0, and so do those that are 75 or more below the greatest: smaller
// values would be lost in the sum, and denormal numbers downstream. If every score
// is masked, all of x becomes 0, and so does the result.
func (k *Kernel) Exp(x []float32) float32 {
	m := k.max(x)
	if m <= Masked {
		clear(x)
		return 0
	}
	return 1 / k.expSum(x, m)
}

// SumExp returns Σ exp(x − max), leaving x as it is. Terms below e⁻⁷⁵ count as 0.
// It sums in chunks, so that a vocabulary of a quarter million terms does not
// add up rounding errors.
func (k *Kernel) SumExp(x []float32, max float32) float32 {
	const chunk = 1024
	var sum float64
	for len(x) > chunk {
		sum += float64(k.sumExp(x[:chunk], max))
		x = x[chunk:]
	}
	return float32(sum + float64(k.sumExp(x, max)))
}

// Max returns the greatest value of x, −Inf if x is empty. Where x holds NaN,
// the result may be any of its values.
func (k *Kernel) Max(x []float32) float32 { return k.max(x) }

// Rope turns the pairs (x[i], x[i+h]), h = len(x)/2, by the angles whose
// cosines and sines are given: (x[i]·cos − x[i+h]·sin, x[i]·sin + x[i+h]·cos).
func (k *Kernel) Rope(x, cos, sin []float32) {
	if h := len(x) / 2; len(x)%2 != 0 || len(cos) != h || len(sin) != h {
		panic(fmt.Sprintf("kernel: rotate %d values by %d cosines and %d sines: want half as many of each",
			len(x), len(cos), len(sin)))
	}
	k.rope(x, cos, sin)
}

func sameLength(what string, x, y []float32) {
	if len(x) != len(y) {
		panic(fmt.Sprintf("kernel: %s of %d and %d values: lengths differ", what, len(x), len(y)))
	}
}
