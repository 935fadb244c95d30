//go:build amd64 || arm64

package kernel

// The vector functions take whole steps; the remainder of a length is left to
// the portable functions.
const (
	vectorStep = 32
	ropeStep   = 16
)

func reduceOne(vector func(x *float32, n int) float32, tail func([]float32) float32) func([]float32) float32 {
	return func(x []float32) float32 {
		n := len(x) &^ (vectorStep - 1)
		if n == 0 {
			return tail(x)
		}
		s := vector(&x[0], n)
		if n < len(x) {
			s += tail(x[n:])
		}
		return s
	}
}

func reduceTwo(vector func(x, y *float32, n int) float32, tail func(x, y []float32) float32) func(x, y []float32) float32 {
	return func(x, y []float32) float32 {
		n := len(x) &^ (vectorStep - 1)
		if n == 0 {
			return tail(x, y)
		}
		s := vector(&x[0], &y[0], n)
		if n < len(x) {
			s += tail(x[n:], y[n:])
		}
		return s
	}
}

func reduceExp(vector func(x *float32, n int, max float32) float32, tail func([]float32, float32) float32) func([]float32, float32) float32 {
	return func(x []float32, max float32) float32 {
		n := len(x) &^ (vectorStep - 1)
		if n == 0 {
			return tail(x, max)
		}
		s := vector(&x[0], n, max)
		if n < len(x) {
			s += tail(x[n:], max)
		}
		return s
	}
}

func reduceMax(vector func(x *float32, n int) float32) func([]float32) float32 {
	return func(x []float32) float32 {
		n := len(x) &^ (vectorStep - 1)
		if n == 0 {
			return maxPortable(x)
		}
		return max(vector(&x[0], n), maxPortable(x[n:]))
	}
}

func mapTwo(vector func(dst, x *float32, n int), tail func(dst, x []float32)) func(dst, x []float32) {
	return func(dst, x []float32) {
		n := len(dst) &^ (vectorStep - 1)
		if n > 0 {
			vector(&dst[0], &x[0], n)
		}
		tail(dst[n:], x[n:])
	}
}

func mapScale(vector func(x *float32, n int, s float32)) func([]float32, float32) {
	return func(x []float32, s float32) {
		n := len(x) &^ (vectorStep - 1)
		if n > 0 {
			vector(&x[0], n, s)
		}
		scalePortable(x[n:], s)
	}
}

func mapScaled(vector func(x, w *float32, n int, s float32)) func(x, w []float32, s float32) {
	return func(x, w []float32, s float32) {
		n := len(x) &^ (vectorStep - 1)
		if n > 0 {
			vector(&x[0], &w[0], n, s)
		}
		scaleMulPortable(x[n:], w[n:], s)
	}
}

func mapRope(vector func(lo, hi, cos, sin *float32, n int)) func(x, cos, sin []float32) {
	return func(x, cos, sin []float32) {
		h := len(x) / 2
		n := h &^ (ropeStep - 1)
		if n > 0 {
			vector(&x[0], &x[h], &cos[0], &sin[0], n)
		}
		ropePairs(x[n:h], x[h+n:], cos[n:], sin[n:])
	}
}
