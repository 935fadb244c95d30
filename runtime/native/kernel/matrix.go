package kernel

import "fmt"

// Matrix holds the weights of a linear layer: N output columns × K inputs,
// integers with one float32 scale for each column and block of 32 inputs, packed
// in panels of 32 columns. N is padded to whole panels with columns of zero.
// The layout is private to the level that made it.
type Matrix struct {
	N, K   int
	level  Level
	layout layout
	w8     []int8
	w16    []int16 // instead of w8 in a fine matrix
	scales []float32
}

// The greatest weights. A fine block's sum of products with int16 activations
// stays below 32 × 32767 × 2047 < 2³¹.
const (
	weightSteps = 127 // -128 is allowed as well
	fineSteps   = 2047
)

// Steps returns the greatest magnitude that weights should be quantised to.
func (m *Matrix) Steps() int {
	if m.w16 != nil {
		return fineSteps
	}
	return weightSteps
}

// layout is how a level orders the weights of a panel: in strips of columns,
// each strip in groups of consecutive inputs, the strip's columns of one group
// side by side: [strip][K/group][column][group]. Scales go [strip][K/32][column].
type layout struct{ strip, group int }

// NewMatrix returns a matrix of n output columns × kk inputs, all zero. A fine
// one keeps twice the bytes a weight, for weights that int8 would round. It
// panics unless kk is a positive multiple of Block and n is positive.
func (k *Kernel) NewMatrix(n, kk int, fine bool) *Matrix {
	if n <= 0 || kk <= 0 || kk%Block != 0 {
		panic(fmt.Sprintf("kernel: matrix of %d columns × %d inputs: want at least one column, and inputs in a positive multiple of %d", n, kk, Block))
	}
	cols := (n + Panel - 1) / Panel * Panel
	m := &Matrix{N: n, K: kk, level: k.level, layout: k.layout, scales: make([]float32, cols*kk/Block)}
	if fine {
		m.w16 = make([]int16, cols*kk)
	} else {
		m.w8 = make([]int8, cols*kk)
	}
	return m
}

// Panels returns the number of panels.
func (m *Matrix) Panels() int { return (m.N + Panel - 1) / Panel }

// PackRow stores output column col: its K quantised weights and their K/Block
// scales. Distinct columns may be packed at the same time.
func (k *Kernel) PackRow(m *Matrix, col int, q []int16, scales []float32) {
	if m.level != k.level || col < 0 || col >= m.N || len(q) != m.K || len(scales) != m.K/Block {
		panic(fmt.Sprintf("kernel: pack column %d with %d weights and %d scales by %s: the matrix has %d columns of %d weights and was made by %s",
			col, len(q), len(scales), k.level, m.N, m.K, m.level))
	}
	strip := m.layout.strip
	base, lane := col/strip*strip, col%strip
	if m.w16 != nil {
		packColumn(m.w16[base*m.K:], q, m.layout, lane)
	} else {
		packColumn(m.w8[base*m.K:], q, m.layout, lane)
	}
	s := m.scales[base*m.K/Block+lane:]
	for b, v := range scales {
		s[b*strip] = v
	}
}

func packColumn[T int8 | int16](w []T, q []int16, l layout, lane int) {
	w = w[lane*l.group:]
	for i := 0; i < len(q); i += l.group {
		dst, src := w[i*l.strip:i*l.strip+l.group], q[i:i+l.group]
		for j, v := range src {
			dst[j] = T(v)
		}
	}
}

// MulPanels multiplies the activations of rows [r0, r1) with the columns of
// panels [p0, p1): c[row*ldc + col] = Σ over K. r0 must be a multiple of
// TileRows. Rows are computed in whole tiles, so c must have room up to r1
// rounded up to TileRows and for every column of the panels; the rows beyond r1
// and the columns beyond N receive values of no meaning.
func (k *Kernel) MulPanels(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	if m.level != k.level || m.K != a.K {
		panic(fmt.Sprintf("kernel: multiply by %s: weights have %d inputs and were packed by %s, activations have %d",
			k.level, m.K, m.level, a.K))
	}
	if p0 < 0 || p1 > m.Panels() || r0 < 0 || r0%TileRows != 0 || r1 > a.Rows {
		panic(fmt.Sprintf("kernel: multiply panels [%d, %d) of %d and rows [%d, %d) of %d: out of range, or the first row is no multiple of %d",
			p0, p1, m.Panels(), r0, r1, a.Rows, TileRows))
	}
	if p0 >= p1 || r0 >= r1 {
		return
	}
	if rows := padRows(r1); ldc < p1*Panel || len(c) < (rows-1)*ldc+p1*Panel {
		panic(fmt.Sprintf("kernel: multiply into %d values with rows %d apart: %d rows of %d columns do not fit",
			len(c), ldc, rows, p1*Panel))
	}
	k.mulPanels(m, a, p0, p1, r0, r1, c, ldc)
}

func padRows(rows int) int { return (rows + TileRows - 1) / TileRows * TileRows }
