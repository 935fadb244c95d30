package download

import (
	"syscall"

	"cubby/models"
)

// pidSpace names this boot of this machine.
func pidSpace() string {
	boot, err := syscall.Sysctl("kern.bootsessionuuid")
	if err != nil || boot == "" {
		return noSpace
	}
	return models.DigestOf([]byte(boot)).Hex()[:8]
}
