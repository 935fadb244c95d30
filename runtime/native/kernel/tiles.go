//go:build amd64 || arm64

package kernel

import "unsafe"

// tiles are the products of one tile of rows with one strip of columns, a
// function for each encoding of the rows and kind of weights. ldc is in bytes.
type tiles struct {
	words  func(blocks int, a *int16, as *float32, w *int8, ws *float32, c *float32, ldc int)
	fine   func(blocks int, a *int16, as *float32, w *int16, ws *float32, c *float32, ldc int) // Int12
	bytes  bytesTileFunc
	planes bytesTileFunc
}

type bytesTileFunc func(blocks int, a *int8, offsets *int32, as *float32, w *int8, ws *float32, c *float32, ldc int, ahead uintptr)

func (t *tiles) mulPanels(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int) {
	blocks, step, strip := a.K/Block, tileRows, m.layout.strip
	if a.encoding == inPlanes {
		step = halfTile
	}
	for col := p0 * Panel; col < p1*Panel; col += strip {
		w, ws := col*m.K, &m.scales[col*(m.K/Block)]
		next := ahead{at: uintptr(unsafe.Pointer(unsafe.SliceData(m.w8))) + uintptr(w+strip*m.K)}
		next.end = next.at + uintptr(strip*m.K)
		for r := r0; r < r1; r += step {
			q, s := a.at(r)
			to := &c[r*ldc+col-p0*Panel]
			switch {
			case m.Weights == Int12:
				t.fine(blocks, &a.words[q], &a.scales[s], &m.w16[w], ws, to, 4*ldc)
			case a.encoding == inWords:
				t.words(blocks, &a.words[q], &a.scales[s], &m.w8[w], ws, to, 4*ldc)
			case a.encoding == inPlanes:
				q, s = a.planesAt(r)
				t.planes(blocks, &a.bytes[q], a.offsetsAt(q), &a.scales[s], &m.w8[w], ws, to, 4*ldc, next.take(blocks))
			default:
				t.bytes(blocks, &a.bytes[q], a.offsetsAt(q), &a.scales[s], &m.w8[w], ws, to, 4*ldc, next.take(blocks))
			}
		}
	}
}

// prefetchBytes is what a tile asks for ahead with every block.
const prefetchBytes = 4 * 64

// ahead is the strip of weights behind the one in use, which the tiles of that
// one prefetch in turn. An address beyond the matrix is never read: a prefetch
// does not fault.
type ahead struct{ at, end uintptr }

// take is where a tile prefetches from; tiles that come when all is asked for
// repeat the end.
func (n *ahead) take(blocks int) uintptr {
	at := n.at
	if size := uintptr(blocks * prefetchBytes); n.at+size < n.end {
		n.at += size
	}
	return at
}

// offsetsAt returns the offsets of the block whose integers start at q: nil
// for signed weights.
func (a *Activations) offsetsAt(q int) *int32 {
	if !a.unsigned {
		return nil
	}
	return &a.offsets[q/Block]
}

type quantizeWordsFunc func(x *float32, w *float32, scale float32, steps float32, blocks int, q *int16, scales *float32)

func wordsWith(quantize quantizeWordsFunc) func(a *Activations, row int, x, w []float32, scale float32) {
	return func(a *Activations, row int, x, w []float32, scale float32) {
		q, s := a.at(row)
		quantize(&x[0], unsafe.SliceData(w), scale, a.steps, a.K/Block, &a.words[q], &a.scales[s])
	}
}

type quantizeBytesFunc func(x *float32, w *float32, scale float32, steps float32, blocks int, q *int8, offsets *int32, scales *float32)

func bytesWith(quantize quantizeBytesFunc) func(a *Activations, row int, x, w []float32, scale float32) {
	return func(a *Activations, row int, x, w []float32, scale float32) {
		q, s := a.at(row)
		quantize(&x[0], unsafe.SliceData(w), scale, a.steps, a.K/Block, &a.bytes[q], &a.offsets[q/Block], &a.scales[s])
	}
}
