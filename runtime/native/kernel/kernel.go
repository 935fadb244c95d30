// Package kernel is the arithmetic of the native CPU engine: integer and float32
// matrix products, quantisation, and the elementwise functions of a
// transformer, on one thread.
//
// It comes in levels, one for each family of CPU instructions, chosen at start
// from what the CPU has. All but one quantise to the same integers and sum a
// block's products exactly; their float results differ only in the order of
// sums and in fused multiply-adds.
//
// Weights are int8 where their file has them so, and used unrounded; others have
// 12 bits in an int16. Activations have 8 bits or 16, as the caller asks: what
// rounding costs is in docs/performance.md. Processors with a dot product of bytes
// (VNNI, SDOT) take 16-bit activations apart into two bytes; the others compute
// everything on 16 bits. The integers are the same.
//
// The level of AMX has other integers: tiles sum so many products of bytes in one
// instruction that scaling every block's sum would cost more than the sums. So
// activations have 16 bits, always, and one scale a row; weights become 15-bit
// shares of their column's greatest scale while they are used; and both are split
// into bytes, see split.go.
//
// Within one level every float sum has a fixed order that depends on nothing
// but its own row and column: a row's result has the same bits whatever rows
// are computed beside it.
package kernel

import (
	"fmt"
	"strings"
)

const (
	// Block is the number of consecutive inputs (values of K) that share one
	// scale, in weights and in activations, as in GGUF's Q8_0.
	Block = 32
	// Panel is the number of output columns packed together.
	Panel = 32
	// tileRows is the number of rows that most levels multiply at once.
	tileRows = 6
)

// Level names a family of CPU instructions.
type Level string

const (
	Portable   Level = "portable"   // plain Go, on every CPU
	AVX2       Level = "avx2"       // x86-64 with AVX2 and FMA
	AVXVNNI    Level = "avxvnni"    // the same and AVX-VNNI
	AVX512VNNI Level = "avx512vnni" // x86-64 with AVX-512 F, BW, VL, DQ and VNNI
	AMXInt8    Level = "amxint8"    // the same with AVX-512 VBMI, and AMX tiles of bytes
	NEON       Level = "neon"       // arm64
	NEONDot    Level = "neondot"    // arm64 with the dot product of bytes, SDOT
)

// Kernel is the table of functions of one level. It holds no state, so any
// number of goroutines may share it. The functions are reached through
// pointers, so buffers given to them escape to the heap: keep and reuse them.
type Kernel struct {
	level     Level
	layouts   [3]layout // by kind of weights
	tileRows  int
	dotsBytes bool // has a dot product of bytes
	splits    bool // takes activations of 16 bits alone, one scale a row, see inSplit

	quantizeWords func(a *Activations, row int, x, w []float32, scale float32)
	quantizeBytes func(a *Activations, row int, x, w []float32, scale float32) // where it dots bytes
	quantizeSplit func(a *Activations, row int, x, w []float32, scale float32) // where it splits
	mulPanels     func(m *Matrix, a *Activations, p0, p1, r0, r1 int, c []float32, ldc int)
	gemmF32       func(rows, kk int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, accumulate bool)
	sumSquares    func(x []float32) float32
	dot           func(x, y []float32) float32
	add           func(dst, x []float32)
	siluMul       func(g, u []float32)
	geluMul       func(g, u []float32)
	max           func(x []float32) float32
	expSum        func(x []float32, max float32) float32 // in place
	sumExp        func(x []float32, max float32) float32
	scale         func(x []float32, s float32)
	scaleMul      func(x, w []float32, s float32)
	rope          func(x, cos, sin []float32)
}

// TileRows returns the number of rows multiplied at once: rows of products are
// padded to a multiple of it.
func (k *Kernel) TileRows() int { return k.tileRows }

// Coarse says whether products with int8 weights can take activations of 8 bits: a
// level that splits has 16 alone. Levels without a dot product of bytes gain
// nothing by them, but give what the others give.
func (k *Kernel) Coarse() bool { return !k.splits }

// Level returns the level whose functions k holds.
func (k *Kernel) Level() Level { return k.level }

// available holds the kernels this CPU can run, best first.
var available = append(vectorKernels(), portable())

// Levels returns the levels that this CPU can run, best first.
func Levels() []Level {
	levels := make([]Level, len(available))
	for i, k := range available {
		levels[i] = k.level
	}
	return levels
}

// New returns the kernel of the named level, or of the best one if level is
// empty.
func New(level string) (*Kernel, error) {
	if level == "" {
		return available[0], nil
	}
	names := make([]string, len(available))
	for i, k := range available {
		if string(k.level) == level {
			return k, nil
		}
		names[i] = string(k.level)
	}
	return nil, fmt.Errorf("kernel level %q is unknown or beyond this CPU: choose one of %s, or none for the best",
		level, strings.Join(names, ", "))
}
