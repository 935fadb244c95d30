package safetensors_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"cubby/models/safetensors"
)

// file makes a file of a header and the bytes behind it.
func file(header string, body int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, body)...)
}

// check demands what must hold of every parsed file.
func check(t *testing.T, data []byte, f *safetensors.File) {
	t.Helper()
	next := 8 + int(binary.LittleEndian.Uint64(data))
	for _, x := range f.Tensors() {
		size := map[string]int{"F32": 4, "F16": 2, "BF16": 2}[x.DType]
		for _, n := range x.Shape {
			size *= n
		}
		if len(x.Data) != size || cap(x.Data) != size {
			t.Fatalf("tensor %q has %d bytes of %d, want %d", x.Name, len(x.Data), cap(x.Data), size)
		}
		if start := int(uintptr(unsafe.Pointer(unsafe.SliceData(x.Data))) - uintptr(unsafe.Pointer(&data[0]))); size > 0 && start != next {
			t.Fatalf("tensor %q begins at byte %d, not %d", x.Name, start, next)
		}
		if y, ok := f.Tensor(x.Name); !ok || y.DType != x.DType || len(y.Data) != len(x.Data) {
			t.Fatalf("tensor %q is not found under its name", x.Name)
		}
		next += size
	}
	if next != len(data) {
		t.Fatalf("tensors end at byte %d of %d", next, len(data))
	}
}

const two = `{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[16,28]},` +
	`"a":{"shape":[4],"data_offsets":[0,16],"dtype":"F32"}}   `

func TestParse(t *testing.T) {
	data := file(two, 28)
	for i := range data[len(data)-28:] {
		data[len(data)-28+i] = byte(i)
	}
	f, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	check(t, data, f)
	list := f.Tensors()
	if len(list) != 2 || list[0].Name != "a" || list[1].Name != "b" {
		t.Fatalf("tensors %v, want a and b in the order of their bytes", list)
	}
	if b := list[1]; b.DType != "F16" || !slices.Equal(b.Shape, []int{2, 3}) || b.Data[0] != 16 || len(b.Data) != 12 {
		t.Errorf("b is %+v", b)
	}
	if _, ok := f.Tensor("__metadata__"); ok {
		t.Error("the metadata is a tensor")
	}
}

func TestParseReadsEdges(t *testing.T) {
	for name, data := range map[string][]byte{
		"no tensor":    file(`{}`, 0),
		"single value": file(`{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, 2),
		"empty tensor": file(`{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}`, 4),
	} {
		f, err := safetensors.Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		check(t, data, f)
	}
}

func TestParseRefuses(t *testing.T) {
	tensor := func(fields string) []byte { return file(`{"a":{`+fields+`}}`, 16) }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "truncated: has 0 bytes"},
		{"length cut", make([]byte, 7), "truncated: has 7 bytes"},
		{"pointer", []byte("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"},
		{"header cut", file(two, 28)[:50], "truncated: has 50 bytes, and the header ends at"},
		{"header length", binary.LittleEndian.AppendUint64(nil, 1<<60), "header would take 1152921504606846976 bytes"},
		{"empty header", file("", 0), "no JSON object"},
		{"array", file("[]", 0), "no JSON object"},
		{"broken UTF-8", file("{\"\xff\":1}", 0), "no JSON object in UTF-8"},
		{"JSON cut", file(`{"a":{"dtype":"F32"`, 0), "unexpected EOF"},
		{"JSON twice", file(`{}{}`, 0), "something follows"},
		{"JSON rubbish behind", file(`{}]`, 0), "something follows"},
		{"tensor twice", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `key "a" stands twice`},
		{"key twice", tensor(`"dtype":"F16","dtype":"F32","shape":[4],"data_offsets":[0,16]`), `key "dtype" stands twice`},
		{"unknown key", tensor(`"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1`), `key "x": unknown key`},
		{"key in capitals", tensor(`"DTYPE":"F32","shape":[4],"data_offsets":[0,16]`), `unknown key`},
		{"key missing", tensor(`"dtype":"F32","data_offsets":[0,16]`), "lacks one of"},
		{"metadata number", file(`{"__metadata__":{"a":1}}`, 0), "instead of a string"},
		{"tensor no object", file(`{"a":7}`, 0), "instead of {"},
		{"type null", tensor(`"dtype":null,"shape":[4],"data_offsets":[0,16]`), "instead of a string"},
		{"shape null", tensor(`"dtype":"F32","shape":null,"data_offsets":[0,16]`), "instead of ["},
		{"length null", tensor(`"dtype":"F32","shape":[null],"data_offsets":[0,16]`), "instead of an integer"},
		{"length negative", tensor(`"dtype":"F32","shape":[-4],"data_offsets":[0,16]`), "instead of an integer"},
		{"length fractional", tensor(`"dtype":"F32","shape":[4.0],"data_offsets":[0,16]`), "instead of an integer"},
		{"length quoted", tensor(`"dtype":"F32","shape":["4"],"data_offsets":[0,16]`), "instead of an integer"},
		{"nine dimensions", tensor(`"dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]`), "more than 8 numbers"},
		{"three offsets", tensor(`"dtype":"F32","shape":[4],"data_offsets":[0,16,16]`), "more than 2 numbers"},
		{"one offset", tensor(`"dtype":"F32","shape":[4],"data_offsets":[16]`), "want two offsets"},
		{"other type", tensor(`"dtype":"I8","shape":[16],"data_offsets":[0,16]`), `tensor "a": type "I8" is not supported`},
		{"shape too small", tensor(`"dtype":"F32","shape":[3],"data_offsets":[0,16]`), "do not span the 12 bytes of F32 [3]"},
		{"shape overflows", tensor(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]`), "too large"},
		{"shape wraps to fit", tensor(`"dtype":"F32","shape":[2147483647,2147483647,2147483647,4],"data_offsets":[0,16]`), "too large"},
		{"offsets reversed", tensor(`"dtype":"F32","shape":[0],"data_offsets":[16,0]`), "do not span"},
		{"past the end", tensor(`"dtype":"F32","shape":[5],"data_offsets":[0,20]`), `truncated: 16 bytes follow the header, and the tensor ends at 20`},
		{"hole in front", tensor(`"dtype":"F32","shape":[3],"data_offsets":[4,16]`), "begins at offset 4, not where the tensor before it ended, 0"},
		{"bytes left over", tensor(`"dtype":"F32","shape":[3],"data_offsets":[0,12]`), "4 bytes behind the last tensor"},
		{"overlap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), `tensor "b": begins at offset 4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := safetensors.Parse(c.data)
			if err == nil {
				t.Fatalf("parsed with tensors %v", f.Tensors())
			}
			if !strings.HasPrefix(err.Error(), "safetensors: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q lacks %q", err, c.want)
			}
			if strings.Contains(err.Error(), "truncated") != errors.Is(err, safetensors.ErrTruncated) {
				t.Errorf("error %q is ErrTruncated: %v", err, errors.Is(err, safetensors.ErrTruncated))
			}
		})
	}
}

func TestParseRefusesEveryTruncation(t *testing.T) {
	data := file(two, 28)
	for n := range len(data) {
		if _, err := safetensors.Parse(data[:n]); !errors.Is(err, safetensors.ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
}

// Deep nesting and long lists are refused where they begin.
func TestParseAllocatesLittleForRubbish(t *testing.T) {
	const n = 4 << 20
	for name, header := range map[string]string{
		"deep":    `{"a":{"shape":` + strings.Repeat("[", n),
		"long":    `{"a":{"shape":[` + strings.Repeat("1,", n),
		"objects": strings.Repeat(`{"a":`, n),
	} {
		data := file(header, 0)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := safetensors.Parse(data)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: parsed", name)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(two, 28))
	f.Add(file(`{}`, 0))
	f.Add(file(`{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, 2))
	f.Add(file(`{"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if parsed, err := safetensors.Parse(data); err == nil {
			check(t, data, parsed)
		}
	})
}
