package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// reportRate reports work multiply-adds a round as G multiply-adds a second.
func reportRate(b *testing.B, work int) {
	b.ReportMetric(float64(work)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
}

// BenchmarkMulPanels multiplies 384 rows with the shapes of a 135M model's
// feed-forward layers, on one core.
func BenchmarkMulPanels(b *testing.B) {
	const rows = 384
	for _, k := range available {
		for _, s := range []struct {
			k, n int
		}{{576, 1536}, {1536, 576}} {
			for _, p := range products {
				b.Run(fmt.Sprintf("%s/K=%d,N=%d/%v", k.level, s.k, s.n, p), func(b *testing.B) {
					r := rand.New(rand.NewPCG(1, 2))
					m, a := p.matrix(r, k, s.n, s.k).m, p.activations(r, k, rows, s.k)
					c := make([]float32, rows*s.n)
					for b.Loop() {
						k.MulPanels(m, a, 0, m.Panels(), 0, rows, c, s.n)
					}
					reportRate(b, rows*s.k*s.n)
				})
			}
		}
	}
}

// BenchmarkGemmF32 multiplies as attention does: queries with packed keys of
// width 64, and probabilities with 448 values.
func BenchmarkGemmF32(b *testing.B) {
	for _, k := range available {
		for _, s := range []struct{ rows, kk, ldb int }{{384, 64, 32}, {384, 448, 64}} {
			b.Run(fmt.Sprintf("%s/rows=%d,K=%d", k.level, s.rows, s.kk), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				x, y := normal(r, s.rows*s.kk), normal(r, s.kk*s.ldb)
				c := make([]float32, s.rows*Panel)
				for b.Loop() {
					k.GemmF32(s.rows, s.kk, x, s.kk, y, s.ldb, c, Panel, false)
				}
				reportRate(b, s.rows*s.kk*Panel)
			})
		}
	}
}

// BenchmarkRow runs the functions of one row at the widths of a 135M model.
func BenchmarkRow(b *testing.B) {
	const n = 1536
	for _, k := range available {
		r := rand.New(rand.NewPCG(1, 2))
		x, y, w := normal(r, n), normal(r, n), normal(r, n)
		a := k.NewActivations(Int8, 1, n, false)
		for _, f := range []struct {
			name string
			run  func()
		}{
			{"Quantize", func() { k.Quantize(a, 0, x, w, 0.5) }},
			{"SiLUMul", func() { copy(y, x); k.SiLUMul(y, w) }},
			{"GELUMul", func() { copy(y, x); k.GELUMul(y, w) }},
			{"ScaleMul", func() { copy(y, x); k.ScaleMul(y, w, 0.5) }},
			{"Softmax", func() { copy(y, x); k.Softmax(y) }},
			{"SumExp", func() { k.SumExp(x, 3) }},
			{"Add", func() { copy(y, x); k.Add(y, w) }},
			{"SumSquares", func() { k.SumSquares(x) }},
			{"Rope", func() { copy(y, x); k.Rope(y, w[:n/2], w[n/2:]) }},
		} {
			b.Run(fmt.Sprintf("%s/%s", k.level, f.name), func(b *testing.B) {
				for b.Loop() {
					f.run()
				}
				b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gvalues/s")
			})
		}
	}
}
