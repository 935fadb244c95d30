//go:build !linux && !darwin

package download

func pidSpace() string { return noSpace }
