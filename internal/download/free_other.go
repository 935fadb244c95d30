//go:build !linux && !darwin && !windows

package download

// FreeSpace is how many bytes this user may still write below dir, and whether the
// system tells: here it does not.
func FreeSpace(string) (int64, bool) { return 0, false }
