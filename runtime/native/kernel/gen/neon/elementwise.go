package main

// step is how many floats the elementwise functions take at a time; their
// lengths are multiples of it.
const step = 32

// stepVectors is step in vectors of four.
const stepVectors = step / 4

// loop writes body once for every step floats of n, and moves the pointers, R0
// to the one before n.
func (a *assembly) loop(n reg, body func()) {
	a.label("loop")
	body()
	for p := range n {
		a.op("ADD", 4*step, p)
	}
	a.op("SUBS", step, n)
	a.op("BNE", "loop")
}

// loadVectors loads n vectors, an even number, from the disp'th on.
func (a *assembly) loadVectors(p reg, disp int, v vec, n int) {
	for i := 0; i < n; i += 2 {
		a.op("FLDPQ", at(p, 16*(disp+i)), pair(v+vec(i), v+vec(i)+1))
	}
}

func (a *assembly) storeVectors(v vec, n int, p reg, disp int) {
	for i := 0; i < n; i += 2 {
		a.op("FSTPQ", pair(v+vec(i), v+vec(i)+1), at(p, 16*(disp+i)))
	}
}

// reduceSum adds n vectors, from V0 on, and returns the sum of their lanes.
func (a *assembly) reduceSum(v vec, n int) {
	a.tree(func(d, n, m vec) { a.word(fadd(d, n, m)) }, v, n)
	a.word(faddp(v, v, v))
	a.word(faddp(v, v, v))
	a.op("FMOVS", v, a.param("ret"))
	a.end()
}

func (a *assembly) sumSquares() {
	a.function("sumSquaresNEON", "(x *float32, n int) float32", "returns the sum of squares; n is a positive multiple of 32.")
	a.load("x", "n")
	for i := range vec(stepVectors) {
		a.clear(i)
	}
	a.loop(1, func() {
		a.loadVectors(0, 0, 8, stepVectors)
		for i := range vec(stepVectors) {
			a.op("VFMLA", (8 + i).s4(), (8 + i).s4(), i.s4())
		}
	})
	a.reduceSum(0, stepVectors)
}

func (a *assembly) dot() {
	a.function("dotNEON", "(x *float32, y *float32, n int) float32", "returns the sum of products; n is a positive multiple of 32.")
	a.load("x", "y", "n")
	for i := range vec(stepVectors) {
		a.clear(i)
	}
	a.loop(2, func() {
		a.loadVectors(0, 0, 8, stepVectors)
		a.loadVectors(1, 0, 16, stepVectors)
		for i := range vec(stepVectors) {
			a.op("VFMLA", (8 + i).s4(), (16 + i).s4(), i.s4())
		}
	})
	a.reduceSum(0, stepVectors)
}

func (a *assembly) add() {
	a.function("addNEON", "(dst *float32, x *float32, n int)", "adds x to dst; n is a positive multiple of 32.")
	a.load("dst", "x", "n")
	a.loop(2, func() {
		a.loadVectors(0, 0, 0, stepVectors)
		a.loadVectors(1, 0, 8, stepVectors)
		for i := range vec(stepVectors) {
			a.word(fadd(i, i, 8+i))
		}
		a.storeVectors(0, stepVectors, 0, 0)
	})
	a.end()
}

func (a *assembly) scale() {
	a.function("scaleNEON", "(x *float32, n int, s float32)", "multiplies x by s; n is a positive multiple of 32.")
	a.load("x", "n")
	a.broadcast("s", 16)
	a.loop(1, func() {
		a.loadVectors(0, 0, 0, stepVectors)
		for i := range vec(stepVectors) {
			a.word(fmul(i, i, 16))
		}
		a.storeVectors(0, stepVectors, 0, 0)
	})
	a.end()
}

func (a *assembly) scaleMul() {
	a.function("scaleMulNEON", "(x *float32, w *float32, n int, s float32)", "multiplies x by s and w; n is a positive multiple of 32.")
	a.load("x", "w", "n")
	a.broadcast("s", 16)
	a.loop(2, func() {
		a.loadVectors(0, 0, 0, stepVectors)
		a.loadVectors(1, 0, 8, stepVectors)
		for i := range vec(stepVectors) {
			a.word(fmul(i, i, 16))
		}
		for i := range vec(stepVectors) {
			a.word(fmul(i, i, 8+i))
		}
		a.storeVectors(0, stepVectors, 0, 0)
	})
	a.end()
}

func (a *assembly) max() {
	a.function("maxNEON", "(x *float32, n int) float32", "returns the greatest value; n is a positive multiple of 32.")
	a.load("x", "n")
	a.loadVectors(0, 0, 0, stepVectors)
	a.loop(1, func() {
		a.loadVectors(0, 0, 8, stepVectors)
		for i := range vec(stepVectors) {
			a.word(fmax(i, i, 8+i))
		}
	})
	a.tree(func(d, n, m vec) { a.word(fmax(d, n, m)) }, 0, stepVectors)
	a.word(fmaxv(0, 0))
	a.op("FMOVS", vec(0), a.param("ret"))
	a.end()
}

// rope takes 16 pairs at a time: lo in V0 to V3, hi in V4 to V7, the cosines
// and sines behind them, the results in V16 to V23.
func (a *assembly) rope() {
	a.function("ropeNEON", "(lo *float32, hi *float32, cos *float32, sin *float32, n int)",
		"turns the pairs (lo[i], hi[i]); n is a positive multiple of 16.")
	a.load("lo", "hi", "cos", "sin", "n")
	a.label("loop")
	for p := range 4 {
		a.loadVectors(reg(p), 0, vec(4*p), 4)
	}
	for lo := range vec(4) {
		hi, cos, sin := lo+4, lo+8, lo+12
		a.word(fmul(16+lo, lo, cos))
		a.word(fmul(20+lo, hi, cos))
		a.op("VFMLS", sin.s4(), hi.s4(), (16 + lo).s4())
		a.op("VFMLA", sin.s4(), lo.s4(), (20 + lo).s4())
	}
	a.storeVectors(16, 4, 0, 0)
	a.storeVectors(20, 4, 1, 0)
	for p := range reg(4) {
		a.op("ADD", 64, p)
	}
	a.op("SUBS", 16, reg(4))
	a.op("BNE", "loop")
	a.end()
}
