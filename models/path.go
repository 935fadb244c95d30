package models

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// ErrPath is in the chain of an error about a path that is not clean.
var ErrPath = errors.New("not a clean path")

// CheckPath allows only slash-separated paths that lie in the folder that they are
// told in, and mean the same on every system: Windows has streams behind colons,
// devices with names, and drops dots and spaces at the end of a name.
func CheckPath(p string) error {
	if p == "." || !fs.ValidPath(p) || strings.ContainsFunc(p, unportable) {
		return fmt.Errorf("%q is %w", p, ErrPath)
	}
	for name := range strings.SplitSeq(p, "/") {
		if last := name[len(name)-1]; last == '.' || last == ' ' {
			return fmt.Errorf("%q is %w: %q ends with a dot or a space", p, ErrPath, name)
		}
		stem, _, _ := strings.Cut(name, ".")
		if stem = strings.ToUpper(strings.TrimRight(stem, " ")); isDevice(stem) {
			return fmt.Errorf("%q is %w: %s is a device on Windows", p, ErrPath, stem)
		}
	}
	return nil
}

func unportable(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`\:*?"<>|`, r) }

// isDevice reports whether Windows takes a name, whatever its extension, for a device.
func isDevice(stem string) bool {
	if slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}, stem) {
		return true
	}
	port, ok := strings.CutPrefix(stem, "COM")
	if !ok {
		port, ok = strings.CutPrefix(stem, "LPT")
	}
	return ok && slices.Contains(strings.Split("0123456789¹²³", ""), port)
}
