package main

// The registers of a function that quantises one row: the values of a block in
// V0 to V7, temporaries in V8 to V15.
const (
	quantFactor vec = 16
	quantSteps  vec = 17 // the greatest integer

	quantX      reg = 0
	quantW      reg = 1
	quantBlocks reg = 2
	quantQ      reg = 3
	quantScales reg = 4
	quantTop    reg = 5
	quantLimit  reg = 6
)

const blockVectors = block / 4

// quantize writes one row of activations as int16 or int8; see
// quantizePortable for what it computes.
func (a *assembly) quantize(name, integers string) {
	a.function(name, "(x *float32, w *float32, scale float32, steps float32, blocks int, q "+integers+", scales *float32)",
		"quantises one row; w may be nil.")
	for i, param := range []string{"x", "w", "blocks", "q", "scales"} {
		a.op("MOVD", a.param(param), reg(i))
	}
	a.broadcast("scale", quantFactor)
	a.broadcast("steps", quantSteps)
	a.label("block")
	a.quantValues()
	a.quantRound()
	size := a.quantNarrow(integers)
	a.label("store")
	a.storeVectors(0, 2*size, quantQ, 0)
	a.op("ADD", 4*block, quantX)
	a.op("ADD", size*block*tileRows, quantQ)
	a.op("ADD", 4*tileRows, quantScales)
	a.op("SUBS", 1, quantBlocks)
	a.op("BNE", "block")
	a.end()
	a.quantEmpty(2 * size)
}

// quantValues computes y = x*scale*w for one block.
func (a *assembly) quantValues() {
	a.loadVectors(quantX, 0, 0, blockVectors)
	for i := range vec(blockVectors) {
		a.word(fmul(i, i, quantFactor))
	}
	a.op("CBZ", quantW, "unweighted")
	a.loadVectors(quantW, 0, 8, blockVectors)
	for i := range vec(blockVectors) {
		a.word(fmul(i, i, 8+i))
	}
	a.op("ADD", 4*block, quantW)
	a.label("unweighted")
}

// quantRound writes the block's scale and turns y into integers; it jumps to
// empty or bad where the greatest |y| has no usable scale. Bits of |y| compare as
// integers do, NaN above infinity above every number.
func (a *assembly) quantRound() {
	const top, s vec = 8, 9
	for i := range vec(blockVectors) {
		a.word(fabs(top+i, i))
	}
	a.tree(func(d, n, m vec) { a.op("VUMAX", m.s4(), n.s4(), d.s4()) }, top, blockVectors)
	a.word(umaxv(top, top))
	a.op("FMOVS", top, quantTop)
	a.compareTop(0x7f800000)
	a.op("BHS", "bad")
	a.compareTop(int(f32(0x1p-111)))
	a.op("BLO", "empty")
	a.op("FDIVS", quantSteps, top, s)
	a.op("FMOVS", s, at(quantScales, 0))
	a.op("FDIVS", top, quantSteps, s)
	a.op("VDUP", "V9.S[0]", s.s4())
	for i := range vec(blockVectors) {
		a.word(fmul(i, i, s))
	}
	for i := range vec(blockVectors) {
		a.word(fcvtns(i, i))
	}
}

func (a *assembly) compareTop(bits int) {
	a.op("MOVD", bits, quantLimit)
	a.op("CMPW", quantLimit, quantTop)
}

// quantNarrow packs the integers from V0 on, by taking the lower half of each,
// and returns their size in bytes.
func (a *assembly) quantNarrow(integers string) int {
	for i := range vec(4) {
		a.op("VUZP1", (2*i + 1).h8(), (2 * i).h8(), i.h8())
	}
	if integers == "*int16" {
		return 2
	}
	for i := range vec(2) {
		a.op("VUZP1", (2*i + 1).b16(), (2 * i).b16(), i.b16())
	}
	return 1
}

// quantEmpty writes the two rare ends of a block: all zero, and the scale
// either 0 or NaN.
func (a *assembly) quantEmpty(vectors int) {
	a.label("empty")
	a.op("MOVW", zero, at(quantScales, 0))
	a.op("B", "clear")
	a.label("bad")
	a.op("MOVD", 0x7fc00000, quantTop)
	a.op("MOVW", quantTop, at(quantScales, 0))
	a.label("clear")
	for i := range vec(vectors) {
		a.clear(i)
	}
	a.op("B", "store")
}
