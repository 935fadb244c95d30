// Package archivetest makes archives for tests: good ones, and a corpus of those that
// an import must refuse.
package archivetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// Item is one entry of a tar.
type Item struct {
	Name string
	Kind byte // 0 for a regular file
	Link string
	Body string
	PAX  map[string]string
}

// File is a regular file.
func File(name, body string) Item { return Item{Name: name, Body: body} }

// Tar writes the items, whatever they are.
func Tar(t testing.TB, items ...Item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		h := &tar.Header{Name: it.Name, Typeflag: it.Kind, Linkname: it.Link, Size: int64(len(it.Body)), Mode: 0o644, PAXRecords: it.PAX}
		if it.Kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if it.Kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: it.Kind, PAXRecords: it.PAX}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%.80q: %v", it.Name, err)
		}
		if _, err := io.WriteString(w, it.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Retype changes the type of the entry whose header starts the tar.
func Retype(data []byte, kind byte) []byte {
	data = slices.Clone(data)
	data[156] = kind
	if kind == tar.TypeGNUSparse { // one piece of 7 bytes, in the dialect that has such files
		copy(data[257:265], "ustar  \x00")
		copy(data[386:], "00000000000\x0000000000007\x00")
		copy(data[483:], "00000000007\x00")
	}
	copy(data[148:156], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

// Gzip packs data.
func Gzip(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// paxSparse is a sparse file in the newer form, which needs a header that
// archive/tar's writer refuses to make.
func paxSparse(t testing.TB) []byte {
	data := Tar(t, Item{Name: "s", Body: "1\n0\n1\n" + strings.Repeat("\x00", 512), PAX: map[string]string{
		"CUB.sparse.major": "1", "CUB.sparse.minor": "0", "CUB.sparse.name": "s", "CUB.sparse.realsize": "4096",
	}})
	return bytes.ReplaceAll(data, []byte("CUB.sparse"), []byte("GNU.sparse"))
}

// hugeSize is a header that promises a file of size bytes.
func hugeSize(t testing.TB, size int64) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), make([]byte, 1024)...)
}

// manyHeaders is one entry behind n extension headers.
func manyHeaders(t testing.TB, n int) []byte {
	one := Tar(t, Item{Name: "x", PAX: map[string]string{"CUB.x": strings.Repeat("x", 400)}})
	return append(bytes.Repeat(one[:1024], n), one[1024:]...)
}

// spoil flips a bit; a negative place counts from the end.
func spoil(data []byte, i int) []byte {
	data = slices.Clone(data)
	data[(i+len(data))%len(data)] ^= 1
	return data
}
