package llama

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// availableMemory is what the system could give this process, in bytes, also where
// a container bounds it; 0 where it does not tell. Sources: proc(5), and
// Documentation/admin-guide/cgroup-v2.rst of Linux.
func availableMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return min(kib<<10, boundedMemory("/sys/fs/cgroup", "/proc/self/cgroup"))
		}
	}
	return 0
}

// boundedMemory is what is left of the bounds of the process's control groups.
func boundedMemory(root, self string) int64 {
	left := int64(math.MaxInt64)
	data, err := os.ReadFile(self)
	if err != nil {
		return left
	}
	_, path, found := strings.Cut(strings.TrimSpace(string(data)), "0::")
	if !found {
		return left
	}
	for dir := filepath.Join(root, path); ; dir = filepath.Dir(dir) {
		limit, ok := readNumber(filepath.Join(dir, "memory.max"))
		used, there := readNumber(filepath.Join(dir, "memory.current"))
		if ok && there {
			left = min(left, max(0, limit-used+readStat(filepath.Join(dir, "memory.stat"), "file")))
		}
		if len(dir) <= len(root) {
			return left
		}
	}
}

func readNumber(file string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// readStat is a value of memory.stat; what files have cached can be had back.
func readStat(file, key string) (n int64) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key {
			n, _ = strconv.ParseInt(value, 10, 64) // 0 where it is no number
		}
	}
	return n
}

// adapterSize is that of a file; 0 without one.
func adapterSize(path string) int64 {
	info, err := os.Stat(path)
	if path == "" || err != nil {
		return 0
	}
	return info.Size()
}
