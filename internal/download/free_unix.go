//go:build linux || darwin

package download

import "golang.org/x/sys/unix"

// FreeSpace is how many bytes this user may still write below dir, and whether
// the system tells.
func FreeSpace(dir string) (int64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
