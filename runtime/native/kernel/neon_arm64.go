package kernel

import "unsafe"

const (
	// stripNEON is how many columns the integer kernels multiply at once.
	stripNEON = 8
	// gemmNEON is how many the float kernel does.
	gemmNEON = 16
)

func neon() *Kernel {
	singles := layout{strip: stripNEON, group: 1}
	t := &tiles{words: mulTileNEON, fine: mulFineTileNEON}
	return &Kernel{
		level:         NEON,
		tileRows:      tileRows,
		layouts:       [3]layout{Int8: singles, Int12: singles},
		quantizeWords: wordsWith(quantizeNEON),
		mulPanels:     t.mulPanels,
		gemmF32:       gemmF32NEON,
		sumSquares:    reduceOne(sumSquaresNEON, sumSquaresPortable),
		dot:           reduceTwo(dotNEON, dotPortable),
		add:           mapTwo(addNEON, addPortable),
		siluMul:       mapTwo(siluMulNEON, siluMulPortable),
		geluMul:       mapTwo(geluMulNEON, geluMulPortable),
		max:           reduceMax(maxNEON),
		expSum:        reduceExp(expSumNEON, expSumPortable),
		sumExp:        reduceExp(sumExpNEON, sumExpPortable),
		scale:         mapScale(scaleNEON),
		scaleMul:      mapScaled(scaleMulNEON),
		rope:          mapRope(ropeNEON),
	}
}

// neonDot differs from NEON in the products of int8 weights. SDOT takes both
// factors signed, so nothing is to be taken out of its sums.
func neonDot() *Kernel {
	k := neon()
	k.level, k.dotsBytes = NEONDot, true
	k.layouts[Int8] = layout{strip: stripNEON, group: 4}
	t := &tiles{fine: mulFineTileNEON, bytes: signed(mulBytesTileNEONDot), planes: signed(mulPlanesTileNEONDot)}
	k.quantizeBytes, k.mulPanels = quantizeBytesRowNEON, t.mulPanels
	return k
}

// signed gives a product of signed weights the form of those that need offsets.
func signed(mul func(blocks int, a *int8, as *float32, w *int8, ws *float32, c *float32, ldc int, ahead uintptr)) bytesTileFunc {
	return func(blocks int, a *int8, _ *int32, as *float32, w *int8, ws *float32, c *float32, ldc int, ahead uintptr) {
		mul(blocks, a, as, w, ws, c, ldc, ahead)
	}
}

func quantizeBytesRowNEON(a *Activations, row int, x, w []float32, scale float32) {
	q, s := a.at(row)
	quantizeBytesNEON(&x[0], unsafe.SliceData(w), scale, a.steps, a.K/Block, &a.bytes[q], &a.scales[s])
}

func gemmF32NEON(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	ap, bp := unsafe.SliceData(a), unsafe.SliceData(b)
	for r := 0; r < rows; r += tileRows {
		if kk > 0 {
			ap = &a[r*lda]
		}
		n := min(rows-r, tileRows)
		for j := 0; j < Panel; j += gemmNEON {
			if kk > 0 {
				bp = &b[j]
			}
			gemmTileNEON(n, kk, ap, 4*lda, bp, 4*ldb, &c[r*ldc+j], 4*ldc, accumulate)
		}
	}
}
