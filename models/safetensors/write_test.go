package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"cubby/models/safetensors"
)

// content is a tensor of so many bytes 7.
func content(name, dtype string, size int, shape ...int) safetensors.Content {
	return safetensors.Content{Name: name, DType: dtype, Shape: shape, Write: func(w io.Writer) error {
		_, err := w.Write(bytes.Repeat([]byte{7}, size))
		return err
	}}
}

func TestWrite(t *testing.T) {
	list := []safetensors.Content{
		content("b \"quoted\"", "F16", 12, 2, 3), content("a", "F32", 16, 4), content("none", "F32", 0, 0, 5), content("single", "BF16", 2),
	}
	var out bytes.Buffer
	if err := safetensors.Write(&out, list); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	check(t, out.Bytes(), f)
	for _, c := range list {
		x, ok := f.Tensor(c.Name)
		if !ok || x.DType != c.DType || len(x.Shape) != len(c.Shape) || bytes.ContainsFunc(x.Data, func(r rune) bool { return r != 7 }) {
			t.Errorf("%q came back as %+v", c.Name, x)
		}
	}
	if n := binary.LittleEndian.Uint64(out.Bytes()); n%8 != 0 {
		t.Errorf("a header of %d bytes: the tensors are not aligned", n)
	}
	var none bytes.Buffer
	if err := safetensors.Write(&none, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := safetensors.Parse(none.Bytes()); err != nil || len(f.Tensors()) != 0 {
		t.Errorf("no tensors came back as %v, %v", f, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	failure := errors.New("no")
	for want, list := range map[string][]safetensors.Content{
		"it stands twice":             {content("a", "F16", 2, 1), content("a", "F16", 2, 1)},
		"a name that is reserved":     {content("__metadata__", "F16", 2, 1)},
		`type "I8" is not supported`:  {content("a", "I8", 1, 1)},
		"negative length":             {content("a", "F16", 2, -1)},
		"more than 8 dimensions":      {content("a", "F16", 2, 1, 1, 1, 1, 1, 1, 1, 1, 1)},
		"too large":                   {content("a", "F16", 2, 1<<31-1, 1<<31-1, 1<<31-1)},
		`"a" ends at offset 4, not 2`: {content("a", "F16", 4, 1)},
		`"a" ends at offset 0, not 2`: {content("a", "F16", 0, 1)},
		`tensor "a": no`:              {{Name: "a", DType: "F16", Shape: []int{1}, Write: func(io.Writer) error { return failure }}},
	} {
		err := safetensors.Write(io.Discard, list)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that holds %q", err, want)
		}
	}
}

// checkScan wants a scan to see what a parse does.
func checkScan(t *testing.T, data []byte) {
	t.Helper()
	f, parseErr := safetensors.Parse(data)
	list, scanErr := safetensors.Scan(bytes.NewReader(data), int64(len(data)))
	if (parseErr == nil) != (scanErr == nil) || parseErr != nil && parseErr.Error() != scanErr.Error() {
		t.Fatalf("parse says %v and scan %v", parseErr, scanErr)
	}
	if parseErr != nil {
		return
	}
	for i, x := range f.Tensors() {
		h := list[i]
		if h.Name != x.Name || h.DType != x.DType || !reflect.DeepEqual(h.Shape, x.Shape) || !bytes.Equal(data[h.Offset:h.Offset+h.Size], x.Data) {
			t.Fatalf("parsed %+v, scanned %+v", x, h)
		}
	}
}

func TestScan(t *testing.T) {
	for _, data := range [][]byte{file(two, 28), file(two, 27), file(two, 29), file("{}", 0), nil, []byte("version https://git-lfs.github.com/spec/v1\n")} {
		checkScan(t, data)
	}
	_, err := safetensors.Scan(strings.NewReader("short"), 100)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is shorter than it was: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(file(two, 28))
	f.Add(file(`{}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) { checkScan(t, data) })
}
