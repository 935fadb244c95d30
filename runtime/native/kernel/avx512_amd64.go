package kernel

import "unsafe"

func avx512() *Kernel {
	return &Kernel{
		level:      AVX512VNNI,
		layout:     layout{strip: Panel, group: 2},
		quantize:   quantizeRowAVX512,
		mulPanels:  mulPanelsAVX512,
		gemmF32:    gemmF32AVX512,
		sumSquares: reduceOne(sumSquaresAVX512, sumSquaresPortable),
		dot:        reduceTwo(dotAVX512, dotPortable),
		add:        mapTwo(addAVX512, addPortable),
		siluMul:    mapTwo(siluMulAVX512, siluMulPortable),
		max:        reduceMax(maxAVX512),
		expSum:     reduceExp(expSumAVX512, expSumPortable),
		sumExp:     reduceExp(sumExpAVX512, sumExpPortable),
		scale:      mapScale(scaleAVX512),
		rope:       mapRope(ropeAVX512),
	}
}

func quantizeRowAVX512(a *Activations, row int, x, w []float32, scale float32) {
	q, s := a.at(row)
	quantizeAVX512(&x[0], unsafe.SliceData(w), scale, a.K/Block, &a.q[q], &a.scales[s])
}

func mulPanelsAVX512(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	blocks := m.K / Block
	for p := p0; p < p1; p++ {
		w := p * Panel * m.K
		ws := &m.scales[p*Panel*blocks]
		for r := r0; r < r1; r += TileRows {
			q, s := a.at(r)
			if m.w16 != nil {
				mulFineTileAVX512(blocks, &a.q[q], &a.scales[s], &m.w16[w], ws, &c[r*ldc+p*Panel], 4*ldc)
			} else {
				mulTileAVX512(blocks, &a.q[q], &a.scales[s], &m.w8[w], ws, &c[r*ldc+p*Panel], 4*ldc)
			}
		}
	}
}

func gemmF32AVX512(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	ap := unsafe.SliceData(a)
	for r := 0; r < rows; r += TileRows {
		if kk > 0 {
			ap = &a[r*lda]
		}
		gemmTileAVX512(min(rows-r, TileRows), kk, ap, 4*lda, unsafe.SliceData(b), 4*ldb, &c[r*ldc], 4*ldc, accumulate)
	}
}
