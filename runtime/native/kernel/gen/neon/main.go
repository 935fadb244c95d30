// Command neon writes the assembly of the arm64 levels and its Go stubs:
//
//	go run ./neon -out ../neon_arm64.s -stubs ../neon_stubs_arm64.go
//
// avo, which writes the other levels, knows no arm64. Registers are chosen here
// by hand: each file says which. Instructions that Go's assembler lacks are
// written as words, see encode.go.
package main

import (
	"flag"
	"log"
	"os"
)

func main() {
	out := flag.String("out", "", "file for the assembly")
	stubs := flag.String("stubs", "", "file for the Go declarations")
	flag.Parse()
	a := write()
	for name, text := range map[string]string{*out: a.text.String(), *stubs: a.stubs.String()} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// write returns both files. Only functions named NEONDot use the dot product.
func write() *assembly {
	a := newAssembly()
	a.mulWordsTile("mulTileNEON", "*int8")
	a.mulWordsTile("mulFineTileNEON", "*int16")
	a.mulBytesTile("mulBytesTileNEONDot", false)
	a.mulBytesTile("mulPlanesTileNEONDot", true)
	a.quantize("quantizeNEON", "*int16")
	a.quantize("quantizeBytesNEON", "*int8")
	a.gemmTile()
	a.sumSquares()
	a.dot()
	a.add()
	a.scale()
	a.scaleMul()
	a.max()
	a.expSum("expSumNEON", true)
	a.expSum("sumExpNEON", false)
	a.siluMul()
	a.geluMul()
	a.rope()
	return a
}
