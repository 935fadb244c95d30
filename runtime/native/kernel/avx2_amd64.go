package kernel

import "unsafe"

// stripAVX2 is how many columns the 256-bit kernels multiply at once.
const stripAVX2 = 16

func avx2() *Kernel {
	pairs := layout{strip: stripAVX2, group: 2}
	t := &tiles{words: mulTileAVX2, fine: mulFineTileAVX2}
	return &Kernel{
		level:         AVX2,
		tileRows:      tileRows,
		layouts:       [3]layout{Int8: pairs, Int12: pairs},
		quantizeWords: wordsWith(quantizeAVX2),
		mulPanels:     t.mulPanels,
		gemmF32:       gemmF32AVX2,
		sumSquares:    reduceOne(sumSquaresAVX2, sumSquaresPortable),
		dot:           reduceTwo(dotAVX2, dotPortable),
		add:           mapTwo(addAVX2, addPortable),
		siluMul:       mapTwo(siluMulAVX2, siluMulPortable),
		geluMul:       mapTwo(geluMulAVX2, geluMulPortable),
		max:           reduceMax(maxAVX2),
		expSum:        reduceExp(expSumAVX2, expSumPortable),
		sumExp:        reduceExp(sumExpAVX2, sumExpPortable),
		scale:         mapScale(scaleAVX2),
		scaleMul:      mapScaled(scaleMulAVX2),
		rope:          mapRope(ropeAVX2),
	}
}

// avxVNNI differs from AVX2 in the products of int8 weights.
func avxVNNI() *Kernel {
	k := avx2()
	k.level, k.dotsBytes = AVXVNNI, true
	k.layouts[Int8] = layout{strip: stripAVX2, group: 4, unsigned: true}
	t := &tiles{fine: mulFineTileAVX2, bytes: mulBytesTileAVXVNNI, planes: mulPlanesTileAVXVNNI}
	k.quantizeBytes, k.mulPanels = bytesWith(quantizeBytesAVX2), t.mulPanels
	return k
}

func gemmF32AVX2(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	ap, bp := unsafe.SliceData(a), unsafe.SliceData(b)
	for r := 0; r < rows; r += tileRows {
		if kk > 0 {
			ap = &a[r*lda]
		}
		n := min(rows-r, tileRows)
		for j := 0; j < Panel; j += stripAVX2 {
			if kk > 0 {
				bp = &b[j]
			}
			gemmTileAVX2(n, kk, ap, 4*lda, bp, 4*ldb, &c[r*ldc+j], 4*ldc, accumulate)
		}
	}
}
