// Command gen writes the assembly of the vector levels and its Go stubs:
//
//	go run . -level avx2 -out ../avx2_amd64.s -stubs ../avx2_stubs_amd64.go -pkg kernel
//
// It is a module of its own, so that the project does not depend on avo.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	level := flag.String("level", "", "level to write: avx2, avx512 or amx")
	flag.Parse()
	switch *level {
	case "avx2":
		v := &vectors{suffix: "AVX2", lanes: 8, reg: ymm}
		v.constants()
		mulTileAVX2("mulTile", 1)
		mulTileAVX2("mulFineTile", 2)
		mulBytesTileAVXVNNI("mulBytesTile", false)
		mulBytesTileAVXVNNI("mulPlanesTile", true)
		v.all()
	case "avx512":
		v := &vectors{suffix: "AVX512", lanes: 16, reg: zmm}
		v.constants()
		mulFineTileAVX512()
		mulBytesTileAVX512("mulBytesTile", false)
		mulBytesTileAVX512("mulPlanesTile", true)
		v.all()
	case "amx":
		consts := amxConstants()
		mulPanelAMX(consts, "mulPanelBytes", 1)
		mulPanelAMX(consts, "mulPanelWords", 2)
		quantizeSplitAMX()
	default:
		log.Fatalf("-level %q: want avx2, avx512 or amx", *level)
	}
	Generate()
}

// all writes the functions whose text differs between levels in the width of
// the registers alone.
func (v *vectors) all() {
	v.quantizeWords()
	v.quantizeBytes()
	v.gemmTile()
	v.sumSquares()
	v.dot()
	v.add()
	v.scale()
	v.max()
	v.expSum("expSum", true)
	v.expSum("sumExp", false)
	v.siluMul()
	v.geluMul()
	v.scaleMul()
	v.rope()
}
