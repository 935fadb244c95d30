package kernel

import "unsafe"

// Where a level splits integers of 16 bits into bytes, 256·high + low, a tile is
// 16 rows of 64 inputs: K is padded with zeros to whole steps of 64.
const (
	splitRows = 16
	splitStep = 64
	splitTile = splitRows * splitStep
)

// splitSize is the bytes of one tile of rows, over all of K.
func splitSize(kk int) int { return padRows(kk, splitStep) / splitStep * 2 * splitTile }

// splitAt returns where a row starts: [tile][K/64][high, low][16 rows][64].
func (a *Activations) splitAt(row int) int {
	return row/splitRows*splitSize(a.K) + row%splitRows*splitStep
}

func (a *Activations) resizeSplit() {
	rows := padRows(a.Rows, splitRows)
	resize(&a.scales, rows)
	if n := rows / splitRows * splitSize(a.K); cap(a.bytes) < n {
		a.bytes = cacheAligned(n)
	} else {
		a.bytes = a.bytes[:n]
	}
}

// cacheAligned returns n bytes that begin a cache line.
func cacheAligned(n int) []int8 {
	const line = 64
	b := make([]int8, n+line)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % line)
	return b[skip : skip+n]
}
