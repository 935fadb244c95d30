package models

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckPath(t *testing.T) {
	for _, p := range []string{"a", "model/model.gguf", "data/test.jsonl", ".hidden/x", "console/x", "com10", "coma.txt", "Ünï/ç ode", "a..b", "nul_1", strings.Repeat("n/", 100) + "x"} {
		if err := CheckPath(p); err != nil {
			t.Error(err)
		}
	}
	for p, want := range map[string]string{
		"": "", ".": "", "..": "", "/": "", "/a": "", "a/": "", "a//b": "", "a/./b": "", "a/../b": "", "../a": "", `a\b`: "", "c:": "", "c:x": "", "a:b": "", "a\x00": "", "a\n": "", "a\x7f": "",
		"a?": "", "a*b": "", "a<b": "", "a|b": "", `a"b`: "", "\xff": "",
		"a.":           `"a." ends with a dot or a space`,
		"a /b":         `"a " ends with a dot or a space`,
		".../b":        "ends with a dot or a space",
		"con":          "CON is a device on Windows",
		"x/Nul":        "NUL is a device on Windows",
		"aux.gguf":     "AUX is a device on Windows",
		"PRN .a.b":     "PRN is a device on Windows",
		"com1":         "COM1 is a device on Windows",
		"lpt³.x/model": "LPT³ is a device on Windows",
		"conin$":       "CONIN$ is a device on Windows",
	} {
		if err := CheckPath(p); !errors.Is(err, ErrPath) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
}
