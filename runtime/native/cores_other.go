//go:build !linux

package native

// allowedCPUs is unknown: the number of threads follows GOMAXPROCS.
func allowedCPUs() []int { return nil }
