package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantizer holds the registers of a function that quantises one row; see
// quantizePortable for what it computes.
type quantizer struct {
	*vectors
	x, w, blocks, q, scales reg.Register
	factor, steps           reg.VecVirtual // steps is the greatest integer
}

// open loads the parameters that the levels share.
func (v *vectors) openQuantizer() *quantizer {
	z := &quantizer{vectors: v}
	v.hold("abs")
	z.x, z.w = Load(Param("x"), GP64()), Load(Param("w"), GP64())
	z.factor, z.steps = v.broadcast("scale"), v.broadcast("steps")
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
		z.and(z.constant("abs"), r, abs[i])
	}
	top := z.reduce(VPMAXUD, tree(VPMAXUD, abs))
	bits, s := GP32(), XMM()
	VMOVD(top, bits)
	CMPL(bits, U32(0x7f800000))
	JCC(LabelRef("bad"))
	CMPL(bits, U32(f32(0x1p-111)))
	JCS(LabelRef("zero"))
	VDIVSS(z.steps.AsX(), top, s)
	VMOVSS(s, Mem{Base: z.scales})
	VDIVSS(top, z.steps.AsX(), s)
	inverse := z.reg()
	VBROADCASTSS(s, inverse)
	for _, r := range y {
		VMULPS(inverse, r, r)
		VCVTPS2DQ(r, r)
	}
}

func (z *quantizer) and(m Op, r, dst reg.VecVirtual) {
	if z.lanes == 8 {
		VPAND(m, r, dst)
	} else {
		VPANDD(m, r, dst)
	}
}

// next moves on by one block; size is that of an integer in bytes.
func (z *quantizer) next(size int) {
	ADDQ(Imm(4*block), z.x)
	ADDQ(U32(uint32(size*block*tileRows)), z.q)
	ADDQ(Imm(4*tileRows), z.scales)
	DECQ(z.blocks)
	JNE(LabelRef("block"))
}

// quantizeWords writes one row of activations as int16.
func (v *vectors) quantizeWords() {
	v.function("quantize", "(x *float32, w *float32, scale float32, steps float32, blocks int, q *int16, scales *float32)",
		"quantises one row to int16; w may be nil.")
	z := v.openQuantizer()
	Label("block")
	y := z.values()
	z.round(y)
	z.storeWords(y)
	Label("next")
	z.next(2)
	end()
	z.emptyBlocks(func(none reg.VecVirtual) {
		VMOVDQU(none, Mem{Base: z.q})
		VMOVDQU(none, Mem{Base: z.q, Disp: 32})
	})
}

// quantizeBytes writes one row of activations as int8, and for each block what
// unsigned weights add too much to its products.
func (v *vectors) quantizeBytes() {
	v.function("quantizeBytes", "(x *float32, w *float32, scale float32, steps float32, blocks int, q *int8, offsets *int32, scales *float32)",
		"quantises one row to int8; w may be nil.")
	z := v.openQuantizer()
	offsets, offset := Load(Param("offsets"), GP64()), GP32()
	Label("block")
	y := z.values()
	z.round(y)
	z.storeBytes(y)
	VMOVD(z.reduce(VPADDD, tree(VPADDD, y)).(reg.VecVirtual).AsX(), offset)
	SHLL(Imm(7), offset)
	NEGL(offset)
	MOVL(offset, Mem{Base: offsets})
	Label("next")
	ADDQ(Imm(4*tileRows), offsets)
	z.next(1)
	end()
	z.emptyBlocks(func(none reg.VecVirtual) {
		VMOVDQU(none, Mem{Base: z.q})
		MOVL(U32(0), Mem{Base: offsets})
	})
}

func (z *quantizer) storeWords(y []reg.VecVirtual) {
	if z.lanes == 16 {
		VPMOVSDW(y[0], Mem{Base: z.q})
		VPMOVSDW(y[1], Mem{Base: z.q, Disp: 32})
		return
	}
	for i := 0; i < 4; i += 2 {
		t := YMM()
		VPACKSSDW(y[i+1], y[i], t)
		VPERMQ(Imm(0b11011000), t, t)
		VMOVDQU(t, Mem{Base: z.q, Disp: 16 * i})
	}
}

func (z *quantizer) storeBytes(y []reg.VecVirtual) {
	if z.lanes == 16 {
		VPMOVSDB(y[0], Mem{Base: z.q})
		VPMOVSDB(y[1], Mem{Base: z.q, Disp: 16})
		return
	}
	low, high := YMM(), YMM()
	VPACKSSDW(y[1], y[0], low)
	VPACKSSDW(y[3], y[2], high)
	VPACKSSWB(high, low, low)
	order := YMM()
	VMOVDQU(z.consts["bytes"], order)
	VPERMD(low, order, low)
	VMOVDQU(low, Mem{Base: z.q})
}

// emptyBlocks writes the two rare ends of a block: all zero, and the scale
// either 0 or NaN.
func (z *quantizer) emptyBlocks(clear func(none reg.VecVirtual)) {
	Label("zero")
	MOVL(U32(0), Mem{Base: z.scales})
	JMP(LabelRef("clear"))
	Label("bad")
	MOVL(U32(0x7fc00000), Mem{Base: z.scales})
	Label("clear")
	none := YMM()
	VPXOR(none, none, none)
	clear(none)
	JMP(LabelRef("next"))
}
