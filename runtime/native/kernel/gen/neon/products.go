package main

// tileRows is kernel.TileRows, block is kernel.Block, strip is kernel.stripNEON,
// prefetchLines is kernel.prefetchBytes in cache lines.
const (
	tileRows = 6
	block    = 32
	strip    = 8

	prefetchLines = 4
)

// A tile of six rows by eight columns takes all 32 vector registers: a block's
// integer sums, two registers a row; the float totals, as many; one register of
// each row's activations, among the first 16 as SMLAL wants; and two of weights.
const (
	tileX      vec = 0
	tileSums   vec = 6
	tileTotals vec = 18
	tileW      vec = 30
)

// The general registers of a tile.
const (
	tileBlocks reg = iota
	tileA
	tileAS
	tileWP
	tileWS
	tileC
	tileLDC
	tileAhead
)

// mulBytesTile writes the product of six rows of int8, or of three rows in two
// planes, with a strip of int8 weights in groups of four inputs: one SDOT makes 16
// products.
func (a *assembly) mulBytesTile(name string, planes bool) {
	rows := tileRows
	if planes {
		rows /= 2
	}
	a.openTile(name, "*int8", "*int8", rows, "ahead")
	a.prefetch()
	load := func(i int, v vec) { a.op("FMOVQ", at(tileWP, 16*i), v) }
	a.stream(2*block/4, tileW, load, func(i int, w vec) {
		group, half := i/2, vec(i%2)
		if i%8 == 0 {
			a.loadRows(block, 4*group)
		}
		for r := range vec(tileRows) {
			a.word(sdot(tileSums+2*r+half, w, tileX+r, group%4))
		}
	})
	if planes {
		a.joinPlanes()
	}
	a.closeTile(rows, block*tileRows, block*strip)
}

// joinPlanes turns the sums of six planes into those of three rows: 256·high + low.
func (a *assembly) joinPlanes() {
	for r := range vec(tileRows / 2) {
		for half := range vec(2) {
			high, low := tileSums+4*r+half, tileSums+4*r+2+half
			a.op("VSHL", 8, high.s4(), high.s4())
			a.op("VADD", low.s4(), high.s4(), (tileSums + 2*r + half).s4())
		}
	}
}

// mulWordsTile writes the product of six rows of int16 with a strip of int8 or
// int16 weights, one input after the other.
func (a *assembly) mulWordsTile(name, weights string) {
	a.openTile(name, "*int16", weights, tileRows)
	size := 2
	load := func(i int, v vec) { a.op("FMOVQ", at(tileWP, 2*strip*i), v) }
	if weights == "*int8" {
		size = 1
		load = func(i int, v vec) {
			a.op("FMOVD", at(tileWP, strip*i), v)
			a.word(sxtl(v, v))
		}
	}
	a.stream(block, tileW, load, func(i int, w vec) {
		if i%8 == 0 {
			a.loadRows(2*block, 2*i)
		}
		for r := range vec(tileRows) {
			a.word(smlal(tileSums+2*r, w, tileX+r, i%8))
			a.word(smlal2(tileSums+2*r+1, w, tileX+r, i%8))
		}
	})
	a.closeTile(tileRows, 2*block*tileRows, size*block*strip)
}

// openTile clears the totals, and opens the loop over blocks with sums of 0.
// Further addresses follow the parameters that every tile has.
func (a *assembly) openTile(name, activations, weights string, rows int, further ...string) {
	signature := "(blocks int, a " + activations + ", as *float32, w " + weights + ", ws *float32, c *float32, ldc int"
	for _, address := range further {
		signature += ", " + address + " uintptr"
	}
	a.function(name, signature+")", "multiplies a tile of rows with a strip of 8 columns; ldc is in bytes.")
	a.load(append([]string{"blocks", "a", "as", "w", "ws", "c", "ldc"}, further...)...)
	for i := range vec(2 * rows) {
		a.clear(tileTotals + i)
	}
	a.label("block")
	for i := range vec(2 * tileRows) {
		a.clear(tileSums + i)
	}
}

// prefetch asks for the weights that come next, a few lines a block, into the
// second-level cache.
func (a *assembly) prefetch() {
	for i := range prefetchLines {
		a.op("PRFM", at(tileAhead, 64*i), "PLDL2KEEP")
	}
	a.op("ADD", 64*prefetchLines, tileAhead)
}

// loadRows loads 16 bytes of each row's activations, rows being stride bytes apart.
func (a *assembly) loadRows(stride, disp int) {
	for r := range tileRows {
		a.op("FMOVQ", at(tileA, stride*r+disp), tileX+vec(r))
	}
}

// closeTile adds a block's sums, scaled, to the totals, moves on, and stores the
// totals behind the last block.
func (a *assembly) closeTile(rows, aBytes, wBytes int) {
	a.op("FLDPQ", at(tileWS, 0), pair(tileW, tileW+1))
	perVector := a.loadRowScales(rows)
	n := vec(2 * rows)
	for i := range n {
		a.word(scvtf(tileSums+i, tileSums+i))
	}
	for i := range n {
		a.word(fmul(tileSums+i, tileSums+i, tileW+i%2))
	}
	for i := range n {
		row := int(i) / 2
		a.word(fmlaBy(tileTotals+i, tileSums+i, tileX+vec(row/perVector), row%perVector))
	}
	a.op("ADD", aBytes, tileA)
	a.op("ADD", 4*rows, tileAS)
	a.op("ADD", wBytes, tileWP)
	a.op("ADD", 4*strip, tileWS)
	a.op("SUBS", 1, tileBlocks)
	a.op("BNE", "block")
	for i := vec(0); i < n; i += 2 {
		a.op("FSTPQ", pair(tileTotals+i, tileTotals+i+1), at(tileC, 0))
		a.op("ADD", tileLDC, tileC)
	}
	a.end()
}

// loadRowScales loads the scales of six or three rows into two registers,
// reading nothing behind them, and returns how many lie in the first.
func (a *assembly) loadRowScales(rows int) int {
	if rows == tileRows {
		a.op("FMOVQ", at(tileAS, 0), tileX)
		a.op("FMOVD", at(tileAS, 16), tileX+1)
		return 4
	}
	a.op("FMOVD", at(tileAS, 0), tileX)
	a.op("FMOVS", at(tileAS, 8), tileX+1)
	return 2
}
