package kernel

import (
	"fmt"
	"math"
)

// Activations holds rows of layer inputs quantised to integers in blocks of 32,
// each with its scale max|x|/steps. The layout is private to the level.
type Activations struct {
	Rows, K int
	level   Level
	wide    bool
	// q8, or q16 for a wide level, is [tile][K/32][TileRows][32]; scales is
	// [tile][K/32][TileRows]; corrections, beside it, is -128 × the block's sum,
	// for levels that keep their weights with 128 added.
	q8          []int8
	q16         []int16
	scales      []float32
	corrections []int32
}

// A wide level's block sums stay below 32 × 32767 × 128 < 2³¹.
const (
	stepsNarrow = 127   // greatest int8 activation
	stepsWide   = 32767 // greatest int16 activation
)

func (a *Activations) steps() float32 {
	if a.wide {
		return stepsWide
	}
	return stepsNarrow
}

// NewActivations returns room for rows × kk activations; kk must be a multiple
// of Block.
func (k *Kernel) NewActivations(rows, kk int) *Activations {
	a := &Activations{level: k.level, wide: k.wide}
	a.Reshape(rows, kk)
	return a
}

// Reshape gives a room for rows × kk activations, keeping its memory where
// that suffices. What a held is lost.
func (a *Activations) Reshape(rows, kk int) {
	if rows < 0 || kk <= 0 || kk%Block != 0 {
		panic(fmt.Sprintf("kernel: activations of %d rows × %d: want the width in a positive multiple of %d", rows, kk, Block))
	}
	a.Rows, a.K = rows, kk
	n := padRows(rows) * kk
	if a.wide {
		a.q16 = resize(a.q16, n)
	} else {
		a.q8 = resize(a.q8, n)
	}
	a.scales = resize(a.scales, n/Block)
	a.corrections = resize(a.corrections, n/Block)
}

func resize[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]T, n)
}

// Quantize stores y = x × scale × w, elementwise, as the row'th row of a; a nil
// w stands for ones. A block whose greatest |y| is below 2⁻¹¹¹ becomes zero. One
// that holds an infinity or NaN makes every product with its row NaN, so the
// fault shows in the result.
func (k *Kernel) Quantize(a *Activations, row int, x, w []float32, scale float32) {
	if a.level != k.level || row < 0 || row >= a.Rows || len(x) != a.K || w != nil && len(w) != a.K {
		panic(fmt.Sprintf("kernel: quantise row %d from %d values and %d weights by %s: the activations have %d rows of %d and were made for %s",
			row, len(x), len(w), k.level, a.Rows, a.K, a.level))
	}
	k.quantize(a, row, x, w, scale)
}

// at returns where block 0 of a row starts: its index in q8 or q16, and in
// scales and corrections. The next block is TileRows*Block, or TileRows, on.
func (a *Activations) at(row int) (q, scale int) {
	tile, r := row/TileRows, row%TileRows
	return tile*TileRows*a.K + r*Block, tile*TileRows*(a.K/Block) + r
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
		return m * (1 / steps), steps / m
	}
}
