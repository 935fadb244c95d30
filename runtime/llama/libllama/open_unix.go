//go:build linux || darwin

package libllama

import "github.com/ebitengine/purego"

// open loads a library, whose symbols those that follow may use.
func open(file string) (handle uintptr, err error) {
	return purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_GLOBAL)
}

func find(handle uintptr, name string) (address uintptr, err error) {
	return purego.Dlsym(handle, name)
}
