package kernel

import (
	"fmt"
	"math"
)

// Activations holds rows of a layer's inputs as the product with one kind of
// weights wants them: integers in blocks of 32, or whole rows where a level
// splits them, each with its scale max|x|/steps; or floats.
type Activations struct {
	Rows, K  int
	encoding encoding
	unsigned bool // the weights are, see layout
	steps    float32
	words    []int16   // [tile][K/32][tileRows][32]
	bytes    []int8    // likewise; planes: [half tile][K/32][tileRows/2][high, low][32]; split: see splitAt
	offsets  []int32   // where unsigned: −128 × a block's sum, [tile][K/32][6 rows or planes]
	scales   []float32 // [tile][K/32][tileRows], planes: [half tile][K/32][tileRows/2]; split: [Rows]
	floats   []float32 // [Rows][K]
}

// encoding is how activations are stored.
type encoding uint8

const (
	inWords  encoding = iota
	inBytes           // for a byte dot product
	inPlanes          // 16 bits for a byte dot product: 256·high + low, both int8
	inSplit           // the same for a tile product of bytes, one scale a row
	inFloats
)

// The greatest quantised activations. A block's sum of products with weights of
// either integer kind stays below 32 × 32512 × 2047 < 2³¹. 32512 is 127 × 256, so that
// rounded to a high byte it is still an int8.
const (
	coarseSteps  = 127
	preciseSteps = 32512
)

// NewActivations returns room for rows × kk inputs of products with weights of
// kind w; kk must be a multiple of Block. Int8 weights take inputs of 8 bits,
// or of 16 if precise is set; other kinds take 16 bits or floats whatever it says.
func (k *Kernel) NewActivations(w Weights, rows, kk int, precise bool) *Activations {
	if rows < 0 || kk <= 0 || kk%Block != 0 {
		panic(fmt.Sprintf("kernel: activations of %d rows × %d: want the width in a positive multiple of %d", rows, kk, Block))
	}
	a := &Activations{encoding: inWords, steps: preciseSteps, unsigned: k.layouts[w].unsigned}
	if w == Int8 && !precise {
		a.steps = coarseSteps
	}
	switch {
	case w == Float32:
		a.encoding = inFloats
	case k.splits:
		a.encoding, a.steps = inSplit, preciseSteps
	case w == Int8 && k.dotsBytes && precise:
		a.encoding = inPlanes
	case w == Int8 && k.dotsBytes:
		a.encoding = inBytes
	}
	a.Resize(rows, kk)
	return a
}

// Resize makes room for rows × kk inputs instead, and forgets those it held. It
// allocates only what it never had.
func (a *Activations) Resize(rows, kk int) {
	a.Rows, a.K = rows, kk
	n := padRows(rows, tileRows) * kk
	switch a.encoding {
	case inWords:
		resize(&a.words, n)
	case inBytes:
		resize(&a.bytes, n)
	case inPlanes:
		resize(&a.bytes, 2*n)
	case inFloats:
		resize(&a.floats, n)
		return
	case inSplit:
		a.resizeSplit()
		return
	}
	resize(&a.scales, n/Block)
	if a.unsigned {
		resize(&a.offsets, len(a.bytes)/Block)
	}
}

func resize[T any](s *[]T, n int) {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
}

// Quantize stores y = x × scale × w, elementwise, as the row'th row of a; a nil
// w stands for ones. A block whose greatest |y| is below 2⁻¹¹¹ becomes zero. One
// that holds an infinity or NaN makes every product with its row NaN, so the
// fault shows in the result.
func (k *Kernel) Quantize(a *Activations, row int, x, w []float32, scale float32) {
	if row < 0 || row >= a.Rows || len(x) != a.K || w != nil && len(w) != a.K {
		panic(fmt.Sprintf("kernel: quantise row %d from %d values and %d weights: the activations have %d rows of %d",
			row, len(x), len(w), a.Rows, a.K))
	}
	switch a.encoding {
	case inWords:
		k.quantizeWords(a, row, x, w, scale)
	case inBytes:
		k.quantizeBytes(a, row, x, w, scale)
	case inPlanes:
		quantizePlanes(a, row, x, w, scale)
	case inSplit:
		k.quantizeSplit(a, row, x, w, scale)
	case inFloats:
		scaleRow(a.floats[row*a.K:(row+1)*a.K], x, w, scale)
	}
}

// at returns where block 0 of a row starts: the index of its integers, and of
// its scale. The next block is tileRows*Block, or tileRows, on.
func (a *Activations) at(row int) (q, scale int) {
	tile, r := row/tileRows, row%tileRows
	return tile*tileRows*a.K + r*Block, tile*tileRows*(a.K/Block) + r
}

// halfTile is how many rows of two planes fill a tile.
const halfTile = tileRows / 2

// planesAt is at for planes: the index of the high one of block 0; the low one
// follows. The next block is tileRows*Block, or halfTile, on.
func (a *Activations) planesAt(row int) (q, scale int) {
	tile, r := row/halfTile, row%halfTile
	return tile*tileRows*a.K + 2*r*Block, tile*halfTile*(a.K/Block) + r
}

// quantizePlanes rounds as the other encodings do and splits each integer into
// 256·high + low.
func quantizePlanes(a *Activations, row int, x, w []float32, scale float32) {
	qi, si := a.planesAt(row)
	var y [Block]float32
	var q [Block]int16
	for b := range a.K / Block {
		var inverse float32
		a.scales[si], inverse = scaleBlock(&y, x[b*Block:], blockOf(w, b), scale, a.steps)
		roundBlock(q[:], &y, inverse)
		high, low := a.bytes[qi:qi+Block], a.bytes[qi+Block:qi+2*Block]
		var sums [2]int32
		for i, v := range q {
			low[i] = int8(v)
			high[i] = int8((v - int16(low[i])) >> 8)
			sums[0], sums[1] = sums[0]+int32(high[i]), sums[1]+int32(low[i])
		}
		if a.unsigned {
			a.offsets[qi/Block], a.offsets[qi/Block+1] = -weightOffset*sums[0], -weightOffset*sums[1]
		}
		qi, si = qi+tileRows*Block, si+halfTile
	}
}

func blockOf(w []float32, b int) []float32 {
	if w == nil {
		return nil
	}
	return w[b*Block:]
}

func scaleRow(y, x, w []float32, scale float32) {
	for i, v := range x {
		y[i] = v * scale
	}
	for i, v := range w {
		y[i] *= v
	}
}

// minAbs is the least greatest-|y| of a block that is not taken for zero:
// above it max/steps is a normal number and steps/max is finite.
const minAbs = 0x1p-111

// blockScale returns the scale of a block whose greatest |y| has the given
// bits, and the factor that takes y to integers.
func blockScale(maxBits uint32, steps float32) (scale, inverse float32) {
	switch m := math.Float32frombits(maxBits); {
	case maxBits >= 0x7f800000:
		return float32(math.NaN()), 0
	case m < minAbs:
		return 0, 0
	default:
		return m / steps, steps / m
	}
}
