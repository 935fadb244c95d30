package gguf_test

import (
	"encoding/binary"
	"math"
	"os"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

// types returns the file that testdata/make.py wrote with gguf-py.
func types(t testing.TB) *gguf.File {
	t.Helper()
	data, err := os.ReadFile("testdata/types.gguf")
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDequantizeGivesTheBitsOfGGUFPy(t *testing.T) {
	want, err := os.ReadFile("testdata/types.f32")
	if err != nil {
		t.Fatal(err)
	}
	tensors := types(t).Tensors()
	if len(tensors) != 11 {
		t.Fatalf("%d tensors, want one of each of 11 types", len(tensors))
	}
	for _, x := range tensors {
		if x.Name != x.Type.String() {
			t.Errorf("tensor %s has type %s", x.Name, x.Type)
		}
		got := make([]float32, x.Shape[0]*x.Shape[1])
		gguf.Dequantize(got, x.Data, x.Type)
		wrong := 0
		for i, g := range got {
			w := binary.LittleEndian.Uint32(want[4*i:])
			if math.Float32bits(g) != w {
				if wrong++; wrong == 1 {
					t.Errorf("%s: value %d is %v, want %v", x.Name, i, g, math.Float32frombits(w))
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d values differ", x.Name, wrong, len(got))
		}
		want = want[4*len(got):]
	}
	if len(want) != 0 {
		t.Errorf("%d bytes of expected values are left over", len(want))
	}
}

// Every half there is, against arithmetic that shares nothing with the code.
func TestDequantizeEveryHalf(t *testing.T) {
	for h := range 1 << 16 {
		var got [1]float32
		gguf.Dequantize(got[:], binary.LittleEndian.AppendUint16(nil, uint16(h)), gguf.F16)
		exponent, fraction := h>>10&31, h&1023
		var want float64
		switch {
		case exponent == 31 && fraction != 0:
			want = math.NaN()
		case exponent == 31:
			want = math.Inf(1)
		case exponent == 0:
			want = math.Ldexp(float64(fraction), -24)
		default:
			want = math.Ldexp(float64(1024+fraction), exponent-25)
		}
		if h&0x8000 != 0 {
			want = math.Copysign(want, -1)
		}
		g := float64(got[0])
		if math.IsNaN(want) != math.IsNaN(g) || math.Signbit(want) != math.Signbit(g) || !math.IsNaN(want) && want != g {
			t.Fatalf("half %#04x is %v, want %v", h, g, want)
		}
	}
}

func TestDequantizePanicsOnLengthsThatDoNotMatch(t *testing.T) {
	for _, c := range []struct {
		name      string
		dst, src  int
		typ       gguf.Type
		wantPanic bool
	}{
		{"one block", 32, 34, gguf.Q8_0, false},
		{"nothing", 0, 0, gguf.Q8_0, false},
		{"half a block", 16, 17, gguf.Q8_0, true},
		{"bytes missing", 32, 33, gguf.Q8_0, true},
		{"bytes left over", 32, 35, gguf.Q8_0, true},
		{"unreadable type", 256, 84, gguf.Type(10), true},
		{"no such type", 1, 1, gguf.Type(1 << 31), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if got := recover() != nil; got != c.wantPanic {
					t.Errorf("panicked: %v, want %v", got, c.wantPanic)
				}
			}()
			gguf.Dequantize(make([]float32, c.dst), make([]byte, c.src), c.typ)
		})
	}
}

func TestBlockSizesAreThoseOfGGUFPy(t *testing.T) {
	f := types(t)
	names, _ := f.Strings("type.names")
	numbers, _ := f.Ints("type.numbers")
	values, _ := f.Ints("type.values")
	sizes, _ := f.Ints("type.bytes")
	if len(names) < 30 {
		t.Fatalf("%d types in the table", len(names))
	}
	for i, name := range names {
		if name == "Q8_1" || name == "Q8_K" { // never in files
			continue
		}
		typ := gguf.Type(numbers[i])
		if typ.String() != name || typ.BlockSize() != int(values[i]) || typ.RowSize(3*int(values[i])) != 3*int(sizes[i]) {
			t.Errorf("%s: %d values in %d bytes, want %s with %d in %d", typ, typ.BlockSize(), typ.RowSize(typ.BlockSize()), name, values[i], sizes[i])
		}
	}
	if typ := gguf.Type(5); typ.Known() || typ.RowSize(32) != 0 || typ.BlockSize() != 0 || typ.String() != "type 5" {
		t.Errorf("a number without a type is %v", typ)
	}
}

func BenchmarkDequantize(b *testing.B) {
	for _, x := range types(b).Tensors() {
		b.Run(x.Name, func(b *testing.B) {
			dst := make([]float32, x.Shape[0]*x.Shape[1])
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				gguf.Dequantize(dst, x.Data, x.Type)
			}
		})
	}
}

func BenchmarkParseVocabulary(b *testing.B) {
	tokens := make([]string, 150_000)
	for i := range tokens {
		tokens[i] = "Ġtoken"
	}
	data := gguftest.Encode(pairs("tokenizer.ggml.tokens", tokens, "tokenizer.ggml.merges", tokens), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gguf.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
