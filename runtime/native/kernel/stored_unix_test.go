//go:build unix

package kernel

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded copies data to the end of memory that can only be read and behind
// which nothing is.
func guarded(t *testing.T, data []byte) []byte {
	t.Helper()
	page := os.Getpagesize()
	size := (len(data) + page - 1) / page * page
	memory, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	copy(memory[size-len(data):], data)
	if err := unix.Mprotect(memory[:size], unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mprotect(memory[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return memory[size-len(data) : size]
}

// Products only read a matrix, and nothing behind it: at the end of a mapped
// file that would be a fault.
func TestProductsStayInsideTheirMatrix(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, w := range []Weights{Int8, Int12, Float32} {
			for _, shape := range [][2]int{{70, 96}, {1, 32}} {
				m := packed(k, w, shape[0], shape[1])
				s, err := k.Stored(w, m.N, m.K, guarded(t, aligned(m.Data()...)))
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(multiplied(k, s), multiplied(k, m)) {
					t.Errorf("kind %d, %v: another product", w, shape)
				}
			}
		}
	})
}
