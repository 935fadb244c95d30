package sections

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type testKey struct {
	Name string `json:"name"`
}

func encode(t interface{ Fatal(...any) }, key any, list ...[]byte) []byte {
	var b bytes.Buffer
	w := NewWriter(&b, key)
	for _, s := range list {
		if err := w.Section(s[:len(s)/3], s[len(s)/3:]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 6).Draw(t, "sections")
		key := testKey{rapid.String().Draw(t, "key")}
		f, err := Parse(encode(t, key, list...), key)
		if err != nil || f.Len() != len(list) {
			t.Fatalf("%v, want %d sections", err, len(list))
		}
		for i, s := range list {
			if err := f.Check(i); err != nil || !bytes.Equal(f.Section(i), s) {
				t.Fatalf("section %d: %v", i, err)
			}
			if at := f.sections[i].Offset; at%align != 0 {
				t.Fatalf("section %d lies at %d", i, at)
			}
		}
		if _, err := Parse(encode(t, key, list...), testKey{key.Name + "x"}); !errors.Is(err, ErrStale) {
			t.Fatalf("another key: %v", err)
		}
	})
}

// Whatever single byte changes, or wherever a file ends, it is not taken for
// whole; padding alone may hold anything.
func TestEveryByteIsGuarded(t *testing.T) {
	key := testKey{"a"}
	data := encode(t, key, []byte("the first section"), nil, bytes.Repeat([]byte("second "), 30))
	whole := func(data []byte) error {
		f, err := Parse(data, key)
		if err != nil {
			return err
		}
		if f.Len() != 3 {
			return errors.New("sections are missing")
		}
		return errors.Join(f.Check(0), f.Check(1), f.Check(2))
	}
	if err := whole(data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, bit := range []byte{1, 0x80} {
			data[i] ^= bit
			if padding := i >= len(magic) && i < align || i >= align+17 && i < 2*align || i >= 2*align+210 && i < 6*align; !padding && whole(data) == nil {
				t.Errorf("byte %d changed, and nobody noticed", i)
			}
			data[i] ^= bit
		}
		if whole(data[:i]) == nil {
			t.Errorf("the first %d bytes are taken for a whole file", i)
		}
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(d.left, len(p))
	if d.left -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriterReportsTheDisk(t *testing.T) {
	size := len(encode(t, testKey{}, make([]byte, 100)))
	for room := range size {
		w := NewWriter(&fullDisk{room}, testKey{})
		_ = w.Section(make([]byte, 100))
		if err := w.Close(); !errors.Is(err, errFull) {
			t.Fatalf("%d of %d bytes: %v", room, size, err)
		}
	}
}

// FuzzParse: an index that lies is an error; what is accepted lies inside the
// file, in order and apart.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, testKey{"a"}, []byte("abc"), make([]byte, 200)), true)
	f.Add([]byte(`{"format":1,"key":{"name":"a"},"sections":[{"offset":64,"size":9223372036854775807,"crc32c":0}]}`), false)
	f.Add([]byte(`{"format":1,"key":{"name":"a"},"sections":[{"offset":64,"size":64},{"offset":64,"size":64}]}`), false)
	f.Add([]byte(`{"format":1,"key":{"name":"a"},"sections":[{"offset":-64,"size":-1}]}`), false)
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		if !whole { // data is an index whose own checksum is right
			data = withIndex(data)
		}
		file, err := Parse(data, testKey{"a"})
		if err != nil {
			return
		}
		at := int64(align)
		for i := range file.Len() {
			s := file.Section(i)
			if file.sections[i].Offset < at || cap(s) != len(s) {
				t.Fatalf("section %d: %+v", i, file.sections[i])
			}
			at = file.sections[i].Offset + int64(len(s))
			_ = file.Check(i)
		}
	})
}

// withIndex makes a file of 256 bytes of sections around an index.
func withIndex(index []byte) []byte {
	var b bytes.Buffer
	w := NewWriter(&b, testKey{})
	w.write(make([]byte, 256))
	w.write(index)
	w.write(tail(index))
	return b.Bytes()
}

func TestParseRefuses(t *testing.T) {
	index := func(sections string) []byte {
		return withIndex([]byte(`{"format":1,"key":{"name":"a"},"sections":[` + sections + `]}`))
	}
	if _, err := Parse(index(`{"offset":64,"size":250}`), testKey{"a"}); err != nil {
		t.Errorf("an honest index: %v", err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "cut off"},
		{"something else", bytes.Repeat([]byte("GGUF"), 100), "cut off"},
		{"no JSON", withIndex([]byte("{")), "its index: "},
		{"beyond the index", index(`{"offset":64,"size":257}`), "section 0 lies at 64 with 257 bytes"},
		{"before the sections", index(`{"offset":0,"size":256}`), "section 0 lies at 0"},
		{"negative", index(`{"offset":64,"size":-64}`), "section 0"},
		{"overflow", index(`{"offset":64,"size":9223372036854775807}`), "section 0"},
		{"overlap", index(`{"offset":64,"size":128},{"offset":128,"size":192}`), "section 1 lies at 128"},
		{"bytes of nobody", index(`{"offset":64,"size":128}`), "the sections end at 192, the index begins at 320"},
		{"another format", withIndex([]byte(`{"format":2,"key":{"name":"a"}}`)), "computed from something else"},
	} {
		if _, err := Parse(c.data, testKey{"a"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
