package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// quants returns the integers of one row of a, and its scales.
func quants(a *Activations, row int) (q []int16, scales []float32) {
	i, s := a.at(row)
	step := TileRows
	if a.encoding == inPlanes {
		i, s = a.planesAt(row)
		step = halfTile
	}
	for range a.K / Block {
		for j := i; j < i+Block; j++ {
			switch a.encoding {
			case inWords:
				q = append(q, a.words[j])
			case inBytes:
				q = append(q, int16(a.bytes[j]))
			case inPlanes:
				q = append(q, 256*int16(a.bytes[j])+int16(a.bytes[j+Block]))
			}
		}
		scales = append(scales, a.scales[s])
		i, s = i+TileRows*Block, s+step
	}
	return q, scales
}

// blockSums returns the exact integer sum of each block of one row and column.
func blockSums(a, w []int16) []int32 {
	sums := make([]int32, len(a)/Block)
	for i := range a {
		sums[i/Block] += int32(a[i]) * int32(w[i])
	}
	return sums
}

// TestBlockSumsExact multiplies with one block and scales of a power of two, so
// the float result is the integer sum itself.
func TestBlockSumsExact(t *testing.T) {
	weight := func(r *rand.Rand, steps int) int16 { return int16(r.IntN(2*steps+2) - steps - 1) }
	fills := map[string]func(r *rand.Rand, steps int) (a float32, w int16){
		"random": func(r *rand.Rand, steps int) (float32, int16) {
			return float32(r.IntN(255) - 127), weight(r, steps)
		},
		"greatest positive": func(_ *rand.Rand, steps int) (float32, int16) { return -127, int16(-steps - 1) },
		"greatest negative": func(_ *rand.Rand, steps int) (float32, int16) { return 127, int16(-steps - 1) },
		"alternating": func(r *rand.Rand, steps int) (float32, int16) {
			return float32(127 * (r.IntN(2)*2 - 1)), int16((-steps - 1) * r.IntN(2))
		},
		"zero activations": func(r *rand.Rand, steps int) (float32, int16) { return 0, weight(r, steps) },
		"zero weights":     func(r *rand.Rand, _ int) (float32, int16) { return float32(r.IntN(255) - 127), 0 },
	}
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for name, fill := range fills {
			for _, p := range products {
				t.Run(fmt.Sprintf("%s, %v", name, p), func(t *testing.T) { checkBlockSums(t, k, p, fill) })
			}
		}
	})
}

func checkBlockSums(t *testing.T, k *Kernel, p product, fill func(r *rand.Rand, steps int) (float32, int16)) {
	r := newRand()
	const rows, n = 13, 70
	m, a := k.NewMatrix(p.weights, n, Block), p.room(k, rows, Block)
	steps := p.weights.Steps()
	x, w := make([][]int16, rows), make([][]int16, n)
	for row := range x {
		v := make([]float32, Block)
		for i := range v {
			v[i], _ = fill(r, steps)
		}
		k.Quantize(a, row, v, nil, 1)
		x[row], _ = quants(a, row)
	}
	for i := range a.scales {
		a.scales[i] = 2
	}
	for col := range w {
		w[col] = make([]int16, Block)
		for i := range w[col] {
			_, w[col][i] = fill(r, steps)
		}
		k.PackRow(m, col, w[col], []float32{0.5})
	}
	ldc := m.Panels() * Panel
	c := make([]float32, padRows(rows)*ldc)
	k.MulPanels(m, a, 0, m.Panels(), 0, rows, c, ldc)
	for row := range rows {
		for col := range n {
			if want := blockSums(x[row], w[col])[0]; c[row*ldc+col] != float32(want) {
				t.Fatalf("row %d, column %d: %v, want %d", row, col, c[row*ldc+col], want)
			}
		}
	}
}

// productTolerance bounds the relative error of a float32 sum in any order,
// taken from the sum of its terms' magnitudes.
const productTolerance = 1e-5

// TestMulPanels checks products of several shapes against a sum in float64.
func TestMulPanels(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, s := range []struct{ rows, n, kk int }{{1, 1, 32}, {6, 32, 64}, {7, 33, 96}, {26, 100, 576}, {25, 100, 576}, {3, 64, 1536}} {
			for _, p := range products {
				t.Run(fmt.Sprintf("%d×%d×%d, %v", s.rows, s.n, s.kk, p), func(t *testing.T) {
					r := newRand()
					w, a := p.matrix(r, k, s.n, s.kk), p.activations(r, k, s.rows, s.kk)
					ldc := w.m.Panels()*Panel + 5
					c := make([]float32, padRows(s.rows)*ldc)
					k.MulPanels(w.m, a, 0, w.m.Panels(), 0, s.rows, c, ldc)
					for row := range s.rows {
						checkRow(t, w, a, row, c[row*ldc:])
					}
				})
			}
		}
	})
}

func checkRow(t *testing.T, p plainMatrix, a *Activations, row int, got []float32) {
	t.Helper()
	q, scales := quants(a, row)
	for col := range p.q {
		var want, size float64
		for b, sum := range blockSums(q, p.q[col]) {
			term := float64(sum) * float64(scales[b]) * float64(p.scales[col][b])
			want, size = want+term, size+math.Abs(term)
		}
		if diff := math.Abs(float64(got[col]) - want); !(diff <= productTolerance*size) {
			t.Fatalf("row %d, column %d: %v, want %v", row, col, got[col], want)
		}
	}
}

// TestMulPanelsStaysInside checks that nothing but whole tiles of the asked
// rows and panels is written.
func TestMulPanelsStaysInside(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		m, a := p.matrix(r, k, 128, 64).m, p.activations(r, k, 20, 64)
		const ldc, untouched = 130, -12345
		c := make([]float32, 24*ldc)
		for i := range c {
			c[i] = untouched
		}
		k.MulPanels(m, a, 1, 3, 6, 14, c, ldc)
		for i, v := range c {
			row, col := i/ldc, i%ldc
			asked := row >= 6 && row < 14 && col >= 32 && col < 96
			allowed := asked || row >= 14 && row < 18 && col >= 32 && col < 96
			if asked && v == untouched || !allowed && v != untouched {
				t.Fatalf("row %d, column %d: %v", row, col, v)
			}
		}
	})
}

// TestSameBitsAnyTiling is the promise that batching rests on: a row's products
// have the same bits alone, in any place of a batch, and in any order of panels.
func TestSameBitsAnyTiling(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		const rows, n, kk = 32, 160, 576
		m := p.matrix(r, k, n, kk).m
		x := make([][]float32, rows)
		whole := p.room(k, rows, kk)
		for row := range x {
			x[row] = normal(r, kk)
			k.Quantize(whole, row, x[row], nil, 1)
		}
		c := make([]float32, padRows(rows)*n)
		k.MulPanels(m, whole, 0, m.Panels(), 0, rows, c, n)

		for row := range x {
			alone := p.room(k, 1+r.IntN(12), kk)
			at := r.IntN(alone.Rows)
			k.Quantize(alone, at, x[row], nil, 1)
			d := make([]float32, padRows(alone.Rows)*n)
			k.MulPanels(m, alone, 0, m.Panels(), at/TileRows*TileRows, at+1, d, n)
			if !sameBits(d[at*n:(at+1)*n], c[row*n:(row+1)*n]) {
				t.Fatalf("row %d alone in place %d differs from the batch", row, at)
			}
		}

		pieces := make([]float32, len(c))
		for _, p := range r.Perm(m.Panels()) {
			for r0 := 0; r0 < rows; r0 += 2 * TileRows {
				k.MulPanels(m, whole, p, p+1, r0, min(r0+2*TileRows, rows), pieces, n)
			}
		}
		if !sameBits(pieces[:rows*n], c[:rows*n]) {
			t.Fatal("products in pieces differ from those at once")
		}
	})
}

// TestPackRowConcurrently packs columns from several goroutines; it is of use
// under the race detector.
func TestPackRowConcurrently(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, kind product) {
		r := newRand()
		p := kind.matrix(r, k, 96, 64)
		m := k.NewMatrix(kind.weights, 96, 64)
		var wait sync.WaitGroup
		for first := range 4 {
			wait.Go(func() {
				for col := first; col < 96; col += 4 {
					k.PackRow(m, col, p.q[col], p.scales[col])
				}
			})
		}
		wait.Wait()
		if !sameBits(m.scales, p.m.scales) || !slices.Equal(m.w8, p.m.w8) || !slices.Equal(m.w16, p.m.w16) {
			t.Error("a matrix packed by four goroutines differs from one packed by one")
		}
	})
}
