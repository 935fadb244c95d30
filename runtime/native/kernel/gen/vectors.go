package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectors writes functions for one width of vector register.
type vectors struct {
	suffix string
	lanes  int
	reg    func() reg.VecVirtual
	consts map[string]Mem
	held   map[string]reg.VecVirtual // constants in registers of the function being written
}

func ymm() reg.VecVirtual { return YMM() }
func zmm() reg.VecVirtual { return ZMM() }

// bytes is the size of one register.
func (v *vectors) bytes() int { return 4 * v.lanes }

// step is how many floats the elementwise functions take at a time; their
// lengths are multiples of it.
const step = 32

// constants writes the table of constants, one full vector each.
func (v *vectors) constants() {
	table := []struct {
		name string
		bits uint32
	}{
		{"round", f32(3 << 22)}, {"log2e", f32(1.442695041)}, {"ln2hi", f32(0.693359375)}, {"ln2lo", f32(-2.12194440e-4)},
		{"p0", f32(1.9875691500e-4)}, {"p1", f32(1.3981999507e-3)}, {"p2", f32(8.3334519073e-3)},
		{"p3", f32(4.1665795894e-2)}, {"p4", f32(1.6666665459e-1)}, {"p5", f32(5.0000001201e-1)},
		{"gelu1", f32(-1.5957691216057308)}, {"gelu3", f32(-1.5957691216057308 * 0.044715)},
		{"one", f32(1)}, {"expmin", f32(-75)}, {"expmax", f32(88.72283)},
		{"inf", 0x7f800000}, {"abs", 0x7fffffff},
	}
	base := GLOBL("constants"+v.suffix, RODATA|NOPTR)
	v.consts = map[string]Mem{}
	for i, c := range table {
		for j := range v.lanes {
			DATA(i*v.bytes()+4*j, U32(c.bits))
		}
		v.consts[c.name] = base.Offset(i * v.bytes())
	}
	// The order of the dwords that two packs of four vectors leave, undone.
	for j, d := range []uint32{0, 4, 1, 5, 2, 6, 3, 7} {
		DATA(len(table)*v.bytes()+4*j, U32(d))
	}
	v.consts["bytes"] = base.Offset(len(table) * v.bytes())
}

// hold loads constants into registers where there are enough: memory that a
// vector of 64 bytes comes from may straddle two cache lines.
func (v *vectors) hold(names ...string) {
	if v.lanes < 16 {
		return
	}
	for _, name := range names {
		v.held[name] = v.reg()
		VMOVUPS(v.consts[name], v.held[name])
	}
}

func (v *vectors) constant(name string) Op {
	if r, ok := v.held[name]; ok {
		return r
	}
	return v.consts[name]
}

func f32(x float64) uint32 { return math.Float32bits(float32(x)) }

// function opens a function named for the level.
func (v *vectors) function(name, signature, doc string) {
	TEXT(name+v.suffix, NOSPLIT, "func"+signature)
	v.held = map[string]reg.VecVirtual{}
	Doc(fmt.Sprintf("%s%s %s", name, v.suffix, doc))
	Pragma("noescape")
}

// end closes a function.
func end() {
	VZEROUPPER()
	RET()
}

// loop writes body once for every step floats of n, and moves the pointers.
func (v *vectors) loop(n reg.Register, pointers []reg.Register, body func()) {
	label := "loop"
	Label(label)
	body()
	for _, p := range pointers {
		ADDQ(Imm(4*step), p)
	}
	SUBQ(Imm(step), n)
	JNE(LabelRef(label))
}

// at is the i'th vector behind a pointer.
func (v *vectors) at(p reg.Register, i int) Mem { return Mem{Base: p, Disp: i * v.bytes()} }

// many returns n fresh registers.
func (v *vectors) many(n int) []reg.VecVirtual {
	r := make([]reg.VecVirtual, n)
	for i := range r {
		r[i] = v.reg()
	}
	return r
}

func (v *vectors) zero(r reg.VecVirtual) {
	if v.lanes == 8 {
		VXORPS(r, r, r)
	} else {
		VPXORQ(r, r, r)
	}
}

// broadcast spreads a float parameter over a vector. Load would take it through
// MOVSS, which on Intel's processors waits for more than a hundred nanoseconds
// while the upper halves of the vector registers are in use; so would Store.
func (v *vectors) broadcast(param string) reg.VecVirtual {
	r := v.reg()
	VBROADCASTSS(address(Param(param)), r)
	return r
}

// result returns lane 0 of a register.
func (v *vectors) result(r reg.Register) { VMOVSS(r, address(ReturnIndex(0))) }

func address(c gotypes.Component) Mem {
	value, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return value.Addr
}

// binary is a vector instruction of two sources.
type binary func(ops ...Op)

// tree combines registers pairwise into the first.
func tree(op binary, r []reg.VecVirtual) reg.VecVirtual {
	for n := len(r); n > 1; n /= 2 {
		for i := range n / 2 {
			op(r[i+n/2], r[i], r[i])
		}
	}
	return r[0]
}

// reduce combines the lanes of r into lane 0 of the register returned, in a fixed
// order: halves, then quarters, and so on.
func (v *vectors) reduce(op binary, r reg.VecVirtual) reg.Register {
	y := r.AsY()
	if v.lanes == 16 {
		upper := YMM()
		VEXTRACTF64X4(Imm(1), r, upper)
		op(upper, y, y)
	}
	x, t := r.AsX(), XMM()
	VEXTRACTF128(Imm(1), y, t)
	op(t, x, x)
	VPERMILPS(Imm(0b01001110), x, t)
	op(t, x, x)
	VPERMILPS(Imm(0b10110001), x, t)
	op(t, x, x)
	return x
}
