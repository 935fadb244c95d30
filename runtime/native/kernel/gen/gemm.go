package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileRows is kernel.TileRows, block is kernel.Block.
const (
	tileRows = 6
	block    = 32

	prefetchLines = 4 // kernel.prefetchBytes, in cache lines
)

// gemmTile writes the float product of up to six rows with two vectors of
// columns. Missing rows repeat the last one, so nothing outside the rows is
// touched; they compute and store its very values.
func (v *vectors) gemmTile() {
	v.function("gemmTile", "(rows int, kk int, a *float32, lda int, b *float32, ldb int, c *float32, ldc int, accumulate bool)",
		"computes c = a*b or c += a*b for 1 to 6 rows of two vectors; strides are in bytes.")
	acc := v.many(2 * tileRows)
	start, loop, last, done := "start", "loop", "last", "done"
	accumulate := Load(Param("accumulate"), GP8())
	for _, r := range acc {
		v.zero(r)
	}
	TESTB(accumulate, accumulate)
	JE(LabelRef(start))
	for r, p := range rowPointers("c", "ldc") {
		VMOVUPS(v.at(p, 0), acc[2*r])
		VMOVUPS(v.at(p, 1), acc[2*r+1])
	}
	Label(start)
	rows := rowPointers("a", "lda")
	b, ldb, kk, i := Load(Param("b"), GP64()), Load(Param("ldb"), GP64()), Load(Param("kk"), GP64()), GP64()
	XORQ(i, i)
	SUBQ(Imm(2), kk)
	JLT(LabelRef(last))
	Label(loop)
	v.gemmStep(acc, rows, b, i, 0)
	ADDQ(ldb, b)
	v.gemmStep(acc, rows, b, i, 4)
	ADDQ(ldb, b)
	ADDQ(Imm(2), i)
	CMPQ(i, kk)
	JLE(LabelRef(loop))
	Label(last)
	ADDQ(Imm(2), kk)
	CMPQ(i, kk)
	JGE(LabelRef(done))
	v.gemmStep(acc, rows, b, i, 0)
	Label(done)
	for r, p := range rowPointers("c", "ldc") {
		VMOVUPS(acc[2*r], v.at(p, 0))
		VMOVUPS(acc[2*r+1], v.at(p, 1))
	}
	end()
}

// gemmStep adds one k: the i'th value of each row times two vectors of b.
func (v *vectors) gemmStep(acc []reg.VecVirtual, rows []reg.Register, b, i reg.Register, disp int) {
	b0, b1 := v.reg(), v.reg()
	VMOVUPS(v.at(b, 0), b0)
	VMOVUPS(v.at(b, 1), b1)
	for r, p := range rows {
		x := v.reg()
		VBROADCASTSS(Mem{Base: p, Index: i, Scale: 4, Disp: disp}, x)
		VFMADD231PS(b0, x, acc[2*r])
		VFMADD231PS(b1, x, acc[2*r+1])
	}
}

// rowPointers writes the addresses of six rows of a matrix; from the last of
// the rows parameter on, they repeat.
func rowPointers(base, stride string) []reg.Register {
	rows, ld := Load(Param("rows"), GP64()), Load(Param(stride), GP64())
	p := make([]reg.Register, tileRows)
	p[0] = Load(Param(base), GP64())
	for r := 1; r < tileRows; r++ {
		next := GP64()
		LEAQ(Mem{Base: p[r-1], Index: ld, Scale: 1}, next)
		CMPQ(rows, Imm(uint64(r)))
		CMOVQLE(p[r-1], next)
		p[r] = next
	}
	return p
}
