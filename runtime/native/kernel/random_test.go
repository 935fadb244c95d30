package kernel

import "math/rand/v2"

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// plainMatrix is a matrix with its weights unpacked beside it: [N][K].
type plainMatrix struct {
	m      *Matrix
	q      [][]int16
	scales [][]float32
}

// product is a pair of encodings that multiply.
type product struct {
	weights Weights
	precise bool
}

// products are those of integers.
var products = []product{{Int8, false}, {Int8, true}, {Int12, true}}

func (p product) String() string {
	return map[product]string{{Int8, false}: "8 bits by 8", {Int8, true}: "16 bits by 8", {Int12, true}: "16 bits by 12"}[p]
}

func (p product) matrix(r *rand.Rand, k *Kernel, n, kk int) plainMatrix {
	m := plainMatrix{m: k.NewMatrix(p.weights, n, kk)}
	steps := p.weights.Steps()
	for col := range n {
		q, s := make([]int16, kk), make([]float32, kk/Block)
		for i := range q {
			q[i] = int16(r.IntN(2*steps+2) - steps - 1)
		}
		for i := range s {
			s[i] = r.Float32() / 64
		}
		m.q, m.scales = append(m.q, q), append(m.scales, s)
		k.PackRow(m.m, col, q, s)
	}
	return m
}

func (p product) room(k *Kernel, rows, kk int) *Activations {
	return k.NewActivations(p.weights, rows, kk, p.precise)
}

func (p product) activations(r *rand.Rand, k *Kernel, rows, kk int) *Activations {
	a := p.room(k, rows, kk)
	for row := range rows {
		k.Quantize(a, row, normal(r, kk), nil, 1)
	}
	return a
}

// newRand returns the same sequence in every run.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(576, 1536)) }
