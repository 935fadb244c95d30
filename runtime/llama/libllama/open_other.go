//go:build !linux && !darwin

package libllama

import "errors"

// errSystem is the answer where nobody has tried the binding.
var errSystem = errors.New("libllama is bound on Linux and macOS only: use another engine")

func open(string) (uintptr, error) { return 0, errSystem }

func find(uintptr, string) (uintptr, error) { return 0, errSystem }
