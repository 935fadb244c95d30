package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Comparison predicates of VCMPPS.
const (
	notLess = 5  // true for NaN
	greater = 30 // false for NaN
)

// exp writes e = eˣ as exp32 in portable.go computes it: exactly 0 below expmin,
// +Inf above expmax, NaN for NaN.
func (v *vectors) exp(x reg.VecVirtual) reg.VecVirtual {
	n, r, p, t := v.reg(), v.reg(), v.reg(), v.reg()
	VMOVUPS(v.constant("round"), p)
	VFMADD231PS(v.constant("log2e"), x, p)
	VSUBPS(v.constant("round"), p, p)
	VCVTPS2DQ(p, n)
	VMOVAPS(x, r)
	VFNMADD231PS(v.constant("ln2hi"), p, r)
	VFNMADD231PS(v.constant("ln2lo"), p, r)
	VMOVUPS(v.constant("p0"), p)
	for _, c := range []string{"p1", "p2", "p3", "p4", "p5"} {
		VFMADD213PS(v.constant(c), r, p)
	}
	VMULPS(r, r, t)
	VADDPS(v.constant("one"), r, r)
	VFMADD213PS(r, t, p)
	VPSLLD(Imm(23), n, n)
	VPADDD(n, p, p)
	v.clip(x, p)
	return p
}

// loopExp is loop for bodies that use exp.
func (v *vectors) loopExp(n reg.Register, pointers []reg.Register, body func()) {
	v.hold("round", "log2e", "ln2hi", "ln2lo", "p0", "p1", "p2", "p3", "p4", "p5", "one", "expmin", "expmax")
	v.loop(n, pointers, body)
}

// clip replaces e by 0 where x < expmin and by +Inf where x > expmax.
func (v *vectors) clip(x, e reg.VecVirtual) {
	if v.lanes == 8 {
		m, inf := v.reg(), v.reg()
		VCMPPS(Imm(notLess), v.consts["expmin"], x, m)
		VANDPS(m, e, e)
		VCMPPS(Imm(greater), v.consts["expmax"], x, m)
		VMOVUPS(v.consts["inf"], inf)
		VBLENDVPS(m, inf, e, e)
		return
	}
	m := K()
	VCMPPS(Imm(greater), v.constant("expmax"), x, m)
	VMOVUPS(v.consts["inf"], m, e)
	VCMPPS(Imm(notLess), v.constant("expmin"), x, m)
	VMOVAPS_Z(e, m, e)
}

// expSum writes the sum of exp(x-max), with or without storing the terms.
func (v *vectors) expSum(name string, store bool) {
	doc := "returns the sum of exp(x-max); n is a positive multiple of 32."
	if store {
		doc = "sets x to exp(x-max) and returns the sum; n is a positive multiple of 32."
	}
	v.function(name, "(x *float32, n int, max float32) float32", doc)
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	max := v.broadcast("max")
	sums := v.many(2)
	for _, s := range sums {
		v.zero(s)
	}
	v.loopExp(n, []reg.Register{x}, func() {
		for i := range step / v.lanes {
			t := v.reg()
			VMOVUPS(v.at(x, i), t)
			VSUBPS(max, t, t)
			e := v.exp(t)
			if store {
				VMOVUPS(e, v.at(x, i))
			}
			VADDPS(e, sums[i%2], sums[i%2])
		}
	})
	v.result(v.reduce(VADDPS, tree(VADDPS, sums)))
	end()
}

func (v *vectors) siluMul() {
	v.function("siluMul", "(x *float32, u *float32, n int)", "sets x to x*sigmoid(x)*u; n is a positive multiple of 32.")
	x, u, n := Load(Param("x"), GP64()), Load(Param("u"), GP64()), Load(Param("n"), GP64())
	zero := v.reg()
	v.zero(zero)
	v.loopExp(n, []reg.Register{x, u}, func() {
		for i := range step / v.lanes {
			t, neg := v.reg(), v.reg()
			VMOVUPS(v.at(x, i), t)
			VSUBPS(t, zero, neg)
			e := v.exp(neg)
			VADDPS(v.constant("one"), e, e)
			VDIVPS(e, t, t)
			VMULPS(v.at(u, i), t, t)
			VMOVUPS(t, v.at(x, i))
		}
	})
	end()
}

// geluMul computes x·sigmoid(x·(linear + cubic·x²))·u: see geluMulPortable.
func (v *vectors) geluMul() {
	v.function("geluMul", "(x *float32, u *float32, n int)", "sets x to GELU(x)*u; n is a positive multiple of 32.")
	x, u, n := Load(Param("x"), GP64()), Load(Param("u"), GP64()), Load(Param("n"), GP64())
	linear, cubic := v.reg(), v.reg()
	VMOVUPS(v.consts["gelu1"], linear)
	VMOVUPS(v.consts["gelu3"], cubic)
	v.loopExp(n, []reg.Register{x, u}, func() {
		for i := range step / v.lanes {
			t, arg := v.reg(), v.reg()
			VMOVUPS(v.at(x, i), t)
			VMULPS(t, t, arg)
			VFMADD213PS(linear, cubic, arg)
			VMULPS(t, arg, arg)
			e := v.exp(arg)
			VADDPS(v.constant("one"), e, e)
			VDIVPS(e, t, t)
			VMULPS(v.at(u, i), t, t)
			VMOVUPS(t, v.at(x, i))
		}
	})
	end()
}
