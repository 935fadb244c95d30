package main

import (
	"fmt"

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
	c0, ldc, c3 := Load(Param("c"), GP64()), Load(Param("ldc"), GP64()), GP64()
	LEAQ(Mem{Base: ldc, Index: ldc, Scale: 2}, c3)
	ADDQ(c0, c3)
	cell := func(r, half int) Mem {
		m := Mem{Base: c0, Disp: 32 * half}
		if r >= 3 {
			m.Base = c3
		}
		if r%3 > 0 {
			m.Index, m.Scale = ldc, uint8(r%3)
		}
		return m
	}
	zero := YMM()
	VXORPS(zero, zero, zero)
	for r := range tileRows {
		VMOVUPS(zero, cell(r, 0))
		VMOVUPS(zero, cell(r, 1))
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
			VFMADD213PS(cell(r, half), t, sum)
			VMOVUPS(sum, cell(r, half))
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

// mulTileAVX512 writes the product of a tile of six rows with a panel of 32
// columns, on pairs of int16 as well: VPDPWSSD adds a pair's products to a sum in
// one instruction. weight is the size of one in bytes.
func mulTileAVX512(name string, weight int) {
	v := &vectors{suffix: "AVX512", lanes: 16, reg: zmm}
	v.function(name, fmt.Sprintf("(blocks int, a *int16, as *float32, w *int%d, ws *float32, c *float32, ldc int)", 8*weight),
		"multiplies six rows with a panel of 32 columns; ldc is in bytes.")
	blocks := Load(Param("blocks"), GP64())
	a, as := Load(Param("a"), GP64()), Load(Param("as"), GP64())
	w, ws := Load(Param("w"), GP64()), Load(Param("ws"), GP64())
	total := v.many(2 * tileRows)
	for _, t := range total {
		v.zero(t)
	}
	Label("block")
	sums := v.many(2 * tileRows)
	for _, s := range sums {
		v.zero(s)
	}
	load := func(from Mem, to reg.VecVirtual) { VPMOVSXBW(from, to) }
	if weight == 2 {
		load = func(from Mem, to reg.VecVirtual) { VMOVDQU64(from, to) }
	}
	for pair := range block / 2 {
		w0, w1 := ZMM(), ZMM()
		load(Mem{Base: w, Disp: 64 * weight * pair}, w0)
		load(Mem{Base: w, Disp: 64*weight*pair + 32*weight}, w1)
		for r := range tileRows {
			x := ZMM()
			VPBROADCASTD(Mem{Base: a, Disp: 2*block*r + 4*pair}, x)
			VPDPWSSD(x, w0, sums[2*r])
			VPDPWSSD(x, w1, sums[2*r+1])
		}
	}
	s := v.many(2)
	VMOVUPS(v.at(ws, 0), s[0])
	VMOVUPS(v.at(ws, 1), s[1])
	for i, sum := range sums {
		t := ZMM()
		VMULPS_BCST(Mem{Base: as, Disp: 4 * (i / 2)}, s[i%2], t)
		VCVTDQ2PS(sum, sum)
		VFMADD231PS(t, sum, total[i])
	}
	ADDQ(U32(2*block*tileRows), a)
	ADDQ(Imm(4*tileRows), as)
	ADDQ(U32(32*block*weight), w)
	ADDQ(Imm(4*32), ws)
	DECQ(blocks)
	JNE(LabelRef("block"))
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	for i, t := range total {
		VMOVUPS(t, v.at(c, i%2))
		if i%2 == 1 {
			ADDQ(ldc, c)
		}
	}
	end()
}
