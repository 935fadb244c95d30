package kernel

import "unsafe"

func avx512() *Kernel {
	t := &tiles{fine: mulFineTileAVX512, bytes: mulBytesTileAVX512, planes: mulPlanesTileAVX512}
	return &Kernel{
		level:         AVX512VNNI,
		tileRows:      tileRows,
		layouts:       [3]layout{Int8: {strip: Panel, group: 4, unsigned: true}, Int12: {strip: Panel, group: 2}},
		dotsBytes:     true,
		quantizeWords: wordsWith(quantizeAVX512),
		quantizeBytes: bytesWith(quantizeBytesAVX512),
		mulPanels:     t.mulPanels,
		gemmF32:       gemmF32AVX512,
		sumSquares:    reduceOne(sumSquaresAVX512, sumSquaresPortable),
		dot:           reduceTwo(dotAVX512, dotPortable),
		add:           mapTwo(addAVX512, addPortable),
		siluMul:       mapTwo(siluMulAVX512, siluMulPortable),
		geluMul:       mapTwo(geluMulAVX512, geluMulPortable),
		max:           reduceMax(maxAVX512),
		expSum:        reduceExp(expSumAVX512, expSumPortable),
		sumExp:        reduceExp(sumExpAVX512, sumExpPortable),
		scale:         mapScale(scaleAVX512),
		scaleMul:      mapScaled(scaleMulAVX512),
		rope:          mapRope(ropeAVX512),
	}
}

func gemmF32AVX512(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	ap := unsafe.SliceData(a)
	for r := 0; r < rows; r += tileRows {
		if kk > 0 {
			ap = &a[r*lda]
		}
		gemmTileAVX512(min(rows-r, tileRows), kk, ap, 4*lda, unsafe.SliceData(b), 4*ldb, &c[r*ldc], 4*ldc, accumulate)
	}
}
