package kernel

import (
	goruntime "runtime"

	"golang.org/x/sys/cpu"
)

// vectorKernels returns the kernels in vector instructions that this CPU can
// run, best first. Every arm64 has NEON; every Apple one has the dot product, which
// macOS before 13 does not tell.
func vectorKernels() []*Kernel {
	if cpu.ARM64.HasASIMDDP || goruntime.GOOS == "darwin" {
		return []*Kernel{neonDot(), neon()}
	}
	return []*Kernel{neon()}
}
