//go:build !amd64 && !arm64

package kernel

// vectorKernels returns the kernels in vector instructions: none here.
func vectorKernels() []*Kernel { return nil }
