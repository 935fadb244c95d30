package kernel

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// eachLevel runs a test at every level that this CPU can run.
func eachLevel(t *testing.T, test func(t *testing.T, k *Kernel)) {
	for _, k := range available {
		t.Run(string(k.level), func(t *testing.T) { test(t, k) })
	}
}

// eachProduct runs a test for every product of integers at every level.
func eachProduct(t *testing.T, test func(t *testing.T, k *Kernel, p product)) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, p := range products {
			t.Run(p.String(), func(t *testing.T) { test(t, k, p) })
		}
	})
}

func TestLevels(t *testing.T) {
	levels := Levels()
	t.Logf("levels of this CPU, best first: %v", levels)
	if levels[len(levels)-1] != Portable {
		t.Errorf("levels %v do not end with %s", levels, Portable)
	}
	for _, level := range levels {
		k, err := New(string(level))
		if err != nil {
			t.Fatal(err)
		}
		if k.Level() != level {
			t.Errorf("New(%q) has level %q", level, k.Level())
		}
	}
	if best, err := New(""); err != nil || best.Level() != levels[0] {
		t.Errorf("New of no name is %v, %v; want %s", best, err, levels[0])
	}
}

func TestUnknownLevel(t *testing.T) {
	_, err := New("mmx")
	if err == nil || !strings.Contains(err.Error(), "mmx") || !strings.Contains(err.Error(), string(Portable)) {
		t.Errorf("error %v should name the level asked for and those there are", err)
	}
}

// TestMisuse checks that a call with wrong shapes panics before any assembly
// could touch memory that is not its own.
func TestMisuse(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		m, a := k.NewMatrix(Int8, 40, 64), k.NewActivations(Int8, 7, 64, false)
		f := func(n int) []float32 { return make([]float32, n) }
		i := func(n int) []int16 { return make([]int16, n) }
		foreign := &Kernel{level: "other", layouts: k.layouts}
		for name, call := range map[string]func(){
			"matrix with ragged K":        func() { k.NewMatrix(Int8, 8, 33) },
			"matrix without columns":      func() { k.NewMatrix(Int8, 0, 32) },
			"activations with ragged K":   func() { k.NewActivations(Int8, 8, 31, false) },
			"pack beyond the last column": func() { k.PackRow(m, 40, i(64), f(2)) },
			"pack a short column":         func() { k.PackRow(m, 0, i(63), f(2)) },
			"pack too few scales":         func() { k.PackRow(m, 0, i(64), f(1)) },
			"pack another level's matrix": func() { k.PackRow(foreign.NewMatrix(Int8, 40, 64), 0, i(64), f(2)) },
			"quantise beyond the rows":    func() { k.Quantize(a, 7, f(64), nil, 1) },
			"quantise a short row":        func() { k.Quantize(a, 0, f(32), nil, 1) },
			"quantise with short weights": func() { k.Quantize(a, 0, f(64), f(63), 1) },
			"multiply greater widths":     func() { k.MulPanels(m, k.NewActivations(Int8, 7, 96, false), 0, 2, 0, 7, f(12*64), 64) },
			"multiply other encodings":    func() { k.MulPanels(m, k.NewActivations(Float32, 7, 64, false), 0, 2, 0, 7, f(12*64), 64) },
			"pack a block beyond the row": func() { k.PackBlock(m, 0, 2, f(32)) },
			"pack integers into floats":   func() { k.PackRow(k.NewMatrix(Float32, 40, 64), 0, i(64), f(2)) },
			"multiply beyond the panels":  func() { k.MulPanels(m, a, 0, 3, 0, 7, f(12*96), 96) },
			"multiply beyond the rows":    func() { k.MulPanels(m, a, 0, 2, 0, 8, f(12*64), 64) },
			"multiply from within a tile": func() { k.MulPanels(m, a, 0, 2, 1, 7, f(12*64), 64) },
			"multiply into a short c":     func() { k.MulPanels(m, a, 0, 2, 0, 7, f(12*64-1), 64) },
			"multiply into narrow rows":   func() { k.MulPanels(m, a, 0, 2, 0, 7, f(12*64), 63) },
			"product of a short a":        func() { k.GemmF32(2, 3, f(5), 3, f(96), 32, f(64), 32, false) },
			"product of a short b":        func() { k.GemmF32(2, 3, f(6), 3, f(95), 32, f(64), 32, false) },
			"product into a short c":      func() { k.GemmF32(2, 3, f(6), 3, f(96), 32, f(63), 32, false) },
			"product with overlapping c":  func() { k.GemmF32(2, 3, f(6), 3, f(96), 32, f(99), 31, false) },
			"product with negative b":     func() { k.GemmF32(2, 3, f(6), 3, f(96), -1, f(64), 32, false) },
			"dot product":                 func() { k.Dot(f(32), f(31)) },
			"sum":                         func() { k.Add(f(32), f(33)) },
			"SiLU":                        func() { k.SiLUMul(f(32), f(31)) },
			"GELU":                        func() { k.GELUMul(f(32), f(31)) },
			"scaled product":              func() { k.ScaleMul(f(32), f(33), 1) },
			"rope of odd length":          func() { k.Rope(f(33), f(16), f(16)) },
			"rope of too few angles":      func() { k.Rope(f(64), f(32), f(31)) },
		} {
			if message := panicOf(call); !strings.HasPrefix(message, "kernel: ") {
				t.Errorf("%s: panic %q, want one of this package's", name, message)
			}
		}
	})
}

func panicOf(call func()) (message string) {
	defer func() { message, _ = recover().(string) }()
	call()
	return ""
}

func TestNoAllocations(t *testing.T) {
	eachProduct(t, func(t *testing.T, k *Kernel, p product) {
		r := newRand()
		m, a := p.matrix(r, k, 64, 64).m, p.activations(r, k, 12, 64)
		x, y, c := normal(r, 64), normal(r, 64), make([]float32, padRows(12, k.tileRows)*64)
		if n := testing.AllocsPerRun(10, func() {
			k.Quantize(a, 3, x, y, 2)
			k.MulPanels(m, a, 0, 2, 0, 12, c, 64)
			k.GemmF32(1, 1, x, 64, y, 32, c, 32, true)
			k.Softmax(x)
			k.SiLUMul(x, y)
			k.GELUMul(x, y)
			k.ScaleMul(x, y, 2)
			k.Rope(x, y[:32], y[32:])
			k.Add(x, y)
			k.Dot(x, y)
			k.SumExp(x, k.Max(x))
		}); n != 0 {
			t.Errorf("%v allocations a round", n)
		}
	})
}

// sameBits reports whether x and y are the same values, bit for bit.
func sameBits(x, y []float32) bool {
	return slices.EqualFunc(x, y, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
}
