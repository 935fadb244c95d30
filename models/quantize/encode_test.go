package quantize_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/quantize"
)

// encoded are the types that lose something, from the most bits to the fewest.
var encoded = []gguf.Type{gguf.F16, gguf.Q8_0, gguf.Q6_K, gguf.Q5_1, gguf.Q5_K, gguf.Q5_0, gguf.Q4_K}

const cols = 256

// tiny is a row of testdata/make.py whose scales are 0 as halves. What ggml writes as
// Q5_0 of it comes of converting an infinity to an integer: C leaves that open.
const tiny = 25

// rows reads what testdata/make.py wrote.
func rows(t testing.TB) [][]float32 {
	t.Helper()
	data, err := os.ReadFile("testdata/rows.f32")
	if err != nil {
		t.Fatal(err)
	}
	list := make([][]float32, len(data)/4/cols)
	for i := range list {
		list[i] = make([]float32, cols)
		gguf.Dequantize(list[i], data[4*cols*i:4*cols*(i+1)], gguf.F32)
	}
	return list
}

func TestEncodeGivesTheBytesOfGGML(t *testing.T) {
	list := rows(t)
	if len(list) != 34 {
		t.Fatalf("%d rows", len(list))
	}
	for _, typ := range encoded {
		all, err := os.ReadFile("testdata/rows." + typ.String())
		if err != nil {
			t.Fatal(err)
		}
		size := typ.RowSize(cols)
		if len(all) != size*len(list) {
			t.Fatalf("%s: %d bytes of %d rows", typ, len(all), len(list))
		}
		got := make([]byte, size)
		for i, row := range list {
			if err := quantize.Encode(got, row, typ); err != nil {
				t.Errorf("%s, row %d: %v", typ, i, err)
			}
			want := all[size*i : size*(i+1)]
			if typ == gguf.Q5_0 && i == tiny {
				got, want = widen(got, typ), widen(want, typ)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s, row %d:\n%x, want\n%x", typ, i, got, want)
			}
			got = make([]byte, size)
		}
	}
}

// widen is what a row's bytes mean, signs of zeros apart.
func widen(b []byte, typ gguf.Type) []byte {
	v, out := make([]float32, cols), make([]byte, 4*cols)
	gguf.Dequantize(v, b, typ)
	for i := range v {
		v[i] += 0
	}
	if err := quantize.Encode(out, v, gguf.F32); err != nil {
		panic(err)
	}
	return out
}

// decoded is what is left of values, nil where they are refused.
func decoded(src []float32, typ gguf.Type) []float32 {
	b := make([]byte, typ.RowSize(len(src)))
	if quantize.Encode(b, src, typ) != nil {
		return nil
	}
	out := make([]float32, len(src))
	gguf.Dequantize(out, b, typ)
	return out
}

// worst is the largest error relative to the magnitude or range of a block that a type
// may make: half a step, and what rounding the scales adds.
var worst = map[gguf.Type]float64{
	gguf.F16: 0x1p-11, gguf.Q8_0: 0.5/127 + 0.001, gguf.Q6_K: 1. / 32, gguf.Q5_1: 2*0.5/31 + 0.002, gguf.Q5_K: 2. / 31, gguf.Q5_0: 1. / 16, gguf.Q4_K: 2. / 15,
}

// least is the error that scales near the smallest halves add: half their step of
// 2^-24, times the largest scale and level of Q6_K.
const least = 0x1p-25 * 128 * 32

// Every value stays within the theoretical bound, and types with more bits lose less.
func TestErrorsAreBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sum := map[gguf.Type]float64{}
	for range 200 {
		row := make([]float32, cols)
		scale := math.Exp(r.NormFloat64())
		for i := range row {
			row[i] = float32(scale * r.NormFloat64())
		}
		var top float64
		for _, v := range row {
			top = max(top, math.Abs(float64(v)))
		}
		for _, typ := range encoded {
			for i, v := range decoded(row, typ) {
				e := math.Abs(float64(v-row[i])) / top
				sum[typ] += e * e
				if e > worst[typ]+least/top {
					t.Fatalf("%s: %v became %v where the largest is %v", typ, row[i], v, top)
				}
			}
		}
	}
	for i := range encoded[1:] {
		if a, b := encoded[i], encoded[i+1]; a != gguf.Q5_1 && sum[a] > sum[b] {
			t.Errorf("%s errs by %g and %s by %g", a, sum[a], b, sum[b])
		}
	}
}

func TestZerosAndConstants(t *testing.T) {
	for _, typ := range encoded {
		for _, c := range []float32{0, 1, -1, 0.25, -3, 1024} {
			row := make([]float32, cols)
			for i := range row {
				row[i] = c
			}
			for i, v := range decoded(row, typ) {
				if math.Abs(float64(v-c)) > 0.002*math.Abs(float64(c)) {
					t.Fatalf("%s: value %d of constants %v is %v", typ, i, c, v)
				}
			}
		}
	}
}

// What is rounded already is rounded to itself again, where the scale is told by the
// values.
func TestRoundingTwiceIsRoundingOnce(t *testing.T) {
	for i, row := range rows(t) {
		for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q5_0} {
			once := decoded(row, typ)
			for j, v := range decoded(once, typ) {
				if math.Abs(float64(v-once[j])) > 2e-3*math.Abs(float64(once[j]))+1e-7 {
					t.Errorf("%s, row %d: %v became %v", typ, i, once[j], v)
					break
				}
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	types := append([]gguf.Type{gguf.F32}, encoded...)
	for _, c := range []struct {
		name  string
		value float32
		want  string
		types []gguf.Type
	}{
		{"infinity", inf, "value 200 is +Inf", types},
		{"minus infinity", -inf, "value 200 is -Inf", types},
		{"not a number", nan, "value 200 is NaN", types},
		{"huge", 3e38, "values up to 3e+38 are too large", encoded},
		{"huge and negative", -1e30, "values up to 1e+30 are too large", encoded},
		{"large", -1e9, "values up to 1e+09 are too large", encoded},
		{"above a half", 70000, "values up to 70000 are too large for F16", []gguf.Type{gguf.F16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, typ := range c.types {
				row := make([]float32, cols)
				row[200] = c.value
				err := quantize.Encode(make([]byte, typ.RowSize(cols)), row, typ)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v", typ, err)
				}
			}
		})
	}
}

func TestEncodePanicsOnLengthsThatDoNotMatch(t *testing.T) {
	for _, c := range []struct {
		src, dst int
		typ      gguf.Type
	}{{31, 34, gguf.Q8_0}, {32, 33, gguf.Q8_0}, {32, 18, gguf.Q4_0}, {128, 72, gguf.Q4_K}, {1, 1, gguf.Type(1 << 31)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", c)
				}
			}()
			_ = quantize.Encode(make([]byte, c.dst), make([]float32, c.src), c.typ)
		}()
	}
}

// Whatever the values, they are refused or stay finite and in their range.
func FuzzEncode(f *testing.F) {
	for _, row := range rows(f) {
		b := make([]byte, 4*cols)
		if err := quantize.Encode(b, row, gguf.F32); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = append(data, make([]byte, 4*cols)...)[:4*cols]
		row := make([]float32, cols)
		gguf.Dequantize(row, data, gguf.F32)
		var top float64
		for _, v := range row {
			top = max(top, math.Abs(float64(v)))
		}
		for _, typ := range encoded {
			for i, v := range decoded(row, typ) {
				if e := math.Abs(float64(v) - float64(row[i])); !(e <= 1.5*worst[typ]*top+2*least) {
					t.Fatalf("%s: value %d, %v, became %v; the largest is %v", typ, i, row[i], v, top)
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	row := rows(b)[5]
	for _, typ := range encoded {
		b.Run(typ.String(), func(b *testing.B) {
			dst := make([]byte, typ.RowSize(cols))
			b.SetBytes(4 * cols)
			for b.Loop() {
				if err := quantize.Encode(dst, row, typ); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
