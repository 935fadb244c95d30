package libraries

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of a library's headers: far above what linkers write.
const (
	maxHeaders     = 4096    // program, section and segment headers
	maxLoadCommand = 1 << 20 // bytes of a Mach-O file's load commands
	peOffset       = 0x3c    // where a PE file says where its header is
)

// A Platform is what a library runs on, in Go's names.
type Platform struct{ OS, Arch string }

// String is "linux/amd64".
func (p Platform) String() string { return p.OS + "/" + p.Arch }

// Inspect reads the headers of a library of size bytes. It returns the platforms
// that it is for, more than one where a Mach-O file has several parts, and fails
// where it is no library, or not all of one: a file cut short opens well, and is
// found out in the middle of a load.
func Inspect(r io.ReaderAt, size int64) ([]Platform, error) {
	b := headers{r, size}
	head := make([]byte, min(size, 64))
	if err := b.read(head, 0); err != nil {
		return nil, err
	}
	switch {
	case size == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return one(b.elf(head))
	case bytes.HasPrefix(head, []byte("\xcf\xfa\xed\xfe")):
		return one(b.machO())
	case bytes.HasPrefix(head, []byte("\xca\xfe\xba\xbe")):
		return b.fat()
	case bytes.HasPrefix(head, []byte("MZ")):
		return one(b.pe())
	case bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(head)), []byte("<!doctype html")), bytes.HasPrefix(bytes.ToLower(bytes.TrimSpace(head)), []byte("<html")):
		return nil, errors.New("it is a web page, not a library")
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return nil, errors.New("it is a pointer of Git LFS, not a library")
	}
	return nil, errors.New("it is not a library: neither ELF, Mach-O nor PE")
}

func one(p Platform, err error) ([]Platform, error) {
	if err != nil {
		return nil, err
	}
	return []Platform{p}, nil
}

// headers reads parts of a file, all within its size.
type headers struct {
	r    io.ReaderAt
	size int64
}

// section returns the part of the file that begins at offset.
func (b headers) section(offset, size int64) headers {
	return headers{io.NewSectionReader(b.r, offset, size), size}
}

func (b headers) read(p []byte, offset int64) error {
	if err := b.covers(uint64(offset), uint64(len(p))); err != nil {
		return err
	}
	_, err := b.r.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// covers says whether the file reaches to the end of a part that its headers speak of.
func (b headers) covers(offset, n uint64) error {
	if end := offset + n; end < offset || end > uint64(b.size) {
		return fmt.Errorf("it is cut short: it has %d bytes, and its headers speak of %d", b.size, end)
	}
	return nil
}

// table reads n headers of size bytes each.
func (b headers) table(offset uint64, n, size int) ([][]byte, error) {
	if n > maxHeaders {
		return nil, fmt.Errorf("it is damaged: it speaks of %d headers", n)
	}
	if err := b.covers(offset, uint64(n)*uint64(size)); err != nil {
		return nil, err
	}
	all := make([]byte, n*size)
	if err := b.read(all, int64(offset)); err != nil {
		return nil, err
	}
	return slices.Collect(slices.Chunk(all, max(size, 1))), nil
}

// ELF: offsets of fields in 64-bit headers, and the values looked at.
const (
	elfHeader, elfProgram, elfSection = 64, 56, 64
	elfShared                         = 3 // ET_DYN
	elfNoBits                         = 8 // SHT_NOBITS: takes no room in the file
)

var elfMachines = map[uint16]string{62: "amd64", 183: "arm64", 40: "arm", 3: "386", 243: "riscv64", 22: "s390x", 21: "ppc64le", 258: "loong64"}

func (b headers) elf(head []byte) (p Platform, err error) {
	le := binary.LittleEndian
	if len(head) < elfHeader {
		return p, fmt.Errorf("it is cut short: it has %d bytes", b.size)
	}
	arch := elfMachines[le.Uint16(head[18:])]
	if arch == "" || head[4] != 2 || head[5] != 1 { // 64 bits, little-endian
		return p, fmt.Errorf("it is for another kind of processor (ELF class %d, machine %d)", head[4], le.Uint16(head[18:]))
	}
	if kind := le.Uint16(head[16:]); kind != elfShared {
		return p, fmt.Errorf("it is not a shared library (ELF type %d)", kind)
	}
	segments, err := b.table(le.Uint64(head[32:]), int(le.Uint16(head[56:])), elfProgram)
	if err != nil {
		return p, err
	}
	for _, h := range segments {
		if err := b.covers(le.Uint64(h[8:]), le.Uint64(h[32:])); err != nil {
			return p, err
		}
	}
	sections, err := b.table(le.Uint64(head[40:]), int(le.Uint16(head[60:])), elfSection)
	if err != nil {
		return p, err
	}
	for _, h := range sections {
		if le.Uint32(h[4:]) == elfNoBits {
			continue
		}
		if err := b.covers(le.Uint64(h[24:]), le.Uint64(h[32:])); err != nil {
			return p, err
		}
	}
	if len(segments) == 0 {
		return p, errors.New("it is damaged: it has nothing to load")
	}
	return Platform{"linux", arch}, nil
}

const (
	machHeader, machSegment = 32, 0x19 // LC_SEGMENT_64
	machLibrary, machBundle = 6, 8     // MH_DYLIB, MH_BUNDLE
)

var machProcessors = map[uint32]string{0x01000007: "amd64", 0x0100000c: "arm64"}

func (b headers) machO() (p Platform, err error) {
	le := binary.LittleEndian
	head := make([]byte, machHeader)
	if err := b.read(head, 0); err != nil {
		return p, err
	}
	arch := machProcessors[le.Uint32(head[4:])]
	if arch == "" {
		return p, fmt.Errorf("it is for another kind of processor (Mach-O type %#x)", le.Uint32(head[4:]))
	}
	if kind := le.Uint32(head[12:]); kind != machLibrary && kind != machBundle {
		return p, fmt.Errorf("it is not a shared library (Mach-O type %d)", kind)
	}
	n, size := le.Uint32(head[16:]), le.Uint32(head[20:])
	if n == 0 || n > maxHeaders || size > maxLoadCommand {
		return p, fmt.Errorf("it is damaged: it speaks of %d load commands in %d bytes", n, size)
	}
	commands := make([]byte, size)
	if err := b.read(commands, machHeader); err != nil {
		return p, err
	}
	for range n {
		if len(commands) < 8 || le.Uint32(commands[4:]) < 8 || uint64(le.Uint32(commands[4:])) > uint64(len(commands)) {
			return p, errors.New("it is damaged: a load command is longer than all together")
		}
		c := commands[:le.Uint32(commands[4:])]
		commands = commands[len(c):]
		if le.Uint32(c) == machSegment && len(c) >= 56 {
			if err := b.covers(le.Uint64(c[40:]), le.Uint64(c[48:])); err != nil {
				return p, err
			}
		}
	}
	return Platform{"darwin", arch}, nil
}

// fat reads a file that holds one library for each of several processors.
func (b headers) fat() ([]Platform, error) {
	be := binary.BigEndian
	head := make([]byte, 8)
	if err := b.read(head, 0); err != nil {
		return nil, err
	}
	parts, err := b.table(8, int(min(be.Uint32(head[4:]), maxHeaders+1)), 20)
	if err != nil {
		return nil, err
	}
	var list []Platform
	for _, h := range parts {
		offset, size := uint64(be.Uint32(h[8:])), uint64(be.Uint32(h[12:]))
		if err := b.covers(offset, size); err != nil {
			return nil, err
		}
		p, err := b.section(int64(offset), int64(size)).machO()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, errors.New("it is damaged: it has no parts")
	}
	return list, nil
}

const (
	peHeader, peSection = 24, 40
	peLibrary           = 0x2000 // IMAGE_FILE_DLL
)

var peMachines = map[uint16]string{0x8664: "amd64", 0xaa64: "arm64", 0x14c: "386"}

func (b headers) pe() (p Platform, err error) {
	le := binary.LittleEndian
	at := make([]byte, 4)
	if err := b.read(at, peOffset); err != nil {
		return p, err
	}
	start := uint64(le.Uint32(at))
	head := make([]byte, peHeader)
	if err := b.read(head, int64(start)); err != nil {
		return p, err
	}
	if !strings.HasPrefix(string(head), "PE\x00\x00") {
		return p, errors.New("it is not a library: its header is of another kind")
	}
	arch := peMachines[le.Uint16(head[4:])]
	if arch == "" {
		return p, fmt.Errorf("it is for another kind of processor (PE machine %#x)", le.Uint16(head[4:]))
	}
	if le.Uint16(head[22:])&peLibrary == 0 {
		return p, errors.New("it is a program, not a library")
	}
	sections, err := b.table(start+peHeader+uint64(le.Uint16(head[20:])), int(le.Uint16(head[6:])), peSection)
	if err != nil {
		return p, err
	}
	for _, h := range sections {
		if err := b.covers(uint64(le.Uint32(h[20:])), uint64(le.Uint32(h[16:]))); err != nil {
			return p, err
		}
	}
	return Platform{"windows", arch}, nil
}
