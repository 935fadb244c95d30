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

func randomMatrix(r *rand.Rand, k *Kernel, n, kk int, fine bool) plainMatrix {
	p := plainMatrix{m: k.NewMatrix(n, kk, fine)}
	for col := range n {
		q, s := make([]int16, kk), make([]float32, kk/Block)
		for i := range q {
			q[i] = int16(r.IntN(2*p.m.Steps()+2) - p.m.Steps() - 1)
		}
		for i := range s {
			s[i] = r.Float32() / 64
		}
		p.q, p.scales = append(p.q, q), append(p.scales, s)
		k.PackRow(p.m, col, q, s)
	}
	return p
}

func randomActivations(r *rand.Rand, k *Kernel, rows, kk int) *Activations {
	a := k.NewActivations(rows, kk)
	for row := range rows {
		k.Quantize(a, row, normal(r, kk), nil, 1)
	}
	return a
}

// newRand returns the same sequence in every run.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(576, 1536)) }
