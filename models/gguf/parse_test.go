package gguf_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

func TestParseReadsMetadataOfEveryType(t *testing.T) {
	f := types(t)
	for key, want := range map[string]uint64{"test.u8": 200, "test.u16": 60000, "test.u32": 4000000000, "test.u64": math.MaxUint64} {
		if got, ok := f.Uint(key); !ok || got != want {
			t.Errorf("%s: %d, %v; want %d", key, got, ok, want)
		}
	}
	for _, key := range []string{"test.i8", "test.i16", "test.i32", "test.i64", "test.f32", "test.string", "test.bool", "type.names", "absent"} {
		if got, ok := f.Uint(key); ok {
			t.Errorf("%s is the unsigned integer %d", key, got)
		}
	}
	if got, ok := f.Float("test.f32"); !ok || got != float64(float32(0.1)) {
		t.Errorf("f32: %v, %v", got, ok)
	}
	if got, ok := f.Float("test.f64"); !ok || got != 0.1 {
		t.Errorf("f64: %v, %v", got, ok)
	}
	if got, ok := f.Bool("test.bool"); !ok || !got {
		t.Errorf("bool: %v, %v", got, ok)
	}
	if got, ok := f.String("test.string"); !ok || got != "Grüße" {
		t.Errorf("string: %q, %v", got, ok)
	}
	if got, ok := f.Floats("test.floats"); !ok || !slices.Equal(got, []float64{0.5, -0.25}) {
		t.Errorf("floats: %v, %v", got, ok)
	}
	if _, ok := f.Strings("test.string"); ok {
		t.Error("a string is an array of strings")
	}
	if keys := f.Keys(); keys[0] != "general.architecture" || !slices.Contains(keys, "test.i64") {
		t.Errorf("keys: %q", keys)
	}
}

func TestParseReadsArrays(t *testing.T) {
	data := gguftest.Encode(pairs(
		"i8", []int8{-1, 2}, "u16", []uint16{65535}, "i64", []int64{math.MinInt64}, "u64", []uint64{math.MaxUint64},
		"none", []int32{}, "strings", []string{"", "a", "\xff"}, "f64", []float64{0.1}, "bools", []bool{true, false}), nil)
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	check(t, data, f)
	for key, want := range map[string][]int64{"i8": {-1, 2}, "u16": {65535}, "i64": {math.MinInt64}, "none": {}} {
		if got, ok := f.Ints(key); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", key, got, ok)
		}
	}
	for _, key := range []string{"u64", "strings", "f64", "bools"} {
		if got, ok := f.Ints(key); ok {
			t.Errorf("%s holds the integers %v", key, got)
		}
	}
	clear(data) // strings must not live in the file's bytes
	if got, ok := f.Strings("strings"); !ok || !slices.Equal(got, []string{"", "a", "\xff"}) {
		t.Errorf("strings: %q, %v", got, ok)
	}
}

func TestParseReadsVersion2AndAlignment(t *testing.T) {
	b := header(2, 2, 1).text("general.alignment").u32(4).u32(64)
	b = b.tensor("a", gguf.F32, 64, 3).tensor("b", gguf.F16, 0, 2, 2).align(64)
	b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	b = append(b.align(64), "abcdefghijkl"...)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	check(t, b, f)
	if x, ok := f.Tensor("a"); !ok || string(x.Data) != "abcdefghijkl" {
		t.Errorf("a: %q, %v", x.Data, ok)
	}
	if x, ok := f.Tensor("b"); !ok || !bytes.Equal(x.Data, []byte{1, 2, 3, 4, 5, 6, 7, 8}) || !slices.Equal(x.Shape, []uint64{2, 2}) {
		t.Errorf("b: %v, %v", x, ok)
	}
	if _, ok := f.Tensor("c"); ok {
		t.Error("a tensor that is not there is found")
	}
}

func TestParseRefuses(t *testing.T) {
	one := func(typ gguf.Type, offset uint64, shape ...uint64) []byte {
		return header(3, 1, 0).tensor("x", typ, offset, shape...).align(32).zeros(64)
	}
	two := func(name string, offset uint64) []byte {
		return header(3, 2, 0).tensor("x", gguf.F32, 0, 16).tensor(name, gguf.F32, offset, 8).align(32).zeros(128)
	}
	pair := func(key string) raw { return header(3, 0, 1).text(key) }
	const huge = 1 << 60
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "truncated: has 0 bytes"},
		{"magic cut", []byte("GG"), "truncated: has 2 bytes"},
		{"header cut", header(3, 0, 0)[:20], "truncated: has 20 bytes"},
		{"other magic", header(3, 0, 0)[1:], "not a GGUF file"},
		{"pointer", []byte("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"},
		{"version 1", header(1, 0, 0), "version 1 is not supported"},
		{"version 4", header(4, 0, 0), "version 4 is not supported"},
		{"big endian", header(3<<24, 0, 0), "big-endian"},

		{"tensor count", header(3, huge, 0).zeros(64), "tensor count is 1152921504606846976, more than 65536"},
		{"tensor count past the end", header(3, 100, 0).zeros(64), "tensor count (100) at byte 16 runs past the end"},
		{"metadata count", header(3, 0, huge).zeros(64), "metadata count is"},
		{"key length", header(3, 0, 1).u64(huge).zeros(64), "key has 1152921504606846976 bytes, more than 65535"},
		{"key past the end", header(3, 0, 1).u64(100).zeros(64), "key (100) at byte 32 runs past the end"},
		{"empty key", pair("").u32(0).zeros(8), `key "" is empty`},
		{"key twice", header(3, 0, 2).text("k").u32(0).zeros(1).text("k").u32(0).zeros(1), `key "k" is empty or stands twice`},
		{"value type", pair("k").u32(13).zeros(8), `metadata key "k": byte 33: value type 13 is unknown`},
		{"boolean", append(pair("k").u32(7), 2), "boolean is 2"},
		{"array of arrays", pair("k").u32(9).u32(9).u64(1).zeros(16), "array inside an array"},
		{"array length", pair("k").u32(9).u32(4).u64(huge).zeros(16), "array length is"},
		{"array past the end", pair("k").u32(9).u32(4).u64(5).zeros(16), "array length (5) at byte 49 runs past the end"},
		{"strings past the end", pair("k").u32(9).u32(8).u64(3).zeros(16), "array length (3)"},
		{"string in an array", pair("k").u32(9).u32(8).u64(2).u64(math.MaxUint64).zeros(16), "string (18446744073709551615) at byte 57 runs past the end"},
		{"string", pair("k").u32(8).u64(huge).zeros(16), "string has 1152921504606846976 bytes"},
		{"alignment not a power", pair("general.alignment").u32(4).u32(48), "power of two"},
		{"alignment zero", pair("general.alignment").u32(4).u32(0), "power of two"},
		{"alignment huge", pair("general.alignment").u32(4).u32(1 << 31), "power of two"},
		{"alignment no integer", pair("general.alignment").u32(6).u32(32), "power of two"},

		{"tensor cut", header(3, 1, 0).text("xyz").dims(1).zeros(11), `tensor 0 "xyz": the file is truncated`},
		{"tensor name long", header(3, 1, 0).tensor(strings.Repeat("x", 65), gguf.F32, 0, 8).zeros(64), "more than 64"},
		{"tensor name empty", header(3, 1, 0).tensor("", gguf.F32, 0, 8).zeros(64), "is empty"},
		{"tensor twice", two("x", 64), `tensor name "x" is empty or stands twice`},
		{"no dimensions", one(gguf.F32, 0), "0 dimensions"},
		{"five dimensions", one(gguf.F32, 0, 1, 1, 1, 1, 1), "5 dimensions"},
		{"many dimensions", header(3, 1, 0).text("x").u32(math.MaxUint32).zeros(64), "4294967295 dimensions"},
		{"dimension zero", one(gguf.F32, 0, 8, 0), "dimension 1 is 0"},
		{"unknown type", one(gguf.Type(99), 0, 8), `tensor "x": type 99 is unknown`},
		{"removed type", one(gguf.Type(4), 0, 32), "type 4 is unknown"},
		{"cut block", one(gguf.Q8_0, 0, 33), "rows of 33 values are not whole blocks of Q8_0, 32 values each"},
		{"product overflows", one(gguf.F32, 0, 1<<32, 1<<31), "no size that fits 64 bits"},
		{"product wraps to little", one(gguf.F32, 0, 1<<62, 1<<62, 4, 1), "no size that fits 64 bits"},
		{"offset unaligned", one(gguf.F32, 4, 8), "offset 4 is not a multiple of the alignment 32"},
		{"offset past the end", one(gguf.F32, 64, 8), `truncated: has 128 bytes, and tensor "x" ends at 160`},
		{"offset wraps", one(gguf.F32, math.MaxUint64-31, 16), "out of range"},
		{"size past the end", one(gguf.F32, 0, 17), `tensor "x" ends at 132`},
		{"no room for data", header(3, 1, 0).tensor("x", gguf.F32, 0, 8), `truncated`},
		{"overlap", two("y", 32), `tensors "x" and "y" overlap at offset 32`},
		{"same place", two("y", 0), "overlap at offset 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := gguf.Parse(c.data)
			if err == nil {
				t.Fatalf("parsed with tensors %v", f.Tensors())
			}
			if !strings.HasPrefix(err.Error(), "gguf: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q lacks %q", err, c.want)
			}
			if strings.Contains(err.Error(), "truncated") != errors.Is(err, gguf.ErrTruncated) {
				t.Errorf("error %q is ErrTruncated: %v", err, errors.Is(err, gguf.ErrTruncated))
			}
		})
	}
}

// Every proper prefix of a file is refused as truncated: the last tensor ends where the file does.
func TestParseRefusesEveryTruncation(t *testing.T) {
	data := gguftest.Encode(pairs("a", "text", "b", []string{"x", "y"}, "c", []int32{1, 2}), []gguftest.Tensor{
		{Name: "x", Type: gguf.F32, Shape: []uint64{8, 2}, Data: make([]byte, 64)},
		{Name: "y", Type: gguf.Q8_0, Shape: []uint64{32}, Data: make([]byte, 34)},
	})
	data = data[:len(data)-30] // the padding behind the last tensor
	if f, err := gguf.Parse(data); err != nil {
		t.Fatal(err)
	} else {
		check(t, data, f)
	}
	for n := range len(data) {
		if _, err := gguf.Parse(data[:n]); !errors.Is(err, gguf.ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
}

// A header's claims cost no memory: only bytes that are there do.
func TestParseAllocatesForBytesNotForClaims(t *testing.T) {
	const huge = 1 << 60
	pair := header(3, 0, 1).text("k")
	for name, data := range map[string]raw{
		"tensors":         header(3, huge, 0).zeros(1024),
		"tensors capped":  header(3, 1<<16, 0).zeros(1024),
		"pairs":           header(3, 0, huge).zeros(1024),
		"key":             header(3, 0, 1).u64(huge).zeros(1024),
		"string":          pair.u32(8).u64(huge).zeros(1024),
		"array":           pair.u32(9).u32(10).u64(huge).zeros(1024),
		"array wraps":     pair.u32(9).u32(10).u64(1 << 61).zeros(1024),
		"strings":         pair.u32(9).u32(8).u64(huge).zeros(1024),
		"string of array": pair.u32(9).u32(8).u64(100).u64(huge).zeros(1024),
		"dimensions":      header(3, 1, 0).text("x").u32(1 << 31).zeros(1024),
		"dimension":       header(3, 1, 0).tensor("x", gguf.F32, 0, huge).zeros(1024),
		"offset":          header(3, 1, 0).tensor("x", gguf.F32, huge, 8).zeros(1024),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := gguf.Parse(data)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("parsed")
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes allocated for a file of %d", n, len(data))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	real, err := os.ReadFile("testdata/types.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real[:4096])
	f.Add([]byte(nil))
	f.Add(gguftest.Encode(nil, nil))
	f.Add(gguftest.Encode(pairs("general.alignment", uint32(32), "u8", uint8(1), "i64", int64(-1), "f32", float32(1), "f64", 2.0,
		"bool", true, "strings", []string{"a", ""}, "ints", []int16{1, -1}, "bools", []bool{true}, "empty", []float64{}),
		[]gguftest.Tensor{
			{Name: "a", Type: gguf.Q4_K, Shape: []uint64{256, 2}, Data: make([]byte, 288)},
			{Name: "b", Type: gguf.F16, Shape: []uint64{1, 2, 3, 4}, Data: make([]byte, 48)},
			{Name: "c", Type: gguf.Type(10), Shape: []uint64{256}, Data: make([]byte, 84)},
		}))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gguf.Parse(data)
		if err != nil {
			return
		}
		check(t, data, file)
		for _, x := range file.Tensors() {
			if x.Type.Known() {
				cols := int(x.Shape[0])
				gguf.Dequantize(make([]float32, cols), x.Data[:x.Type.RowSize(cols)], x.Type)
			}
		}
	})
}
