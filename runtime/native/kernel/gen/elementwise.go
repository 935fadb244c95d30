package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func (v *vectors) sumSquares() {
	v.function("sumSquares", "(x *float32, n int) float32", "returns the sum of squares; n is a positive multiple of 32.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	acc := v.many(step / v.lanes)
	for _, a := range acc {
		v.zero(a)
	}
	v.loop(n, []reg.Register{x}, func() {
		for i, a := range acc {
			t := v.reg()
			VMOVUPS(v.at(x, i), t)
			VFMADD231PS(t, t, a)
		}
	})
	v.result(v.reduce(VADDPS, tree(VADDPS, acc)))
	end()
}

func (v *vectors) dot() {
	v.function("dot", "(x *float32, y *float32, n int) float32", "returns the sum of products; n is a positive multiple of 32.")
	x, y, n := Load(Param("x"), GP64()), Load(Param("y"), GP64()), Load(Param("n"), GP64())
	acc := v.many(step / v.lanes)
	for _, a := range acc {
		v.zero(a)
	}
	v.loop(n, []reg.Register{x, y}, func() {
		for i, a := range acc {
			t := v.reg()
			VMOVUPS(v.at(x, i), t)
			VFMADD231PS(v.at(y, i), t, a)
		}
	})
	v.result(v.reduce(VADDPS, tree(VADDPS, acc)))
	end()
}

func (v *vectors) add() {
	v.function("add", "(dst *float32, x *float32, n int)", "adds x to dst; n is a positive multiple of 32.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	v.loop(n, []reg.Register{dst, x}, func() {
		for i := range step / v.lanes {
			t := v.reg()
			VMOVUPS(v.at(x, i), t)
			VADDPS(v.at(dst, i), t, t)
			VMOVUPS(t, v.at(dst, i))
		}
	})
	end()
}

func (v *vectors) scale() {
	v.function("scale", "(x *float32, n int, s float32)", "multiplies x by s; n is a positive multiple of 32.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	s := v.broadcast("s")
	v.loop(n, []reg.Register{x}, func() {
		for i := range step / v.lanes {
			t := v.reg()
			VMULPS(v.at(x, i), s, t)
			VMOVUPS(t, v.at(x, i))
		}
	})
	end()
}

func (v *vectors) scaleMul() {
	v.function("scaleMul", "(x *float32, w *float32, n int, s float32)", "multiplies x by s and w; n is a positive multiple of 32.")
	x, w, n := Load(Param("x"), GP64()), Load(Param("w"), GP64()), Load(Param("n"), GP64())
	s := v.broadcast("s")
	v.loop(n, []reg.Register{x, w}, func() {
		for i := range step / v.lanes {
			t := v.reg()
			VMULPS(v.at(x, i), s, t)
			VMULPS(v.at(w, i), t, t)
			VMOVUPS(t, v.at(x, i))
		}
	})
	end()
}

func (v *vectors) max() {
	v.function("max", "(x *float32, n int) float32", "returns the greatest value; n is a positive multiple of 32.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	acc := v.many(step / v.lanes)
	for i, a := range acc {
		VMOVUPS(v.at(x, i), a)
	}
	v.loop(n, []reg.Register{x}, func() {
		for i, a := range acc {
			VMAXPS(v.at(x, i), a, a)
		}
	})
	v.result(v.reduce(VMAXPS, tree(VMAXPS, acc)))
	end()
}

// rope takes h in multiples of 16.
func (v *vectors) rope() {
	v.function("rope", "(lo *float32, hi *float32, cos *float32, sin *float32, n int)",
		"turns the pairs (lo[i], hi[i]); n is a positive multiple of 16.")
	lo, hi := Load(Param("lo"), GP64()), Load(Param("hi"), GP64())
	cos, sin := Load(Param("cos"), GP64()), Load(Param("sin"), GP64())
	n := Load(Param("n"), GP64())
	Label("loop")
	for i := range 16 / v.lanes {
		a, b, c, s := v.reg(), v.reg(), v.reg(), v.reg()
		p, q := v.reg(), v.reg()
		VMOVUPS(v.at(lo, i), a)
		VMOVUPS(v.at(hi, i), b)
		VMOVUPS(v.at(cos, i), c)
		VMOVUPS(v.at(sin, i), s)
		VMULPS(b, s, p)
		VFMSUB231PS(a, c, p)
		VMULPS(b, c, q)
		VFMADD231PS(a, s, q)
		VMOVUPS(p, v.at(lo, i))
		VMOVUPS(q, v.at(hi, i))
	}
	for _, p := range []reg.Register{lo, hi, cos, sin} {
		ADDQ(Imm(64), p)
	}
	SUBQ(Imm(16), n)
	JNE(LabelRef("loop"))
	end()
}
