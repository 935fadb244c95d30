package main

// A float tile of six rows by 16 columns takes all 32 vector registers: four
// registers of sums a row, one of each row's a, and two of b.
const (
	gemmSums vec = 0
	gemmX    vec = 24
	gemmB    vec = 30
)

// The general registers of a float tile. Pointers to six rows lie from gemmP on.
const (
	gemmRows reg = iota
	gemmKK
	gemmA
	gemmLDA
	gemmBP
	gemmLDB
	gemmC
	gemmLDC
	gemmP
)

// gemmTile writes the float product of up to six rows with 16 columns. Missing
// rows repeat the last one, so nothing outside the rows is touched; they compute
// and store its very values.
func (a *assembly) gemmTile() {
	a.function("gemmTileNEON", "(rows int, kk int, a *float32, lda int, b *float32, ldb int, c *float32, ldc int, accumulate bool)",
		"computes c = a*b or c += a*b for 1 to 6 rows of 16 columns; strides are in bytes.")
	a.load("rows", "kk", "a", "lda", "b", "ldb", "c", "ldc")
	for i := range vec(4 * tileRows) {
		a.clear(gemmSums + i)
	}
	a.op("MOVBU", a.param("accumulate"), gemmP)
	a.op("CBZ", gemmP, "start")
	a.eachSum(func(sums, cells string) { a.op("FLDPQ", cells, sums) })
	a.label("start")
	a.rowPointers(gemmA, gemmLDA)
	a.op("SUBS", 4, gemmKK)
	a.op("BLT", "rest")
	a.label("four")
	a.gemmSteps(4)
	a.op("SUBS", 4, gemmKK)
	a.op("BGE", "four")
	a.label("rest")
	a.op("ADDS", 4, gemmKK)
	a.op("BEQ", "store")
	a.label("one")
	a.gemmSteps(1)
	a.op("SUBS", 1, gemmKK)
	a.op("BNE", "one")
	a.label("store")
	a.eachSum(func(sums, cells string) { a.op("FSTPQ", sums, cells) })
	a.end()
}

// gemmSteps adds the next n values of k, 4 or 1, in their order.
func (a *assembly) gemmSteps(n int) {
	move := map[int]string{4: "FMOVQ.P", 1: "FMOVS.P"}[n]
	for r := range tileRows {
		a.op(move, at(gemmP+reg(r), 4*n), gemmX+vec(r))
	}
	load := func(i int, v vec) {
		a.op("FMOVQ", at(gemmBP, 16*(i%4)), v)
		if i%4 == 3 {
			a.op("ADD", gemmLDB, gemmBP)
		}
	}
	a.stream(4*n, gemmB, load, func(i int, b vec) {
		for r := range vec(tileRows) {
			a.word(fmlaBy(gemmSums+4*r+vec(i%4), b, gemmX+r, i/4))
		}
	})
}

// eachSum moves the sums from or to c, two registers at a time.
func (a *assembly) eachSum(move func(sums, cells string)) {
	a.rowPointers(gemmC, gemmLDC)
	for r := range tileRows {
		v := gemmSums + vec(4*r)
		move(pair(v, v+1), at(gemmP+reg(r), 0))
		move(pair(v+2, v+3), at(gemmP+reg(r), 32))
	}
}

// rowPointers writes the addresses of six rows of a matrix; from the last of
// the rows on, they repeat.
func (a *assembly) rowPointers(base, stride reg) {
	a.op("MOVD", base, gemmP)
	for r := 1; r < tileRows; r++ {
		last, next := gemmP+reg(r-1), gemmP+reg(r)
		a.op("ADD", stride, last, next)
		a.op("CMP", r, gemmRows)
		a.op("CSEL", "GT", next, last, next)
	}
}
