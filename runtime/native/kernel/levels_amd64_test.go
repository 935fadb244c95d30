package kernel

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"testing"
)

// The generator takes registers 16 to 31 when it runs out of others, which only
// AVX-512 has: an AVX2 processor would stop at the first of them.
func TestAVX2StaysInItsRegisters(t *testing.T) {
	text, err := os.ReadFile("avx2_amd64.s")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the sources are not beside the test")
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`\b[XYZ](1[6-9]|2[0-9]|3[01])\b|\bZ[0-9]`).Find(text); found != nil {
		t.Errorf("avx2_amd64.s uses register %s", found)
	}
}
