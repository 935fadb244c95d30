package kernel

import "math"

// portable returns the kernel in plain Go.
func portable() *Kernel {
	return &Kernel{
		level:         Portable,
		tileRows:      tileRows,
		layouts:       [3]layout{Int8: {strip: Panel, group: Block}, Int12: {strip: Panel, group: Block}},
		quantizeWords: quantizePortable,
		mulPanels:     mulPanelsPortable,
		gemmF32:       gemmF32Portable,
		sumSquares:    sumSquaresPortable,
		dot:           dotPortable,
		add:           addPortable,
		siluMul:       siluMulPortable,
		geluMul:       geluMulPortable,
		max:           maxPortable,
		expSum:        expSumPortable,
		sumExp:        sumExpPortable,
		scale:         scalePortable,
		scaleMul:      scaleMulPortable,
		rope:          ropePortable,
	}
}

func sumSquaresPortable(x []float32) float32 { return dotPortable(x, x) }

// dotPortable sums in eight lanes, as the vector levels do, which keeps the
// rounding error of long sums small.
func dotPortable(x, y []float32) float32 {
	var s [8]float32
	for len(x) >= 8 && len(y) >= 8 {
		for j := range s {
			s[j] += float32(x[j] * y[j])
		}
		x, y = x[8:], y[8:]
	}
	for j, v := range x {
		s[j] += float32(v * y[j])
	}
	return (s[0] + s[4]) + (s[1] + s[5]) + ((s[2] + s[6]) + (s[3] + s[7]))
}

func addPortable(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] += v
	}
}

func siluMulPortable(g, u []float32) {
	u = u[:len(g)]
	for i, v := range g {
		g[i] = v / (1 + exp32(-v)) * u[i]
	}
}

// The argument of GELU's sigmoid is geluLinear·x + geluCubic·x³.
const (
	geluLinear = 1.5957691216057308 // 2·√(2/π)
	geluCubic  = geluLinear * 0.044715
)

func geluMulPortable(g, u []float32) {
	u = u[:len(g)]
	for i, v := range g {
		t := float32(float32(v*v)*geluCubic) + geluLinear
		g[i] = v / (1 + exp32(-float32(v*t))) * u[i]
	}
}

func maxPortable(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func expSumPortable(x []float32, max float32) float32 {
	var sum float64
	for i, v := range x {
		e := exp32(v - max)
		x[i] = e
		sum += float64(e)
	}
	return float32(sum)
}

func sumExpPortable(x []float32, max float32) float32 {
	var sum float64
	for _, v := range x {
		sum += float64(exp32(v - max))
	}
	return float32(sum)
}

func scalePortable(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}

func scaleMulPortable(x, w []float32, s float32) {
	w = w[:len(x)]
	for i := range x {
		x[i] = float32(x[i]*s) * w[i]
	}
}

func ropePortable(x, cos, sin []float32) {
	h := len(x) / 2
	ropePairs(x[:h], x[h:], cos, sin)
}

func ropePairs(lo, hi, cos, sin []float32) {
	for i, a := range lo {
		b := hi[i]
		lo[i] = float32(a*cos[i]) - float32(b*sin[i])
		hi[i] = float32(a*sin[i]) + float32(b*cos[i])
	}
}

// The exponential of every level: x = n·ln2 + r with |r| ≤ ln2/2, e^x = 2ⁿ·e^r,
// e^r = 1 + r + r²·p(r), ln2 in two parts so that n·ln2Hi is exact. The
// coefficients are those of the Cephes library's expf.
const (
	expMin = -75         // below it the result is 0
	expMax = 88.72283    // above it, +Inf
	log2E  = 1.442695041 // 1/ln2
	ln2Hi  = 0.693359375
	ln2Lo  = -2.12194440e-4
)

// expPoly holds the coefficients of p, highest first.
var expPoly = [...]float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

// exp32 returns e^x within 2 units in the last place; 0 below expMin.
func exp32(x float32) float32 {
	switch {
	case x < expMin:
		return 0
	case x > expMax:
		return float32(math.Inf(1))
	case x != x:
		return x
	}
	const round = 3 << 22 // adding and taking it away rounds to an integer
	n := float32(float32(x*log2E)+round) - round
	r := float32(x-float32(n*ln2Hi)) - float32(n*ln2Lo)
	p := expPoly[0]
	for _, c := range expPoly[1:] {
		p = float32(p*r) + c
	}
	p = float32(p*float32(r*r)) + (r + 1)
	return math.Float32frombits(math.Float32bits(p) + uint32(int32(n))<<23)
}
