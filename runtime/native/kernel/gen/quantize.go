package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// steps is kernel.steps, the greatest quantised activation.
const steps = 32767

// quantizer holds the registers of a function that quantises one row; see
// quantizePortable for what it computes.
type quantizer struct {
	*vectors
	x, w, blocks, q, scales reg.Register
	factor                  reg.VecVirtual
}

// open loads the parameters that the levels share.
func (v *vectors) openQuantizer() *quantizer {
	z := &quantizer{vectors: v}
	z.x, z.w = Load(Param("x"), GP64()), Load(Param("w"), GP64())
	z.factor = v.broadcast("scale")
	z.blocks, z.q, z.scales = Load(Param("blocks"), GP64()), Load(Param("q"), GP64()), Load(Param("scales"), GP64())
	return z
}

// values writes y = x*scale*w for one block.
func (z *quantizer) values() []reg.VecVirtual {
	y := z.many(block / z.lanes)
	for i, r := range y {
		VMULPS(z.at(z.x, i), z.factor, r)
	}
	TESTQ(z.w, z.w)
	JE(LabelRef("unweighted"))
	for i, r := range y {
		VMULPS(z.at(z.w, i), r, r)
	}
	ADDQ(Imm(4*block), z.w)
	Label("unweighted")
	return y
}

// round writes the block's scale and turns y into integers; it jumps to zero
// or bad where the greatest |y| has no usable scale. Bits of |y| compare as
// integers do, NaN above infinity above every number.
func (z *quantizer) round(y []reg.VecVirtual) {
	abs := z.many(len(y))
	for i, r := range y {
		z.and(z.consts["abs"], r, abs[i])
	}
	top := z.reduce(VPMAXUD, tree(VPMAXUD, abs))
	bits, s := GP32(), XMM()
	VMOVD(top, bits)
	CMPL(bits, U32(0x7f800000))
	JCC(LabelRef("bad"))
	CMPL(bits, U32(f32(0x1p-111)))
	JCS(LabelRef("zero"))
	VMULSS(z.consts["1/steps"], top, s)
	VMOVSS(s, Mem{Base: z.scales})
	VMOVSS(z.consts["steps"], s)
	VDIVSS(top, s, s)
	inverse := z.reg()
	VBROADCASTSS(s, inverse)
	for _, r := range y {
		VMULPS(inverse, r, r)
		VCVTPS2DQ(r, r)
	}
}

func (z *quantizer) and(m Mem, r, dst reg.VecVirtual) {
	if z.lanes == 8 {
		VPAND(m, r, dst)
	} else {
		VPANDD(m, r, dst)
	}
}

// next moves on by one block.
func (z *quantizer) next() {
	ADDQ(Imm(4*block), z.x)
	ADDQ(U32(2*block*tileRows), z.q)
	ADDQ(Imm(4*tileRows), z.scales)
	DECQ(z.blocks)
	JNE(LabelRef("block"))
}

// quantize writes one row of activations.
func (v *vectors) quantize() {
	v.function("quantize", "(x *float32, w *float32, scale float32, blocks int, q *int16, scales *float32)",
		"quantises one row to int16; w may be nil.")
	z := v.openQuantizer()
	Label("block")
	y := z.values()
	z.round(y)
	z.store(y)
	Label("next")
	z.next()
	end()
	z.emptyBlocks()
}

// store writes a block's integers as int16.
func (z *quantizer) store(y []reg.VecVirtual) {
	if z.lanes == 16 {
		VPMOVSDW(y[0], Mem{Base: z.q})
		VPMOVSDW(y[1], Mem{Base: z.q, Disp: 32})
		return
	}
	for i := 0; i < 4; i += 2 {
		VPACKSSDW(y[i+1], y[i], y[i])
		VPERMQ(Imm(0b11011000), y[i], y[i])
		VMOVDQU(y[i], Mem{Base: z.q, Disp: 16 * i})
	}
}

// emptyBlocks writes the two rare ends of a block: all zero, and the scale
// either 0 or NaN.
func (z *quantizer) emptyBlocks() {
	Label("zero")
	MOVL(U32(0), Mem{Base: z.scales})
	JMP(LabelRef("clear"))
	Label("bad")
	MOVL(U32(0x7fc00000), Mem{Base: z.scales})
	Label("clear")
	none := YMM()
	VPXOR(none, none, none)
	VMOVDQU(none, Mem{Base: z.q})
	VMOVDQU(none, Mem{Base: z.q, Disp: 32})
	JMP(LabelRef("next"))
}
