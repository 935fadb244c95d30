package native

import (
	"fmt"
	"io/fs"
	"os"
	goruntime "runtime"
	"strings"
)

// DefaultThreads is one a physical core: the kernels fill a core's vector units,
// so its second hardware thread adds nothing. Never more than GOMAXPROCS, which
// follows affinity and the quota of a container.
func DefaultThreads() int {
	limit := goruntime.GOMAXPROCS(0)
	if n := physicalCores(os.DirFS("/sys/devices/system/cpu"), allowedCPUs()); n > 0 {
		return min(n, limit)
	}
	return limit
}

// physicalCores counts the cores behind the processors in allowed, as Linux
// describes them (Documentation/admin-guide/cputopology.rst); 0 where it cannot.
func physicalCores(sys fs.FS, allowed []int) int {
	cores := map[string]bool{}
	for _, cpu := range allowed {
		core := siblings(sys, cpu)
		if core == "" {
			return 0
		}
		cores[core] = true
	}
	return len(cores)
}

// siblings is the list of the processors that share a core with this one, the
// same text for each of them. Kernels before 5.3 have only the older name.
func siblings(sys fs.FS, cpu int) string {
	for _, name := range []string{"core_cpus_list", "thread_siblings_list"} {
		text, err := fs.ReadFile(sys, fmt.Sprintf("cpu%d/topology/%s", cpu, name))
		if err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}
