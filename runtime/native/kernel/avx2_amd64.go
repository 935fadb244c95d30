package kernel

import "unsafe"

// stripAVX2 is how many columns the AVX2 kernels multiply at once.
const stripAVX2 = 16

func avx2Kernel() *Kernel {
	return &Kernel{
		level:      AVX2,
		layout:     layout{strip: stripAVX2, group: 2},
		quantize:   quantizeRowAVX2,
		mulPanels:  mulPanelsAVX2,
		gemmF32:    gemmF32AVX2,
		sumSquares: reduceOne(sumSquaresAVX2, sumSquaresPortable),
		dot:        reduceTwo(dotAVX2, dotPortable),
		add:        mapTwo(addAVX2, addPortable),
		siluMul:    mapTwo(siluMulAVX2, siluMulPortable),
		max:        reduceMax(maxAVX2),
		expSum:     reduceExp(expSumAVX2, expSumPortable),
		sumExp:     reduceExp(sumExpAVX2, sumExpPortable),
		scale:      mapScale(scaleAVX2),
		rope:       mapRope(ropeAVX2),
	}
}

func quantizeRowAVX2(a *Activations, row int, x, w []float32, scale float32) {
	q, s := a.at(row)
	quantizeAVX2(&x[0], unsafe.SliceData(w), scale, a.K/Block, &a.q[q], &a.scales[s])
}

func mulPanelsAVX2(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	blocks := m.K / Block
	for col := p0 * Panel; col < p1*Panel; col += stripAVX2 {
		ws := &m.scales[col*blocks]
		for r := r0; r < r1; r += TileRows {
			q, s := a.at(r)
			if m.w16 != nil {
				mulFineTileAVX2(blocks, &a.q[q], &a.scales[s], &m.w16[col*m.K], ws, &c[r*ldc+col], 4*ldc)
			} else {
				mulTileAVX2(blocks, &a.q[q], &a.scales[s], &m.w8[col*m.K], ws, &c[r*ldc+col], 4*ldc)
			}
		}
	}
}

func gemmF32AVX2(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	ap, bp := unsafe.SliceData(a), unsafe.SliceData(b)
	for r := 0; r < rows; r += TileRows {
		if kk > 0 {
			ap = &a[r*lda]
		}
		n := min(rows-r, TileRows)
		for j := 0; j < Panel; j += stripAVX2 {
			if kk > 0 {
				bp = &b[j]
			}
			gemmTileAVX2(n, kk, ap, 4*lda, bp, 4*ldb, &c[r*ldc+j], 4*ldc, accumulate)
		}
	}
}
