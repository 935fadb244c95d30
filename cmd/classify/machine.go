package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
)

// machine says where figures were measured, without which they mean nothing.
type machine struct {
	CPU   string `json:"cpu,omitempty"` // model name, where the system tells
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
}

func (m machine) String() string {
	s := fmt.Sprintf("%s/%s, %d cores", m.OS, m.Arch, m.Cores)
	if m.CPU != "" {
		s = m.CPU + ", " + s
	}
	return s
}

func thisMachine() machine {
	return machine{
		CPU:   procField("/proc/cpuinfo", "model name"),
		Cores: goruntime.NumCPU(), OS: goruntime.GOOS, Arch: goruntime.GOARCH,
	}
}

// peakMemory is the most resident memory this process had, in bytes; 0 where
// the system does not tell. Format: proc(5), VmHWM in kB.
func peakMemory() int64 {
	kb, err := strconv.ParseInt(strings.TrimSuffix(procField("/proc/self/status", "VmHWM"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
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
