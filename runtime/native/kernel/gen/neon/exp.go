package main

// The exponential works on two vectors at once, so that a processor that does
// not reorder instructions has one of them to do while it waits for the other. Its
// temporaries come in pairs, its constants stay in registers.
const (
	expX vec = 2 * iota // the arguments, kept
	expN                // n as an integer
	expR                // r, and the result
	expP                // the polynomial
	expT
	free // the first of six that exp leaves alone
)

const (
	log2E vec = 16 + iota
	ln2Hi
	ln2Lo
	poly // six, highest first
)

const (
	one = poly + 6 + iota
	expMin
	expMax
	infinity
	other // the first of three that expConstants leaves alone
)

// expConstants loads the constants of exp32 in portable.go.
func (a *assembly) expConstants() {
	a.fill(log2E, f32(1.442695041))
	a.fill(ln2Hi, f32(0.693359375))
	a.fill(ln2Lo, f32(-2.12194440e-4))
	for i, c := range []float64{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		a.fill(poly+vec(i), f32(c))
	}
	a.fill(one, f32(1))
	a.fill(expMin, f32(-75))
	a.fill(expMax, f32(88.72283))
	a.fill(infinity, 0x7f800000)
}

// both writes an instruction for each of the two vectors.
func both(write func(i vec)) {
	write(0)
	write(1)
}

// exp sets expR to e^expX as exp32 does: exactly 0 below expMin, +Inf above
// expMax, NaN for NaN.
func (a *assembly) exp() {
	both(func(i vec) { a.word(fmul(expN+i, expX+i, log2E)) })
	both(func(i vec) { a.word(fcvtns(expN+i, expN+i)) })
	both(func(i vec) { a.word(scvtf(expT+i, expN+i)) })
	both(func(i vec) { a.copy(expX+i, expR+i) })
	both(func(i vec) { a.op("VFMLS", ln2Hi.s4(), (expT + i).s4(), (expR + i).s4()) })
	both(func(i vec) { a.op("VFMLS", ln2Lo.s4(), (expT + i).s4(), (expR + i).s4()) })
	p, next := expP, expT
	both(func(i vec) { a.copy(poly, p+i) })
	for c := poly + 1; c < one; c++ {
		both(func(i vec) { a.copy(c, next+i) })
		both(func(i vec) { a.op("VFMLA", (expR + i).s4(), (p + i).s4(), (next + i).s4()) })
		p, next = next, p
	}
	both(func(i vec) { a.word(fmul(next+i, expR+i, expR+i)) })
	both(func(i vec) { a.word(fadd(expR+i, expR+i, one)) })
	both(func(i vec) { a.op("VFMLA", (next + i).s4(), (p + i).s4(), (expR + i).s4()) })
	both(func(i vec) { a.op("VSHL", 23, (expN + i).s4(), (expN + i).s4()) })
	both(func(i vec) { a.op("VADD", (expN + i).s4(), (expR + i).s4(), (expR + i).s4()) })
	both(func(i vec) { a.word(fcmgt(expT+i, expMin, expX+i)) })
	both(func(i vec) { a.word(bic(expR+i, expR+i, expT+i)) })
	both(func(i vec) { a.word(fcmgt(expT+i, expX+i, expMax)) })
	both(func(i vec) { a.op("VBIT", (expT + i).b16(), infinity.b16(), (expR + i).b16()) })
}

func (a *assembly) copy(from, to vec) { a.op("VMOV", from.b16(), to.b16()) }

// expSum writes the sum of exp(x-max), with or without storing the terms.
func (a *assembly) expSum(name string, store bool) {
	doc := "returns the sum of exp(x-max); n is a positive multiple of 32."
	if store {
		doc = "sets x to exp(x-max) and returns the sum; n is a positive multiple of 32."
	}
	a.function(name, "(x *float32, n int, max float32) float32", doc)
	a.load("x", "n")
	sums, max := free, other
	a.expConstants()
	a.broadcast("max", max)
	both(func(i vec) { a.clear(sums + i) })
	a.loop(1, func() {
		for v := 0; v < stepVectors; v += 2 {
			a.loadVectors(0, v, expX, 2)
			both(func(i vec) { a.word(fsub(expX+i, expX+i, max)) })
			a.exp()
			if store {
				a.storeVectors(expR, 2, 0, v)
			}
			both(func(i vec) { a.word(fadd(sums+i, sums+i, expR+i)) })
		}
	})
	a.reduceSum(sums, 2)
}

func (a *assembly) siluMul() {
	a.function("siluMulNEON", "(x *float32, u *float32, n int)", "sets x to x*sigmoid(x)*u; n is a positive multiple of 32.")
	a.load("x", "u", "n")
	a.expConstants()
	a.gate(func(x vec) {
		both(func(i vec) { a.word(fneg(expX+i, x+i)) })
	})
}

// geluMul computes x·sigmoid(x·(linear + cubic·x²))·u: see geluMulPortable.
func (a *assembly) geluMul() {
	a.function("geluMulNEON", "(x *float32, u *float32, n int)", "sets x to GELU(x)*u; n is a positive multiple of 32.")
	a.load("x", "u", "n")
	a.expConstants()
	linear, cubic := other, other+1
	a.fill(linear, f32(-1.5957691216057308))
	a.fill(cubic, f32(-1.5957691216057308*0.044715))
	a.gate(func(x vec) {
		both(func(i vec) { a.word(fmul(expT+i, x+i, x+i)) })
		both(func(i vec) { a.copy(linear, expX+i) })
		both(func(i vec) { a.op("VFMLA", (expT + i).s4(), cubic.s4(), (expX + i).s4()) })
		both(func(i vec) { a.word(fmul(expX+i, expX+i, x+i)) })
	})
}

// gate sets x to x·u/(1 + e^argument), where argument sets expX from x.
func (a *assembly) gate(argument func(x vec)) {
	x, u := free, free+2
	a.loop(2, func() {
		for v := 0; v < stepVectors; v += 2 {
			a.loadVectors(0, v, x, 2)
			a.loadVectors(1, v, u, 2)
			argument(x)
			a.exp()
			both(func(i vec) { a.word(fadd(expR+i, expR+i, one)) })
			both(func(i vec) { a.word(fdiv(x+i, x+i, expR+i)) })
			both(func(i vec) { a.word(fmul(x+i, x+i, u+i)) })
			a.storeVectors(x, 2, 0, v)
		}
	})
	a.end()
}
