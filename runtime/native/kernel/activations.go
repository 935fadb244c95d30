package kernel

import (
	"fmt"
	"math"
)

// Activations holds rows of layer inputs quantised to int16 in blocks of 32,
// each with its scale max|x|/steps.
type Activations struct {
	Rows, K int
	q       []int16   // [tile][K/32][TileRows][32]
	scales  []float32 // [tile][K/32][TileRows]
}

// steps is the greatest quantised activation. A block's sum of products with
// int8 weights stays below 32 × 32767 × 128 < 2³¹.
const steps = 32767

// NewActivations returns room for rows × kk activations; kk must be a multiple
// of Block.
func (k *Kernel) NewActivations(rows, kk int) *Activations {
	if rows < 0 || kk <= 0 || kk%Block != 0 {
		panic(fmt.Sprintf("kernel: activations of %d rows × %d: want the width in a positive multiple of %d", rows, kk, Block))
	}
	n := padRows(rows) * kk
	return &Activations{Rows: rows, K: kk, q: make([]int16, n), scales: make([]float32, n/Block)}
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
	k.quantize(a, row, x, w, scale)
}

// at returns where block 0 of a row starts: its index in q, and in scales. The next block is TileRows*Block, or TileRows, on.
func (a *Activations) at(row int) (q, scale int) {
	tile, r := row/TileRows, row%TileRows
	return tile*TileRows*a.K + r*Block, tile*TileRows*(a.K/Block) + r
}

// minAbs is the least greatest-|y| of a block that is not taken for zero:
// above it max/steps is a normal number and steps/max is finite.
const minAbs = 0x1p-111

// blockScale returns the scale of a block whose greatest |y| has the given
// bits, and the factor that takes y to integers.
func blockScale(maxBits uint32) (scale, inverse float32) {
	switch m := math.Float32frombits(maxBits); {
	case maxBits >= 0x7f800000:
		return float32(math.NaN()), 0
	case m < minAbs:
		return 0, 0
	default:
		return m * (1.0 / steps), steps / m
	}
}
