package kernel

import (
	"fmt"
	"math"
)

// Weights says how a matrix holds its weights.
type Weights uint8

const (
	// Int8 holds weights of -128 to 127, as Q8_0 and Q4_0 files have them.
	Int8 Weights = iota
	// Int12 holds weights of ±2047 in two bytes, for those that Int8 would round.
	Int12
	// Float32 holds the weights as they are and makes the product in float32:
	// the reference that the integer kinds are measured against.
	Float32
)

// Matrix holds the weights of a linear layer: N output columns × K inputs,
// integers with one float32 scale for each column and block of 32 inputs, packed
// in panels of 32 columns. N is padded to whole panels with columns of zero.
// The layout is private to the level that made it.
type Matrix struct {
	N, K    int
	Weights Weights
	level   Level
	layout  layout
	w8      []int8    // Int8
	w16     []int16   // Int12
	scales  []float32 // of both
	w32     []float32 // Float32: [panel][K][Panel]
}

// The greatest weights, see preciseSteps.
const (
	int8Steps  = 127 // -128 is allowed as well
	int12Steps = 2047
)

// Steps returns the greatest magnitude that weights of an integer kind should
// be quantised to.
func (w Weights) Steps() int {
	if w == Int12 {
		return int12Steps
	}
	return int8Steps
}

// layout is how a level orders the weights of a panel: in strips of columns,
// each strip in groups of consecutive inputs, the strip's columns of one group
// side by side: [strip][K/group][column][group]. Scales go [strip][K/32][column].
// Weights of a level that dots bytes are stored as w + 128, unsigned, where unsigned
// is set.
type layout struct {
	strip, group int
	unsigned     bool
}

// weightOffset makes int8 weights unsigned; activations carry what takes it
// out of the sums again.
const weightOffset = 128

// NewMatrix returns a matrix of n output columns × kk inputs; every column is
// to be packed. It panics unless kk is a positive multiple of Block and n is positive.
func (k *Kernel) NewMatrix(w Weights, n, kk int) *Matrix {
	if n <= 0 || kk <= 0 || kk%Block != 0 {
		panic(fmt.Sprintf("kernel: matrix of %d columns × %d inputs: want at least one column, and inputs in a positive multiple of %d", n, kk, Block))
	}
	cols := (n + Panel - 1) / Panel * Panel
	m := &Matrix{N: n, K: kk, Weights: w, level: k.level, layout: k.layouts[w]}
	switch w {
	case Float32:
		m.w32 = make([]float32, cols*kk)
		return m
	case Int12:
		m.w16 = make([]int16, cols*kk)
	default:
		m.w8 = make([]int8, cols*kk)
	}
	m.scales = make([]float32, cols*kk/Block)
	return m
}

// Panels returns the number of panels.
func (m *Matrix) Panels() int { return (m.N + Panel - 1) / Panel }

// Bytes returns the memory that the weights take.
func (m *Matrix) Bytes() int { return len(m.w8) + 2*len(m.w16) + 4*len(m.scales) + 4*len(m.w32) }

// PackRow stores output column col of an integer matrix: its K quantised weights
// and their K/Block scales. Distinct columns may be packed at the same time.
func (k *Kernel) PackRow(m *Matrix, col int, q []int16, scales []float32) {
	if m.level != k.level || m.Weights == Float32 || col < 0 || col >= m.N || len(q) != m.K || len(scales) != m.K/Block {
		panic(fmt.Sprintf("kernel: pack column %d with %d weights and %d scales by %s: the matrix has %d columns of %d weights and was made by %s",
			col, len(q), len(scales), k.level, m.N, m.K, m.level))
	}
	strip := m.layout.strip
	m.pack(col, 0, q)
	s := m.scales[col/strip*strip*m.K/Block+col%strip:]
	for b, v := range scales {
		s[b*strip] = v
	}
}

// pack stores weights of column col from input i on.
func (m *Matrix) pack(col, i int, q []int16) {
	strip := m.layout.strip
	at, lane := col/strip*strip*m.K+i*strip, col%strip
	switch {
	case m.w16 != nil:
		packColumn(m.w16[at:], q, m.layout, lane, 0)
	case m.layout.unsigned:
		packColumn(m.w8[at:], q, m.layout, lane, weightOffset)
	default:
		packColumn(m.w8[at:], q, m.layout, lane, 0)
	}
}

func packColumn[T int8 | int16](w []T, q []int16, l layout, lane int, offset int16) {
	w = w[lane*l.group:]
	for i := 0; i < len(q); i += l.group {
		dst, src := w[i*l.strip:i*l.strip+l.group], q[i:i+l.group]
		for j, v := range src {
			dst[j] = T(v + offset)
		}
	}
}

func packFloats(m *Matrix, col, at int, x []float32) {
	panel := m.w32[col/Panel*Panel*m.K+at*Panel+col%Panel:]
	for i, v := range x {
		panel[i*Panel] = v
	}
}

// PackBlock stores block b of output column col from 32 values: as they are in
// a Float32 matrix, otherwise rounded symmetrically to the matrix's steps.
func (k *Kernel) PackBlock(m *Matrix, col, b int, x []float32) {
	if m.level != k.level || col < 0 || col >= m.N || b < 0 || b >= m.K/Block || len(x) != Block {
		panic(fmt.Sprintf("kernel: pack block %d of column %d with %d values by %s: the matrix has %d columns of %d and was made by %s",
			b, col, len(x), k.level, m.N, m.K, m.level))
	}
	if m.Weights == Float32 {
		packFloats(m, col, b*Block, x)
		return
	}
	strip := m.layout.strip
	base, lane := col/strip*strip, col%strip
	var q [Block]int16
	m.scales[(base*m.K/Block)+b*strip+lane] = roundWeights(&q, x, m.Weights.Steps())
	m.pack(col, b*Block, q[:])
}

// roundWeights rounds to nearest, ties to even; the greatest magnitude becomes
// ±steps.
func roundWeights(q *[Block]int16, x []float32, steps int) (scale float32) {
	var top float32
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
	}
	if top == 0 {
		return 0
	}
	inverse := float64(steps) / float64(top)
	for i, v := range x {
		q[i] = int16(math.RoundToEven(float64(v) * inverse))
	}
	return top / float32(steps)
}

// MulPanels multiplies the activations of rows [r0, r1) with the columns of
// panels [p0, p1): c[row*ldc + col − p0·32] = Σ over the K of the activations, which may
// be fewer than the matrix has: the first ones. r0 must be a multiple of
// TileRows. Rows are computed in whole tiles, so c must have room up to r1
// rounded up to TileRows and for every column of the panels; the rows beyond r1
// and the columns beyond N may receive values of no meaning.
func (k *Kernel) MulPanels(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	if m.level != k.level || a.K > m.K || !a.fits(m, k) {
		panic(fmt.Sprintf("kernel: multiply by %s: weights of kind %d have %d inputs and were packed by %s, activations have %d in encoding %d",
			k.level, m.Weights, m.K, m.level, a.K, a.encoding))
	}
	if p0 < 0 || p1 > m.Panels() || r0 < 0 || r0%k.tileRows != 0 || r1 > a.Rows {
		panic(fmt.Sprintf("kernel: multiply panels [%d, %d) of %d and rows [%d, %d) of %d: out of range, or the first row is no multiple of %d",
			p0, p1, m.Panels(), r0, r1, a.Rows, k.tileRows))
	}
	if p0 >= p1 || r0 >= r1 {
		return
	}
	if rows, width := padRows(r1, k.tileRows), (p1-p0)*Panel; ldc < width || len(c) < (rows-1)*ldc+width {
		panic(fmt.Sprintf("kernel: multiply into %d values with rows %d apart: %d rows of %d columns do not fit",
			len(c), ldc, rows, width))
	}
	if m.Weights == Float32 {
		for p := p0; p < p1; p++ {
			k.gemmF32(r1-r0, a.K, a.floats[r0*a.K:], a.K, m.w32[p*Panel*m.K:], Panel, c[r0*ldc+(p-p0)*Panel:], ldc, false)
		}
		return
	}
	k.mulPanels(m, a, p0, p1, r0, r1, c, ldc)
}

// fits says whether a is encoded for products with m.
func (a *Activations) fits(m *Matrix, k *Kernel) bool {
	switch {
	case m.Weights == Float32:
		return a.encoding == inFloats
	case k.splits:
		return a.encoding == inSplit
	case m.Weights == Int12:
		return a.encoding == inWords && a.steps == preciseSteps
	default:
		return a.encoding == inBytes || a.encoding == inPlanes || a.encoding == inWords && !k.dotsBytes
	}
}

func padRows(rows, tile int) int { return (rows + tile - 1) / tile * tile }
