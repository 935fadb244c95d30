package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// mulTileAVX2 writes the product of a tile of six rows with a strip of 16
// columns. int8 weights are widened to int16 as they are loaded, activations are
// int16 in memory, so that a pair of either is one 32-bit lane and VPMADDWD is
// exact (VPMADDUBSW on bytes would saturate). The 12 sums of a block fill 12 of the
// 16 registers, so the float sums live in c, which stays in the first cache.
func mulTileAVX2(name string, weight int) {
	v := &vectors{suffix: "AVX2", lanes: 8, reg: ymm}
	v.function(name, fmt.Sprintf("(blocks int, a *int16, as *float32, w *int%d, ws *float32, c *float32, ldc int)", 8*weight),
		"multiplies six rows with a strip of 16 columns; ldc is in bytes.")
	blocks := Load(Param("blocks"), GP64())
	a, as := Load(Param("a"), GP64()), Load(Param("as"), GP64())
	w, ws := Load(Param("w"), GP64()), Load(Param("ws"), GP64())
	out := openCells()
	zero := YMM()
	VXORPS(zero, zero, zero)
	for r := range tileRows {
		VMOVUPS(zero, out.cell(r, 0))
		VMOVUPS(zero, out.cell(r, 1))
	}
	Label("block")
	acc := v.many(2 * tileRows)
	for pair := range block / 2 {
		addPairs(acc, a, w, pair, weight)
	}
	s0, s1 := YMM(), YMM()
	VMOVUPS(v.at(ws, 0), s0)
	VMOVUPS(v.at(ws, 1), s1)
	for r := range tileRows {
		x := YMM()
		VBROADCASTSS(Mem{Base: as, Disp: 4 * r}, x)
		for half, s := range []reg.VecVirtual{s0, s1} {
			t, sum := YMM(), acc[2*r+half]
			VMULPS(x, s, t)
			VCVTDQ2PS(sum, sum)
			VFMADD213PS(out.cell(r, half), t, sum)
			VMOVUPS(sum, out.cell(r, half))
		}
	}
	ADDQ(U32(2*block*tileRows), a)
	ADDQ(Imm(4*tileRows), as)
	ADDQ(U32(16*block*weight), w)
	ADDQ(Imm(4*16), ws)
	DECQ(blocks)
	JNE(LabelRef("block"))
	end()
}

// cells are six rows of 16 floats in memory.
type cells struct{ c0, c3, ldc reg.Register }

func openCells() cells {
	t := cells{Load(Param("c"), GP64()), GP64(), Load(Param("ldc"), GP64())}
	LEAQ(Mem{Base: t.ldc, Index: t.ldc, Scale: 2}, t.c3)
	ADDQ(t.c0, t.c3)
	return t
}

// cell is eight floats of row r.
func (t cells) cell(r, half int) Mem {
	m := Mem{Base: t.c0, Disp: 32 * half}
	if r >= 3 {
		m.Base = t.c3
	}
	if r%3 > 0 {
		m.Index, m.Scale = t.ldc, uint8(r%3)
	}
	return m
}

// addPairs adds one pair of inputs; the first pair of a block starts the sums.
// weight is the size of one in bytes.
func addPairs(acc []reg.VecVirtual, a, w reg.Register, pair, weight int) {
	w0, w1 := YMM(), YMM()
	load := func(from Mem, to reg.VecVirtual) { VPMOVSXBW(from, to) }
	if weight == 2 {
		load = func(from Mem, to reg.VecVirtual) { VMOVDQU(from, to) }
	}
	load(Mem{Base: w, Disp: 32 * weight * pair}, w0)
	load(Mem{Base: w, Disp: 32*weight*pair + 16*weight}, w1)
	for r := range tileRows {
		x := YMM()
		VPBROADCASTD(Mem{Base: a, Disp: 2*block*r + 4*pair}, x)
		if pair == 0 {
			VPMADDWD(w0, x, acc[2*r])
			VPMADDWD(w1, x, acc[2*r+1])
			continue
		}
		t := YMM()
		VPMADDWD(w0, x, t)
		VPADDD(t, acc[2*r], acc[2*r])
		VPMADDWD(w1, x, x)
		VPADDD(x, acc[2*r+1], acc[2*r+1])
	}
}

// mulFineTileAVX512 writes the product of a tile of six rows with a panel of 32
// columns of int16 weights: VPDPWSSD adds a pair's products to a sum in one
// instruction.
func mulFineTileAVX512() {
	t := openTile("mulFineTile", tileRows,
		"(blocks int, a *int16, as *float32, w *int16, ws *float32, c *float32, ldc int)")
	sums := t.many(2 * tileRows)
	for _, s := range sums {
		t.zero(s)
	}
	for pair := range block / 2 {
		w0, w1 := ZMM(), ZMM()
		VMOVDQU64(Mem{Base: t.w, Disp: 128 * pair}, w0)
		VMOVDQU64(Mem{Base: t.w, Disp: 128*pair + 64}, w1)
		for r := range tileRows {
			x := ZMM()
			VPBROADCASTD(Mem{Base: t.a, Disp: 2*block*r + 4*pair}, x)
			VPDPWSSD(x, w0, sums[2*r])
			VPDPWSSD(x, w1, sums[2*r+1])
		}
	}
	t.scaleSums(sums)
	t.close(2*block*tileRows, 2*32*block)
}

// mulBytesTileAVX512 writes the product of six rows of int8, or of three rows in
// two planes, with a panel of 32 columns of int8 weights stored unsigned.
// VPDPBUSD adds four products to a sum; the sums start from the rows' offsets.
func mulBytesTileAVX512(name string, planes bool) {
	rows := tileRows
	if planes {
		rows /= 2
	}
	t := openTile(name, rows,
		"(blocks int, a *int8, offsets *int32, as *float32, w *int8, ws *float32, c *float32, ldc int, ahead uintptr)")
	sums := t.many(2 * tileRows)
	for r := range tileRows {
		VPBROADCASTD(Mem{Base: t.offsets, Disp: 4 * r}, sums[2*r])
		VMOVDQA64(sums[2*r], sums[2*r+1])
	}
	for group := range block / 4 {
		w0, w1 := ZMM(), ZMM()
		VMOVDQU64(Mem{Base: t.w, Disp: 128 * group}, w0)
		VMOVDQU64(Mem{Base: t.w, Disp: 128*group + 64}, w1)
		for r := range tileRows {
			x := ZMM()
			VPBROADCASTD(Mem{Base: t.a, Disp: block*r + 4*group}, x)
			VPDPBUSD(x, w0, sums[2*r])
			VPDPBUSD(x, w1, sums[2*r+1])
		}
	}
	if planes {
		sums = joinPlanes(sums, func(high, low reg.VecVirtual) {
			VPSLLD(Imm(8), high, high)
			VPADDD(low, high, high)
		})
	}
	t.scaleSums(sums)
	t.close(block*tileRows, 32*block)
}

// joinPlanes adds the sums of a row's two planes, 256·high + low.
func joinPlanes(sums []reg.VecVirtual, join func(high, low reg.VecVirtual)) []reg.VecVirtual {
	var joined []reg.VecVirtual
	for i := 0; i < len(sums); i += 4 {
		join(sums[i], sums[i+2])
		join(sums[i+1], sums[i+3])
		joined = append(joined, sums[i], sums[i+1])
	}
	return joined
}

// tile is a product of rows with 32 columns in AVX-512, whose float sums stay in
// registers.
type tile struct {
	*vectors
	blocks, a, as, w, ws reg.Register
	offsets, ahead       reg.Register // of int8 rows
	total                []reg.VecVirtual
	rows                 int
}

func openTile(name string, rows int, signature string) *tile {
	v := &vectors{suffix: "AVX512", lanes: 16, reg: zmm}
	v.function(name, signature, "multiplies a tile of rows with a panel of 32 columns; ldc is in bytes.")
	t := &tile{vectors: v, rows: rows}
	t.blocks = Load(Param("blocks"), GP64())
	t.a, t.as = Load(Param("a"), GP64()), Load(Param("as"), GP64())
	t.w, t.ws = Load(Param("w"), GP64()), Load(Param("ws"), GP64())
	t.total = v.many(2 * rows)
	for _, r := range t.total {
		v.zero(r)
	}
	if strings.Contains(signature, "offsets") {
		t.offsets = Load(Param("offsets"), GP64())
		t.ahead = Load(Param("ahead"), GP64())
	}
	Label("block")
	t.prefetch()
	return t
}

// prefetch asks for the weights that come next, a few lines a block, into the
// second-level cache: a panel is read from memory while the one before is used.
func (t *tile) prefetch() {
	if t.ahead == nil {
		return
	}
	for i := range prefetchLines {
		PREFETCHT1(Mem{Base: t.ahead, Disp: 64 * i})
	}
	ADDQ(U32(64*prefetchLines), t.ahead)
}

// scaleSums adds a block's integer sums to the totals, two registers a row.
func (t *tile) scaleSums(sums []reg.VecVirtual) {
	s := t.many(2)
	VMOVUPS(t.at(t.ws, 0), s[0])
	VMOVUPS(t.at(t.ws, 1), s[1])
	for i, sum := range sums {
		VCVTDQ2PS(sum, sum)
		VMULPS(s[i%2], sum, sum)
		VFMADD231PS_BCST(Mem{Base: t.as, Disp: 4 * (i / 2)}, sum, t.total[i])
	}
}

// close moves on by one block, and stores the totals behind the last one.
func (t *tile) close(aBytes, wBytes int) {
	ADDQ(U32(uint32(aBytes)), t.a)
	ADDQ(Imm(uint64(4*t.rows)), t.as)
	ADDQ(U32(uint32(wBytes)), t.w)
	ADDQ(Imm(4*32), t.ws)
	if t.offsets != nil {
		ADDQ(Imm(4*tileRows), t.offsets)
	}
	DECQ(t.blocks)
	JNE(LabelRef("block"))
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	for i, r := range t.total {
		VMOVUPS(r, t.at(c, i%2))
		if i%2 == 1 {
			ADDQ(ldc, c)
		}
	}
	end()
}
