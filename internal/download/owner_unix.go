//go:build unix

package download

import (
	"errors"
	"syscall"
)

// processLives reports whether a process has that number. One that waits for its
// parent to notice its death counts as alive.
func processLives(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
