//go:build !race

package testenv

// Race says that the race detector is built in, which takes memory of its own.
const Race = false
