// Package librariestest makes files that look like shared libraries, for tests:
// right headers, and nothing in them that could run.
package librariestest

import (
	"encoding/binary"

	"cubby/internal/libraries"
)

// Library is a library for a platform, of some hundred bytes. Equal names and
// platforms give equal bytes.
func Library(p libraries.Platform, name string) []byte {
	switch p.OS {
	case "darwin":
		return machO(p.Arch, name)
	case "windows":
		return pe(p.Arch, name)
	}
	return elf(p.Arch, name)
}

// Names are those of a set that could be loaded, as the packages of npm name them.
func Names() []string {
	return []string{"libggml-base.so", "libggml.v0.5.0.so", "libggml-cpu-x64.so", "libllama.v0.5.0.so"}
}

// Set is a whole set by file name.
func Set(p libraries.Platform) map[string][]byte {
	set := map[string][]byte{}
	for _, name := range Names() {
		set[name] = Library(p, name)
	}
	return set
}

func elf(arch, name string) []byte {
	const header, program, section = 64, 56, 64
	content := append([]byte(name), make([]byte, 100)...)
	b := make([]byte, header+program)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], map[string]uint16{"amd64": 62, "arm64": 183}[arch])
	le.PutUint64(b[32:], header)
	le.PutUint64(b[40:], uint64(header+program+len(content)))
	le.PutUint16(b[54:], program)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], section)
	le.PutUint16(b[60:], 1)
	le.PutUint32(b[header:], 1) // PT_LOAD
	le.PutUint64(b[header+32:], uint64(len(b)+len(content)))
	b = append(b, content...)
	return append(b, make([]byte, section)...)
}

func machO(arch, name string) []byte {
	const header, segment = 32, 72
	content := append([]byte(name), make([]byte, 100)...)
	b := make([]byte, header+segment)
	le := binary.LittleEndian
	copy(b, "\xcf\xfa\xed\xfe")
	le.PutUint32(b[4:], map[string]uint32{"amd64": 0x01000007, "arm64": 0x0100000c}[arch])
	le.PutUint32(b[12:], 6)
	le.PutUint32(b[16:], 1)
	le.PutUint32(b[20:], segment)
	le.PutUint32(b[header:], 0x19)
	le.PutUint32(b[header+4:], segment)
	le.PutUint64(b[header+48:], uint64(len(b)+len(content)))
	return append(b, content...)
}

// Fat is a Mach-O file with a part for each of two processors.
func Fat(name string) []byte {
	be := binary.BigEndian
	b := make([]byte, 8+2*20)
	copy(b, "\xca\xfe\xba\xbe")
	be.PutUint32(b[4:], 2)
	for i, arch := range []string{"amd64", "arm64"} {
		part := machO(arch, name)
		be.PutUint32(b[8+20*i+8:], uint32(len(b)))
		be.PutUint32(b[8+20*i+12:], uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

func pe(arch, name string) []byte {
	const start, header, section = 64, 24, 40
	content := append([]byte(name), make([]byte, 100)...)
	b := make([]byte, start+header+section)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], start)
	copy(b[start:], "PE\x00\x00")
	le.PutUint16(b[start+4:], map[string]uint16{"amd64": 0x8664, "arm64": 0xaa64}[arch])
	le.PutUint16(b[start+6:], 1)
	le.PutUint16(b[start+22:], 0x2000)
	le.PutUint32(b[start+header+16:], uint32(len(content)))
	le.PutUint32(b[start+header+20:], uint32(len(b)))
	return append(b, content...)
}
