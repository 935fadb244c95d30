package download

import (
	"os"

	"cubby/models"
)

// pidSpace names this boot of this machine and the container: in another one the
// same process number means another process.
func pidSpace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return noSpace
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return noSpace
	}
	return models.DigestOf(append(boot, namespace...)).Hex()[:8]
}
