//go:build amd64 && !linux

package kernel

// hasAMX: other systems are not asked for the tiles.
func hasAMX() bool { return false }
