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
	if a.encoding == inSplit {
		return splitQuants(a, row)
	}
	i, s := a.at(row)
	step := tileRows
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
		i, s = i+tileRows*Block, s+step
	}
	return q, scales
}

// splitQuants is quants where a row has one scale: it is that of every block.
func splitQuants(a *Activations, row int) (q []int16, scales []float32) {
	at := a.splitAt(row)
	for i := range a.K {
		high := at + i/splitStep*2*splitTile + i%splitStep
		q = append(q, 256*int16(a.bytes[high])+int16(a.bytes[high+splitTile]))
	}
	return q, slices.Repeat([]float32{a.scales[row]}, a.K/Block)
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
	w := make([][]int16, n)
	for row := range rows {
		v := make([]float32, Block)
		for i := range v {
			v[i], _ = fill(r, steps)
		}
		k.Quantize(a, row, v, nil, 1)
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
	c := make([]float32, padRows(rows, k.tileRows)*ldc)
	k.MulPanels(m, a, 0, m.Panels(), 0, rows, c, ldc)
	tolerance := 0.0
	if k.splits {
		tolerance = productTolerance // two sums meet in float32
	}
	for row := range rows {
		for col := range n {
			sum, size := wantSum(m, a, row, w[col], []float32{0.5})
			got, want := c[row*ldc+col], float32(sum)
			if math.Abs(float64(got-want)) > tolerance*size {
				t.Fatalf("row %d, column %d: %v, want %v", row, col, got, want)
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
					c := make([]float32, padRows(s.rows, k.tileRows)*ldc)
					k.MulPanels(w.m, a, 0, w.m.Panels(), 0, s.rows, c, ldc)
					for row := range s.rows {
						checkRow(t, w, a, row, c[row*ldc:])
					}
				})
			}
		}
	})
}

// TestFewerInputsThanTheMatrix multiplies with the first inputs of a matrix alone,
// as attention does with a prefix that has room for more.
func TestFewerInputsThanTheMatrix(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		const n, kk, whole = 40, 96, 160
		r := newRand()
		w, a := p.matrix(r, k, n, whole), p.activations(r, k, 7, kk)
		ldc := w.m.Panels() * Panel
		c := make([]float32, padRows(7, k.tileRows)*ldc)
		k.MulPanels(w.m, a, 0, w.m.Panels(), 0, 7, c, ldc)
		for col := range n {
			w.q[col], w.scales[col] = w.q[col][:kk], w.scales[col][:kk/Block]
		}
		for row := range 7 {
			checkRow(t, w, a, row, c[row*ldc:])
		}
	})
}

func checkRow(t *testing.T, p plainMatrix, a *Activations, row int, got []float32) {
	t.Helper()
	for col := range p.q {
		want, size := wantSum(p.m, a, row, p.q[col], p.scales[col])
		if diff := math.Abs(float64(got[col]) - want); !(diff <= productTolerance*size) {
			t.Fatalf("row %d, column %d: %v, want %v", row, col, got[col], want)
		}
	}
}

// wantSum is the product of a row with a column of weights in exact arithmetic,
// and the sum of its terms' magnitudes.
func wantSum(m *Matrix, a *Activations, row int, w []int16, ws []float32) (sum, size float64) {
	q, scales := quants(a, row)
	if a.encoding == inSplit {
		v, s := splitColumn(m.Weights, w, ws)
		sum, size = splitSum(q, v)
		s *= float64(scales[0])
		return sum * s, size * math.Abs(s)
	}
	for b, n := range blockSums(q, w) {
		term := float64(n) * float64(scales[b]) * float64(ws[b])
		sum, size = sum+term, size+math.Abs(term)
	}
	return sum, size
}

// TestMulPanelsStaysInside checks that nothing but whole tiles of the asked
// rows and panels is written.
func TestMulPanelsStaysInside(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		first, tile := k.tileRows, k.tileRows // the second tile, and two rows of the third
		m, a := p.matrix(r, k, 128, 64).m, p.activations(r, k, 4*tile, 64)
		const ldc, untouched = 130, -12345
		c := make([]float32, 4*tile*ldc)
		for i := range c {
			c[i] = untouched
		}
		k.MulPanels(m, a, 1, 3, first, first+tile+2, c[Panel:], ldc)
		for i, v := range c {
			row, col := i/ldc, i%ldc
			inside := row >= first && row < first+2*tile && col >= 32 && col < 96
			asked := inside && row < first+tile+2
			if asked && v == untouched || !inside && v != untouched {
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
		const rows, n, kk = 70, 160, 576
		m := p.matrix(r, k, n, kk).m
		x := make([][]float32, rows)
		whole := p.room(k, rows, kk)
		for row := range x {
			x[row] = normal(r, kk)
			k.Quantize(whole, row, x[row], nil, 1)
		}
		c := make([]float32, padRows(rows, k.tileRows)*n)
		k.MulPanels(m, whole, 0, m.Panels(), 0, rows, c, n)

		for row := range x {
			alone := p.room(k, 1+r.IntN(12), kk)
			at := r.IntN(alone.Rows)
			k.Quantize(alone, at, x[row], nil, 1)
			d := make([]float32, padRows(alone.Rows, k.tileRows)*n)
			k.MulPanels(m, alone, 0, m.Panels(), at/k.tileRows*k.tileRows, at+1, d, n)
			if !sameBits(d[at*n:(at+1)*n], c[row*n:(row+1)*n]) {
				t.Fatalf("row %d alone in place %d differs from the batch", row, at)
			}
		}

		pieces := make([]float32, len(c))
		for _, p := range r.Perm(m.Panels()) {
			for r0 := 0; r0 < rows; r0 += 2 * k.tileRows {
				k.MulPanels(m, whole, p, p+1, r0, min(r0+2*k.tileRows, rows), pieces[p*Panel:], n)
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
