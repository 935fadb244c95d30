// Package machine says what figures were measured on, and what processes cost.
package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
)

// Machine says where figures were measured, without which they mean nothing.
type Machine struct {
	CPU   string `json:"cpu,omitempty"` // model name, where the system tells
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
}

func (m Machine) String() string {
	s := fmt.Sprintf("%s/%s, %d cores", m.OS, m.Arch, m.Cores)
	if m.CPU != "" {
		s = m.CPU + ", " + s
	}
	return s
}

// This returns the machine that runs this process.
func This() Machine {
	return Machine{
		CPU:   procField("/proc/cpuinfo", "model name"),
		Cores: goruntime.NumCPU(), OS: goruntime.GOOS, Arch: goruntime.GOARCH,
	}
}

// procField returns the value of the first "name: value" line of a file under
// /proc, or "" where there is none.
func procField(path, name string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
