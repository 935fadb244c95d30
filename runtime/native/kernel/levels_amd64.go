package kernel

import "golang.org/x/sys/cpu"

// vectorKernels returns the kernels in vector instructions that this CPU and
// its operating system can run, best first.
func vectorKernels() []*Kernel {
	var kernels []*Kernel
	x := &cpu.X86
	hasAVX2 := x.HasAVX2 && x.HasFMA
	hasAVX512 := hasAVX2 && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI
	if hasAVX512 && hasAMX() {
		kernels = append(kernels, amx())
	}
	if hasAVX512 {
		kernels = append(kernels, avx512())
	}
	if hasAVX2 && x.HasAVXVNNI {
		kernels = append(kernels, avxVNNI())
	}
	if hasAVX2 {
		kernels = append(kernels, avx2())
	}
	return kernels
}
