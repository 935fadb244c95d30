// Package sections is the file format of what an engine computes once and maps
// at every start: large arrays in the machine's own form, under a key that says
// what they were computed from.
//
//	magic, padded to 64 bytes
//	sections, each at a multiple of 64 bytes
//	index: JSON with format, key, and offset, size and checksum of each section
//	trailer: length and checksum of the index, magic
//
// The index stands behind the sections, so that a writer needs to know nothing
// ahead and a file that ends early has none. Checksums are CRC-32C
// (Castagnoli 1993): they are there for torn writes and failing disks, at the
// speed of memory. They prove nothing against someone who can write the file:
// who can do that can change the model beside it as well.
package sections

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Format is the version of the layout above.
const Format = 1

const (
	magic   = "cubby sections\n\x00"
	align   = 64 // bytes; a cache line
	trailer = 4 + 4 + len(magic)
	// maxIndex bounds the JSON that is parsed; a section takes about 60 bytes.
	maxIndex = 1 << 20
)

// ErrStale is in the chain of errors about a whole file that holds something
// else than was asked for: it is to be replaced.
var ErrStale = errors.New("computed from something else")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type index struct {
	Format   int             `json:"format"`
	Key      json.RawMessage `json:"key"`
	Sections []section       `json:"sections"`
}

type section struct {
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	CRC    uint32 `json:"crc32c"`
}

// Writer writes a file from its beginning.
type Writer struct {
	w     io.Writer
	off   int64
	index index
	err   error // the first; nothing is written behind it
}

// NewWriter begins a file. The key is written as JSON.
func NewWriter(w io.Writer, key any) *Writer {
	data, err := json.Marshal(key)
	f := &Writer{w: w, err: err, index: index{Format: Format, Key: data}}
	f.write([]byte(magic))
	f.pad()
	return f
}

// Section appends a section, given in parts.
func (f *Writer) Section(parts ...[]byte) error {
	s := section{Offset: f.off}
	for _, p := range parts {
		s.CRC = crc32.Update(s.CRC, castagnoli, p)
		f.write(p)
	}
	s.Size = f.off - s.Offset
	f.index.Sections = append(f.index.Sections, s)
	f.pad()
	return f.err
}

// Close ends the file; what it was written to stays open.
func (f *Writer) Close() error {
	data, err := json.Marshal(f.index)
	if err == nil && len(data) > maxIndex {
		err = fmt.Errorf("%d sections are too many", len(f.index.Sections))
	}
	if f.err == nil {
		f.err = err
	}
	f.write(data)
	f.write(tail(data))
	return f.err
}

// tail is the trailer behind an index.
func tail(index []byte) []byte {
	t := binary.LittleEndian.AppendUint32(nil, uint32(len(index)))
	t = binary.LittleEndian.AppendUint32(t, crc32.Checksum(index, castagnoli))
	return append(t, magic...)
}

func (f *Writer) write(p []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(p)
		f.off += int64(len(p))
	}
}

func (f *Writer) pad() { f.write(make([]byte, -f.off&(align-1))) }

// File is a parsed file: its sections are parts of the bytes given to Parse.
type File struct {
	data     []byte
	sections []section
}

// Parse reads the index and compares the key. It reads nothing of the sections:
// see Check.
func Parse(data []byte, key any) (*File, error) {
	ix, end, err := parseIndex(data)
	if err != nil {
		return nil, err
	}
	want, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	if ix.Format != Format || !bytes.Equal(ix.Key, want) {
		return nil, fmt.Errorf("%w: it is of format %d for %.500s, not %d for %s", ErrStale, ix.Format, ix.Key, Format, want)
	}
	at := int64(align)
	for i, s := range ix.Sections {
		if s.Offset != at || s.Size < 0 || s.Size > end-at {
			return nil, fmt.Errorf("section %d lies at %d with %d bytes, where %d to %d are free", i, s.Offset, s.Size, at, end)
		}
		at += s.Size + -s.Size&(align-1)
	}
	if at != end {
		return nil, fmt.Errorf("the sections end at %d, the index begins at %d", at, end)
	}
	return &File{data, ix.Sections}, nil
}

// parseIndex also returns where the index begins.
func parseIndex(data []byte) (ix index, begin int64, err error) {
	if len(data) < align+trailer || string(data[len(data)-len(magic):]) != magic || string(data[:len(magic)]) != magic {
		return ix, 0, errors.New("it is cut off or no file of sections")
	}
	t := data[len(data)-trailer:]
	size, sum := int64(binary.LittleEndian.Uint32(t)), binary.LittleEndian.Uint32(t[4:])
	end := int64(len(data) - trailer)
	if size > maxIndex || size > end-align {
		return ix, 0, fmt.Errorf("its index of %d bytes does not fit", size)
	}
	raw := data[end-size : end]
	if got := crc32.Checksum(raw, castagnoli); got != sum {
		return ix, 0, fmt.Errorf("its index has the checksum %08x, not %08x", got, sum)
	}
	if err := json.Unmarshal(raw, &ix); err != nil {
		return ix, 0, fmt.Errorf("its index: %w", err)
	}
	return ix, end - size, nil
}

// Len is the number of sections.
func (f *File) Len() int { return len(f.sections) }

// Section returns the bytes of a section, unchecked. They begin at a multiple
// of 64 where the file does.
func (f *File) Section(i int) []byte {
	s := f.sections[i]
	return f.data[s.Offset : s.Offset+s.Size : s.Offset+s.Size]
}

// Check compares section i with its checksum. Several may be checked at once.
func (f *File) Check(i int) error {
	if got, want := crc32.Checksum(f.Section(i), castagnoli), f.sections[i].CRC; got != want {
		return fmt.Errorf("it has the checksum %08x, not %08x", got, want)
	}
	return nil
}
