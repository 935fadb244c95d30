package kernel

import "math"

// Every product below is converted to float32 before it is added: that forbids
// the compiler to fuse the two, so that the portable level gives the same bits on
// every CPU.

// quantizePortable states what every level computes: y = (x·scale)·w, each
// product rounded to float32; q = y·(steps/max) rounded to the nearest integer,
// ties to even.
func quantizePortable(a *Activations, row int, x, w []float32, scale float32) {
	qi, si := a.at(row)
	var y [Block]float32
	for b := range a.K / Block {
		var inverse float32
		a.scales[si], inverse = scaleBlock(&y, x[b*Block:], blockOf(w, b), scale, a.steps)
		roundBlock(a.words[qi:qi+Block], &y, inverse)
		qi, si = qi+tileRows*Block, si+tileRows
	}
}

// scaleBlock writes y = x × factor × w for one block and returns the scale of its
// integers, and the factor that takes y to them.
func scaleBlock(y *[Block]float32, x, w []float32, factor, steps float32) (scale, inverse float32) {
	var top uint32
	for i, v := range x[:Block] {
		v = float32(v * factor)
		if w != nil {
			v = float32(v * w[i])
		}
		y[i] = v
		top = max(top, math.Float32bits(v)&^(1<<31))
	}
	return blockScale(top, steps)
}

// roundBlock writes y·inverse, rounded, to q. An inverse of 0 gives zeros even
// where y is not finite.
func roundBlock(q []int16, y *[Block]float32, inverse float32) {
	if inverse == 0 {
		clear(q)
		return
	}
	const round = 3 << 22 // as in exp32
	for i, v := range y {
		q[i] = int16(float32(float32(v*inverse)+round) - round)
	}
}

func mulPanelsPortable(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	for p := p0; p < p1; p++ {
		lo := p * Panel * m.K
		hi := lo + Panel*a.K
		ws := m.scales[lo/Block:]
		for r := r0; r < r1; r += tileRows {
			if m.w16 != nil {
				mulTilePortable(m.w16[lo:hi], ws, a, r, c[r*ldc+(p-p0)*Panel:], ldc)
			} else {
				mulTilePortable(m.w8[lo:hi], ws, a, r, c[r*ldc+(p-p0)*Panel:], ldc)
			}
		}
	}
}

// mulTilePortable multiplies one tile of rows, from row r on, with one panel.
func mulTilePortable[T int8 | int16](w []T, ws []float32, a *Activations, r int, c []float32, ldc int) {
	var out [tileRows]*[Panel]float32
	for i := range out {
		out[i] = (*[Panel]float32)(c[i*ldc:])
		clear(out[i][:])
	}
	qi, si := a.at(r)
	var rows sixRows
	for len(w) > 0 {
		rows.pack(a.words[qi : qi+tileRows*Block])
		scales := (*[tileRows]float32)(a.scales[si:])
		for j := range Panel {
			for i, sum := range dotRows(&rows, (*[Block]T)(w[j*Block:])) {
				addTwo(out[2*i:], j, sum, ws[j], scales[2*i:])
			}
		}
		w, ws = w[Panel*Block:], ws[Panel:]
		qi, si = qi+tileRows*Block, si+tileRows
	}
}

// sixRows is one block of a tile with two rows in each int64, a field apart: one
// multiplication by a weight serves two rows.
type sixRows [Block][tileRows / 2]int64

// field is the width in bits of one row's sum.
const field = 32

func (s *sixRows) pack(q []int16) {
	for pair := range tileRows / 2 {
		low, high := (*[Block]int16)(q[2*pair*Block:]), (*[Block]int16)(q[(2*pair+1)*Block:])
		for i := range s {
			s[i][pair] = int64(low[i]) + int64(high[i])<<field
		}
	}
}

// dotRows returns the sums of the rows' products with w, two to a number.
func dotRows[T int8 | int16](s *sixRows, w *[Block]T) [tileRows / 2]int64 {
	var a, b, c int64
	for i, v := range w {
		x := int64(v)
		a += s[i][0] * x
		b += s[i][1] * x
		c += s[i][2] * x
	}
	return [...]int64{a, b, c}
}

// addTwo takes two sums apart, scales them, and adds them to column j of their
// rows. What a negative low field borrowed from the one above is given back.
func addTwo(out []*[Panel]float32, j int, sums int64, w float32, scales []float32) {
	low := int32(sums)
	high := int32((sums - int64(low)) >> field)
	out[0][j] += float32(float32(low) * float32(w*scales[0]))
	out[1][j] += float32(float32(high) * float32(w*scales[1]))
}

func gemmF32Portable(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	for r := range rows {
		dst := (*[Panel]float32)(c[r*ldc:])
		if !accumulate {
			clear(dst[:])
		}
		i := 0
		for ; i+4 <= kk; i += 4 {
			gemmStep4(dst, (*[4]float32)(a[r*lda+i:]), b[i*ldb:], ldb)
		}
		for ; i < kk; i++ {
			v, row := a[r*lda+i], (*[Panel]float32)(b[i*ldb:])
			for j := range dst {
				dst[j] += float32(v * row[j])
			}
		}
	}
}

// gemmStep4 adds four steps of K, in their order.
func gemmStep4(dst *[Panel]float32, a *[4]float32, b []float32, ldb int) {
	row := func(i int) *[Panel]float32 { return (*[Panel]float32)(b[i*ldb:]) }
	b0, b1, b2, b3 := row(0), row(1), row(2), row(3)
	for j := range dst {
		s := dst[j] + float32(a[0]*b0[j])
		s += float32(a[1] * b1[j])
		s += float32(a[2] * b2[j])
		dst[j] = s + float32(a[3]*b3[j])
	}
}
