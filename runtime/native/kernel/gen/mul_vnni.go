package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// mulBytesTileAVXVNNI writes the product of six rows of int8, or of three rows in
// two planes, with a strip of 16 columns of int8 weights stored unsigned, for
// processors with AVX-VNNI. Go's assembler knows VPDPBUSD in its AVX-512 encoding
// alone, so its registers are chosen here and its bytes are written out: sums in
// Y0 to Y11, weights in Y12 and Y13, activations in Y14. The float sums live in c.
func mulBytesTileAVXVNNI(name string, planes bool) {
	v := &vectors{suffix: "AVXVNNI", lanes: 8, reg: ymm}
	v.function(name, "(blocks int, a *int8, offsets *int32, as *float32, w *int8, ws *float32, c *float32, ldc int, ahead uintptr)",
		"multiplies a tile of rows with a strip of 16 columns; ldc is in bytes.")
	rows := tileRows
	if planes {
		rows /= 2
	}
	blocks := Load(Param("blocks"), GP64())
	a, offsets, as := Load(Param("a"), GP64()), Load(Param("offsets"), GP64()), Load(Param("as"), GP64())
	w, ws := Load(Param("w"), GP64()), Load(Param("ws"), GP64())
	out, ahead := openCells(), Load(Param("ahead"), GP64())
	VXORPS(reg.Y15, reg.Y15, reg.Y15)
	for r := range rows {
		VMOVUPS(reg.Y15, out.cell(r, 0))
		VMOVUPS(reg.Y15, out.cell(r, 1))
	}
	Label("block")
	for i := range prefetchLines {
		PREFETCHT1(Mem{Base: ahead, Disp: 64 * i})
	}
	ADDQ(U32(64*prefetchLines), ahead)
	for r := range tileRows {
		VPBROADCASTD(Mem{Base: offsets, Disp: 4 * r}, y(2*r))
		VMOVDQA(y(2*r), y(2*r+1))
	}
	for group := range block / 4 {
		VMOVDQU(Mem{Base: w, Disp: 64 * group}, reg.Y12)
		VMOVDQU(Mem{Base: w, Disp: 64*group + 32}, reg.Y13)
		for r := range tileRows {
			VPBROADCASTD(Mem{Base: a, Disp: block*r + 4*group}, reg.Y14)
			vexVPDPBUSD(14, 12, 2*r)
			vexVPDPBUSD(14, 13, 2*r+1)
		}
	}
	VMOVUPS(v.at(ws, 0), reg.Y12)
	VMOVUPS(v.at(ws, 1), reg.Y13)
	for r := range rows {
		VBROADCASTSS(Mem{Base: as, Disp: 4 * r}, reg.Y14)
		for half := range 2 {
			sum := y(2*r + half)
			if planes {
				sum = y(4*r + half)
				VPSLLD(Imm(8), sum, sum)
				VPADDD(y(4*r+2+half), sum, sum)
			}
			VMULPS(reg.Y14, y(12+half), reg.Y15)
			VCVTDQ2PS(sum, sum)
			VFMADD213PS(out.cell(r, half), reg.Y15, sum)
			VMOVUPS(sum, out.cell(r, half))
		}
	}
	ADDQ(U32(block*tileRows), a)
	ADDQ(Imm(4*tileRows), offsets)
	ADDQ(Imm(uint64(4*rows)), as)
	ADDQ(U32(16*block), w)
	ADDQ(Imm(4*16), ws)
	DECQ(blocks)
	JNE(LabelRef("block"))
	end()
}

func y(i int) reg.Register {
	return []reg.Register{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}[i]
}

// vexVPDPBUSD writes VPDPBUSD Ysigned, Yunsigned, Ysum: VEX.256.66.0F38.W0 50 /r
// (Intel SDM, volume 2).
func vexVPDPBUSD(signed, unsigned, sum int) {
	inverted := func(register int) uint32 { return uint32(1 - register>>3) }
	rxb := inverted(sum)<<7 | 1<<6 | inverted(signed)<<5 | 0x02
	vvvv := uint32(15-unsigned)<<3 | 1<<2 | 1
	modrm := 0xc0 | uint64(sum&7)<<3 | uint64(signed&7)
	raw("LONG", U32(0xc4|rxb<<8|vvvv<<16|0x50<<24))
	raw("BYTE", U8(modrm))
}

func raw(directive string, value Op) {
	Instruction(&ir.Instruction{Opcode: directive, Operands: []Op{value}})
}
