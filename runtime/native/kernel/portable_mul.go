package kernel

import "math"

// quantizePortable states what every level computes: y = (x·scale)·w, each
// product rounded to float32; q = y·(127/max) rounded to the nearest integer,
// ties to even.
func quantizePortable(a *Activations, row int, x, w []float32, scale float32) {
	qi, si := a.at(row)
	var y [Block]float32
	for len(x) > 0 {
		var top uint32
		for i, v := range x[:Block] {
			v = float32(v * scale)
			if w != nil {
				v = float32(v * w[i])
			}
			y[i] = v
			top = max(top, math.Float32bits(v)&^(1<<31))
		}
		var inverse float32
		a.scales[si], inverse = blockScale(top)
		a.corrections[si] = -128 * roundBlock(a.q8[qi:qi+Block], &y, inverse)
		x = x[Block:]
		if w != nil {
			w = w[Block:]
		}
		qi, si = qi+TileRows*Block, si+TileRows
	}
}

// roundBlock writes y·inverse, rounded, to q and returns their sum. An inverse
// of 0 gives zeros even where y is not finite.
func roundBlock(q []int8, y *[Block]float32, inverse float32) (sum int32) {
	if inverse == 0 {
		clear(q)
		return 0
	}
	const round = 3 << 22 // as in exp32
	for i, v := range y {
		n := int32(float32(float32(v*inverse)+round) - round)
		q[i] = int8(n)
		sum += n
	}
	return sum
}

func mulPanelsPortable(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	for p := p0; p < p1; p++ {
		w := m.w[p*Panel*m.K : (p+1)*Panel*m.K]
		ws := m.scales[p*Panel*m.K/Block:]
		for r := r0; r < r1; r += TileRows {
			mulTilePortable(w, ws, a, r, c[r*ldc+p*Panel:], ldc)
		}
	}
}

// mulTilePortable multiplies one tile of rows, from row r on, with one panel.
func mulTilePortable(w []int8, ws []float32, a *Activations, r int, c []float32, ldc int) {
	for i := range TileRows {
		clear(c[i*ldc : i*ldc+Panel])
	}
	qi, si := a.at(r)
	var rows [2][Block]int64
	for len(w) > 0 {
		q := a.q8[qi : qi+TileRows*Block]
		packThree(&rows[0], q)
		packThree(&rows[1], q[3*Block:])
		as := (*[TileRows]float32)(a.scales[si:])
		for j := range Panel {
			col := (*[Block]int8)(w[j*Block:])
			s0, s1, s2 := dotThree(&rows[0], col)
			s3, s4, s5 := dotThree(&rows[1], col)
			scale := ws[j]
			c[j] += float32(s0) * (scale * as[0])
			c[ldc+j] += float32(s1) * (scale * as[1])
			c[2*ldc+j] += float32(s2) * (scale * as[2])
			c[3*ldc+j] += float32(s3) * (scale * as[3])
			c[4*ldc+j] += float32(s4) * (scale * as[4])
			c[5*ldc+j] += float32(s5) * (scale * as[5])
		}
		w, ws = w[Panel*Block:], ws[Panel:]
		qi, si = qi+TileRows*Block, si+TileRows
	}
}

// field is the width of one of three sums kept in an int64: 32 products of
// at most 127 × 128 stay below 2²⁰.
const field = 21

// packThree puts three rows of a block into one: a multiplication by a weight
// then multiplies all three at once.
func packThree(dst *[Block]int64, q []int8) {
	q0, q1, q2 := (*[Block]int8)(q), (*[Block]int8)(q[Block:]), (*[Block]int8)(q[2*Block:])
	for i := range dst {
		dst[i] = int64(q0[i]) + int64(q1[i])<<field + int64(q2[i])<<(2*field)
	}
}

// dotThree returns the sums of three packed rows' products with w.
func dotThree(rows *[Block]int64, w *[Block]int8) (s0, s1, s2 int32) {
	var s int64
	for i, v := range rows {
		s += v * int64(w[i])
	}
	low := s << (64 - field) >> (64 - field)
	s = (s - low) >> field
	mid := s << (64 - field) >> (64 - field)
	return int32(low), int32(mid), int32((s - mid) >> field)
}

func gemmF32Portable(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	for r := range rows {
		dst := (*[Panel]float32)(c[r*ldc:])
		if !accumulate {
			clear(dst[:])
		}
		for i := range kk {
			v := a[r*lda+i]
			row := (*[Panel]float32)(b[i*ldb:])
			for j := range dst {
				dst[j] += v * row[j]
			}
		}
	}
}
