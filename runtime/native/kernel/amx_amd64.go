package kernel

// amx multiplies in tiles and does the rest as AVX-512 does.
func amx() *Kernel {
	k := avx512()
	k.level = AMXInt8
	k.tileRows = splitRows
	k.splits, k.dotsBytes = true, false
	strip := layout{strip: splitRows, group: 4}
	k.layouts = [3]layout{Int8: strip, Int12: strip}
	k.quantizeSplit = quantizeSplit
	k.mulPanels = mulPanelsAMX
	return k
}

func quantizeSplit(a *Activations, row int, x, w []float32, scale float32) {
	var weights *float32
	if w != nil {
		weights = &w[0]
	}
	quantizeSplitAMX(&x[0], weights, scale, a.steps, a.K/Block, &a.bytes[a.splitAt(row)], &a.scales[row])
}

func mulPanelsAMX(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	tiles, tile := (r1-r0+splitRows-1)/splitRows, splitSize(a.K)
	rows, as := &a.bytes[a.splitAt(r0)], &a.scales[r0]
	strip, scales := splitRows*m.K, 4*splitRows*m.K/Block
	for p := p0; p < p1; p++ {
		w, ws, to := p*Panel*m.K, &m.scales[p*Panel*m.K/Block], &c[r0*ldc+(p-p0)*Panel]
		if m.w16 != nil {
			mulPanelWordsAMX(tiles, a.K/Block, rows, tile, as, &m.w16[w], 2*strip, ws, scales, to, 4*ldc)
		} else {
			mulPanelBytesAMX(tiles, a.K/Block, rows, tile, as, &m.w8[w], strip, ws, scales, to, 4*ldc)
		}
	}
}
