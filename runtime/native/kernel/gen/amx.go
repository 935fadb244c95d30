package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The AMX level multiplies tiles of 16 rows with strips of 16 columns, 64 inputs
// at a time (Intel SDM, volume 2, TDPBSSD). Both sides have 16 bits, split into
// 256·high + low, which makes three products of bytes: high × high, and the two
// of one high and one low. The fourth is left out: it is below what 16 bits round.
const (
	tileSide   = 16                    // rows and columns of a tile
	stepInputs = 64                    // inputs of one tile instruction
	tileBytes  = tileSide * stepInputs // also of a tile of 32-bit sums
	stepBlocks = stepInputs / block    // blocks of one scale in a step
	splitBytes = 2 * tileBytes         // a tile of high bytes and one of low bytes
	chunkSteps = 6                     // steps of weights split ahead: they stay in the first cache
	chunkBytes = chunkSteps * 2 * splitBytes
	sumsBytes  = 4 * tileBytes
	scaleBytes = 2 * 64 // one vector a strip
)

// amxConstants writes what the functions of the level read.
func amxConstants() map[string]Mem {
	base := GLOBL("constantsAMX", RODATA|NOPTR)
	at := 0
	// put writes 64 bytes of numbers of that many bytes.
	put := func(size int, value func(i int) int) Mem {
		m := base.Offset(at)
		for word := range 8 {
			var bits uint64
			for i := range 8 / size {
				bits |= uint64(value(word*8/size+i)) << (8 * size * i)
			}
			DATA(at+8*word, U64(bits))
		}
		at += 64
		return m
	}
	return map[string]Mem{
		// Palette 1; all eight tiles of 16 rows of 64 bytes.
		"tiles": put(1, func(i int) int {
			switch {
			case i == 0:
				return 1
			case i >= 16 && i < 32 && i%2 == 0:
				return stepInputs
			case i >= 48 && i < 56:
				return tileSide
			}
			return 0
		}),
		"columns0": put(2, func(i int) int { return i / 4 }),
		"columns1": put(2, func(i int) int { return 8 + i/4 }),
		"low":      put(1, func(i int) int { return 2 * i }),
		"high":     put(1, func(i int) int { return 2*i + 1 }),
		"half":     put(2, func(int) int { return 128 }),
		"abs":      put(4, func(int) int { return 0x7fffffff }),
	}
}

// amxProduct writes the product of tiles of rows with a panel of two strips.
// Its registers are chosen here, because those of tile instructions are written
// as bytes.
type amxProduct struct {
	consts map[string]Mem
	weight int // bytes of one

	// In the frame.
	scratch, sums, inverse, scale, high Mem
	end, added, scales                  Mem // see rows
}

const (
	tilesParam = "(tiles int, blocks int, a *int8, tile int, as *float32, w *int%d, strip int, ws *float32, stripScales int, c *float32, ldc int)"
	tilesDoc   = "multiplies tiles of 16 rows with a panel; tile, strip, stripScales and ldc are distances in bytes."
)

func mulPanelAMX(consts map[string]Mem, name string, weight int) {
	TEXT(name+"AMX", 0, "func"+fmt.Sprintf(tilesParam, 8*weight))
	Doc(name + "AMX " + tilesDoc)
	Pragma("noescape")
	p := &amxProduct{consts: consts, weight: weight}
	p.frame()
	p.open()
	Label("chunk")
	p.split()
	p.rows()
	p.nextChunk()
	tileRelease()
	end()
}

// frame lays out the function's own memory, on a multiple of 64: R15 is its
// start.
func (p *amxProduct) frame() {
	local := AllocLocal(chunkBytes + sumsBytes + 2*scaleBytes + 64 + 3*8 + 64)
	LEAQ(local, reg.R15)
	ADDQ(Imm(63), reg.R15)
	ANDQ(I32(-64), reg.R15)
	p.scratch = Mem{Base: reg.R15}
	p.sums = p.scratch.Offset(chunkBytes)
	p.inverse = p.sums.Offset(sumsBytes)
	p.scale = p.inverse.Offset(scaleBytes)
	p.high = p.scale.Offset(scaleBytes)
	p.end, p.added, p.scales = p.high.Offset(64), p.high.Offset(72), p.high.Offset(80)
}

// open configures the tiles and finds the scale of each column: that of its
// greatest block. Weights are multiplied with their block's share of it, -1 for
// the whole, since 16 bits have no 1.
func (p *amxProduct) open() {
	LEAQ(p.consts["tiles"], reg.RAX)
	tileConfigure()
	Load(Param("ws"), reg.RDX)
	for s := range 2 {
		label := fmt.Sprintf("greatest%d", s)
		MOVQ(reg.RDX, reg.RSI)
		Load(Param("blocks"), reg.RCX)
		VPXORQ(reg.Z0, reg.Z0, reg.Z0)
		VMOVDQU64(p.consts["abs"], reg.Z1)
		Label(label)
		VPANDD(Mem{Base: reg.RSI}, reg.Z1, reg.Z2)
		VPMAXUD(reg.Z2, reg.Z0, reg.Z0)
		ADDQ(Imm(64), reg.RSI)
		DECQ(reg.RCX)
		JNE(LabelRef(label))
		broadcastBits(reg.Z3, reg.X3, f32(-32768))
		VDIVPS(reg.Z0, reg.Z3, reg.Z3)
		// A column of zeros, or next to it, has no inverse.
		broadcastBits(reg.Z4, reg.X4, f32(0x1p-111))
		VCMPPS(Imm(13), reg.Z4, reg.Z0, reg.K1) // greatest ≥ least
		VMOVUPS_Z(reg.Z3, reg.K1, reg.Z3)
		VMOVUPS(reg.Z3, p.inverse.Offset(64*s))
		broadcastBits(reg.Z4, reg.X4, f32([]float64{1: -2, 2: -32}[p.weight]))
		VMULPS(reg.Z4, reg.Z0, reg.Z0)
		VMOVUPS(reg.Z0, p.scale.Offset(64*s))
		if s == 0 {
			Load(Param("stripScales"), reg.RCX)
			ADDQ(reg.RCX, reg.RDX)
		}
	}
	broadcastBits(reg.Z0, reg.X0, f32(256))
	VMOVUPS(reg.Z0, p.high)
	// Registers that stay: R8 weights, R9 scales, R10 blocks left, R11 rows.
	Load(Param("w"), reg.R8)
	Load(Param("ws"), reg.R9)
	Load(Param("blocks"), reg.R10)
	Load(Param("a"), reg.R11)
	XORQ(reg.RAX, reg.RAX)
	MOVQ(reg.RAX, p.added)
}

func broadcastBits(z, x reg.Register, bits uint32) {
	MOVL(U32(bits), reg.EAX)
	VMOVD(reg.EAX, x)
	VPBROADCASTD(x, z)
}

// split writes the high and low bytes of the next chunk's weights to scratch:
// [step][strip][high, low][group of 4 inputs][column][4]. R13 becomes its blocks.
func (p *amxProduct) split() {
	MOVQ(U32(chunkSteps*stepBlocks), reg.R13)
	CMPQ(reg.R10, reg.R13)
	CMOVQLT(reg.R10, reg.R13)
	for i, name := range []string{"columns0", "columns1", "low", "high", "half"} {
		VMOVDQU64(p.consts[name], []reg.Register{reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20}[i])
	}
	for s := range 2 {
		MOVQ(reg.R8, reg.RSI)
		MOVQ(reg.R9, reg.RDX)
		if s == 1 {
			Load(Param("strip"), reg.RAX)
			ADDQ(reg.RAX, reg.RSI)
			Load(Param("stripScales"), reg.RAX)
			ADDQ(reg.RAX, reg.RDX)
		}
		VMOVUPS(p.inverse.Offset(64*s), reg.Z21)
		LEAQ(p.scratch.Offset(s*splitBytes), reg.RDI)
		MOVQ(reg.R13, reg.RCX)
		label := fmt.Sprintf("split%d", s)
		Label(label)
		p.splitBlock(0)
		DECQ(reg.RCX)
		JE(LabelRef(label + "odd"))
		p.splitBlock(1)
		ADDQ(U32(2*splitBytes), reg.RDI)
		DECQ(reg.RCX)
		JNE(LabelRef(label))
		JMP(LabelRef(label + "end"))
		Label(label + "odd")
		VPXORQ(reg.Z0, reg.Z0, reg.Z0)
		for i := range tileBytes / 2 / 64 {
			VMOVDQU64(reg.Z0, Mem{Base: reg.RDI, Disp: tileBytes/2 + 64*i})
			VMOVDQU64(reg.Z0, Mem{Base: reg.RDI, Disp: tileBytes + tileBytes/2 + 64*i})
		}
		Label(label + "end")
	}
}

// splitBlock splits a block of a strip into the given half of a step.
func (p *amxProduct) splitBlock(half int) {
	VMULPS(Mem{Base: reg.RDX}, reg.Z21, reg.Z0)
	VCVTPS2DQ(reg.Z0, reg.Z0)
	VPMOVSDW(reg.Z0, reg.Y0)
	VPERMW(reg.Z0, reg.Z16, reg.Z22) // each column four times
	VPERMW(reg.Z0, reg.Z17, reg.Z23)
	for g := range block / 4 {
		at := func(i int) Mem { return Mem{Base: reg.RSI, Disp: (64*g + 32*i) * p.weight} }
		var free uint64 = 7 // bits that the weights leave
		if p.weight == 1 {
			VPMOVSXBW(at(0), reg.Z0)
			VPMOVSXBW(at(1), reg.Z1)
		} else {
			free = 3
			VMOVDQU64(at(0), reg.Z0)
			VMOVDQU64(at(1), reg.Z1)
		}
		VPSLLW(Imm(free), reg.Z0, reg.Z0)
		VPSLLW(Imm(free), reg.Z1, reg.Z1)
		VPMULHRSW(reg.Z22, reg.Z0, reg.Z0)
		VPMULHRSW(reg.Z23, reg.Z1, reg.Z1)
		VMOVDQA64(reg.Z18, reg.Z2)
		VPERMI2B(reg.Z1, reg.Z0, reg.Z2)
		VPADDW(reg.Z20, reg.Z0, reg.Z0)
		VPADDW(reg.Z20, reg.Z1, reg.Z1)
		VPERMT2B(reg.Z1, reg.Z19, reg.Z0)
		to := Mem{Base: reg.RDI, Disp: half*tileBytes/2 + 64*g}
		VMOVDQU64(reg.Z0, to)
		VMOVDQU64(reg.Z2, to.Offset(tileBytes))
	}
	ADDQ(U32(uint32(tileSide*block*p.weight)), reg.RSI)
	ADDQ(Imm(64), reg.RDX)
}

// rows multiplies all tiles of rows with the chunk: SI is the tile's rows, DX
// their scales, DI the results, CX the tiles left.
func (p *amxProduct) rows() {
	Comment("R14: where the chunk's weights end")
	LEAQ(Mem{Base: reg.R13, Disp: 1}, reg.R14)
	SHRQ(Imm(1), reg.R14)
	SHLQ(Imm(12), reg.R14) // a step of both strips has 4096 bytes
	ADDQ(reg.R15, reg.R14)
	MOVQ(reg.R14, p.end)
	p.ahead()
	MOVQ(reg.R11, reg.RSI)
	Load(Param("as"), reg.RDX)
	Load(Param("c"), reg.RDI)
	Load(Param("tiles"), reg.RCX)
	Label("tile")
	p.steps()
	p.convert()
	Load(Param("tile"), reg.RAX)
	ADDQ(reg.RAX, reg.RSI)
	DECQ(reg.RCX)
	JNE(LabelRef("tile"))
}

// ahead sets R12 and R12 + R9 to what the two strips need next: their next
// chunk, or behind the last one the next panel's first. An address beyond the
// matrix is never read: a prefetch does not fault.
func (p *amxProduct) ahead() {
	MOVQ(reg.R9, p.scales)
	Load(Param("strip"), reg.R9)
	MOVQ(reg.R13, reg.R12)
	SHLQ(Imm(uint64(8+p.weight)), reg.R12)
	ADDQ(reg.R8, reg.R12)
	CMPQ(reg.R13, reg.R10)
	JNE(LabelRef("ahead"))
	Load(Param("w"), reg.R12)
	LEAQ(Mem{Base: reg.R12, Index: reg.R9, Scale: 2}, reg.R12)
	Label("ahead")
}

// prefetchStrips asks for two lines of each strip.
func prefetchStrips() {
	for line := range 2 {
		PREFETCHT1(Mem{Base: reg.R12, Disp: 64 * line})
		PREFETCHT1(Mem{Base: reg.R12, Index: reg.R9, Scale: 1, Disp: 64 * line})
	}
	ADDQ(U32(128), reg.R12)
}

// steps sums a tile of rows with both strips: high × high in tiles 0 and 1, the
// mixed products in 2 and 3. Sums take 52 cycles to arrive, so no instruction adds to
// those of the one before it.
func (p *amxProduct) steps() {
	const high, low, second = 0, tileBytes, splitBytes
	MOVQ(U32(64), reg.RAX) // the distance of a tile's rows
	MOVQ(reg.RSI, reg.RBX)
	MOVQ(reg.R15, reg.R14)
	for t := range 4 {
		tileZero(t)
	}
	Label("step")
	prefetchStrips()
	tileLoad(4, reg.RBX, high)
	tileLoad(7, reg.R14, low)
	tileDot(2, 4, 7)
	tileLoad(7, reg.R14, second+low)
	tileDot(3, 4, 7)
	tileLoad(6, reg.R14, high)
	tileDot(0, 4, 6)
	tileLoad(7, reg.R14, second+high)
	tileDot(1, 4, 7)
	tileLoad(5, reg.RBX, low)
	tileDot(2, 5, 6)
	tileDot(3, 5, 7)
	ADDQ(U32(splitBytes), reg.RBX)
	ADDQ(U32(2*splitBytes), reg.R14)
	CMPQ(reg.R14, p.end)
	JNE(LabelRef("step"))
	LEAQ(p.sums, reg.RBX)
	for t := range 4 {
		tileStore(t, reg.RBX, t*tileBytes)
	}
}

// convert adds the sums, scaled, to the results, or sets them in the first chunk.
func (p *amxProduct) convert() {
	Load(Param("ldc"), reg.R14)
	MOVQ(U32(tileSide), reg.RAX)
	VMOVUPS(p.scale, reg.Z28)
	VMOVUPS(p.scale.Offset(64), reg.Z29)
	VMOVUPS(p.high, reg.Z30)
	CMPQ(p.added, Imm(0))
	JNE(LabelRef("add"))
	for _, first := range []bool{true, false} {
		label := map[bool]string{true: "set", false: "add"}[first]
		Label(label)
		for s := range 2 {
			to := Mem{Base: reg.RDI, Disp: 64 * s}
			VCVTDQ2PS(Mem{Base: reg.RBX, Disp: s * tileBytes}, reg.Z0)
			VCVTDQ2PS(Mem{Base: reg.RBX, Disp: (2 + s) * tileBytes}, reg.Z1)
			VFMADD231PS(reg.Z30, reg.Z0, reg.Z1)
			VMULPS([]reg.Register{reg.Z28, reg.Z29}[s], reg.Z1, reg.Z1)
			if first {
				VMULPS_BCST(Mem{Base: reg.RDX}, reg.Z1, reg.Z1)
				VMOVUPS(reg.Z1, to)
			} else {
				VMOVUPS(to, reg.Z2)
				VFMADD231PS_BCST(Mem{Base: reg.RDX}, reg.Z1, reg.Z2)
				VMOVUPS(reg.Z2, to)
			}
		}
		ADDQ(Imm(64), reg.RBX)
		ADDQ(Imm(4), reg.RDX)
		ADDQ(reg.R14, reg.RDI)
		DECQ(reg.RAX)
		JNE(LabelRef(label))
		if first {
			JMP(LabelRef("converted"))
		}
	}
	Label("converted")
}

// nextChunk moves on, and ends behind the last block.
func (p *amxProduct) nextChunk() {
	advance := func(pointer reg.Register, shift uint64) {
		MOVQ(reg.R13, reg.RAX)
		SHLQ(Imm(shift), reg.RAX)
		ADDQ(reg.RAX, pointer)
	}
	advance(reg.R8, uint64(8+p.weight)) // 16 columns × 32 inputs
	MOVQ(p.scales, reg.R9)
	advance(reg.R9, 6)   // 16 scales
	advance(reg.R11, 10) // half a step
	MOVQ(U32(1), reg.RAX)
	MOVQ(reg.RAX, p.added)
	SUBQ(reg.R13, reg.R10)
	JNE(LabelRef("chunk"))
}

// quantizeSplitAMX writes one row of activations: integers of 16 bits with one
// scale for all of them, taken apart into bytes.
func quantizeSplitAMX() {
	v := &vectors{suffix: "AMX", lanes: 16, reg: zmm}
	v.function("quantizeSplit", "(x *float32, w *float32, scale float32, steps float32, blocks int, q *int8, scales *float32)",
		"quantises one row, of which a step of 64 inputs has 1024 bytes of high halves, and 1024 of low ones, apart from the next; w may be nil.")
	x, w := Load(Param("x"), GP64()), Load(Param("w"), GP64())
	factor, steps := v.broadcast("scale"), v.broadcast("steps")
	blocks, q, scales := Load(Param("blocks"), GP64()), Load(Param("q"), GP64()), Load(Param("scales"), GP64())
	abs, top := ZMM(), ZMM()
	VPXORQ(top, top, top)
	bits := GP32()
	MOVL(U32(0x7fffffff), bits)
	VPBROADCASTD(bits, abs)
	at, n := GP64(), GP64()
	// values writes y = x·scale·w for the block at.
	values := func(label string) []reg.VecVirtual {
		y := v.many(2)
		for i, r := range y {
			VMULPS(Mem{Base: x, Index: at, Scale: 1, Disp: 64 * i}, factor, r)
		}
		TESTQ(w, w)
		JE(LabelRef(label))
		for i, r := range y {
			VMULPS(Mem{Base: w, Index: at, Scale: 1, Disp: 64 * i}, r, r)
		}
		Label(label)
		return y
	}
	XORQ(at, at)
	MOVQ(blocks, n)
	Label("greatest")
	for _, r := range values("plain") {
		VPANDD(abs, r, r)
		VPMAXUD(r, top, top)
	}
	ADDQ(Imm(4*block), at)
	DECQ(n)
	JNE(LabelRef("greatest"))

	greatest := v.reduce(VPMAXUD, top)
	inverse, s := ZMM(), XMM()
	VPXORQ(inverse, inverse, inverse)
	VMOVD(greatest, bits)
	CMPL(bits, U32(0x7f800000))
	JCC(LabelRef("bad"))
	CMPL(bits, U32(f32(0x1p-111)))
	JCS(LabelRef("zero"))
	VDIVSS(steps.AsX(), greatest, s)
	VMOVSS(s, Mem{Base: scales})
	VDIVSS(greatest, steps.AsX(), s)
	VBROADCASTSS(s, inverse)
	JMP(LabelRef("round"))
	Label("zero")
	MOVL(U32(0), Mem{Base: scales})
	JMP(LabelRef("clear"))
	Label("bad")
	MOVL(U32(0x7fc00000), Mem{Base: scales})
	Label("clear")
	none := YMM()
	VPXOR(none, none, none)
	Label("clearBlock")
	for half := range 2 {
		VMOVDQU(none, Mem{Base: q, Disp: half * tileBytes})
	}
	nextHalf := func() {
		// To and fro between the halves of a step, and on by a step: q is
		// a multiple of 64 in its first half.
		XORQ(Imm(32), q)
		TESTQ(U32(32), q)
	}
	nextHalf()
	JNE(LabelRef("clearNext"))
	ADDQ(U32(splitBytes), q)
	Label("clearNext")
	DECQ(blocks)
	JNE(LabelRef("clearBlock"))
	JMP(LabelRef("fill"))

	Label("round")
	XORQ(at, at)
	half := ZMM()
	MOVL(U32(128), bits)
	VPBROADCASTD(bits, half)
	Label("block")
	for i, r := range values("plainAgain") {
		VMULPS(inverse, r, r)
		VCVTPS2DQ(r, r)
		VPMOVDB(r, Mem{Base: q, Disp: tileBytes + 16*i})
		VPADDD(half, r, r)
		VPSRAD(Imm(8), r, r)
		VPMOVDB(r, Mem{Base: q, Disp: 16 * i})
	}
	ADDQ(Imm(4*block), at)
	nextHalf()
	JNE(LabelRef("next"))
	ADDQ(U32(splitBytes), q)
	Label("next")
	DECQ(blocks)
	JNE(LabelRef("block"))

	Label("fill")
	TESTQ(U32(32), q)
	JE(LabelRef("whole"))
	none = YMM()
	VPXOR(none, none, none)
	for half := range 2 {
		VMOVDQU(none, Mem{Base: q, Disp: half * tileBytes})
	}
	Label("whole")
	end()
}

// What follows writes tile instructions, which the assembler does not know, as
// bytes: VEX.128.0F38.W0, see the Intel SDM, volume 2.

func tileConfigure() { tileBytesOf(0, 0, 0x49, 0x00) } // from (RAX)
func tileRelease()   { tileBytesOf(0, 0, 0x49, 0xc0) }
func tileZero(t int) { tileBytesOf(3, 0, 0x49, 0xc0|t<<3) }

// tileDot adds the products of signed bytes of a and b to sum.
func tileDot(sum, a, b int) { tileBytesOf(3, b, 0x5e, 0xc0|sum<<3|a) }

// tileLoad and tileStore move a tile whose rows are RAX bytes apart.
func tileLoad(t int, base reg.Register, disp int)  { tileMove(3, t, base, disp) }
func tileStore(t int, base reg.Register, disp int) { tileMove(2, t, base, disp) }

func tileMove(prefix, t int, base reg.Register, disp int) {
	number := map[reg.Register]int{reg.RBX: 3, reg.R14: 14}[base]
	vex := []int{0xc4, 0xe2 &^ (number >> 3 << 5), 0x78 | prefix, 0x4b}
	for _, b := range append(vex, 0x84|t<<3, 0x00|number&7, disp&0xff, disp>>8&0xff, 0, 0) {
		raw("BYTE", U8(b))
	}
}

func tileBytesOf(prefix, vvvv, opcode, modrm int) {
	for _, b := range []int{0xc4, 0xe2, (15-vvvv)<<3 | prefix, opcode, modrm} {
		raw("BYTE", U8(b))
	}
}
