package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
)

// aligned copies parts to one piece of memory that begins on a multiple of 4.
func aligned(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return slices.Concat(append([][]byte{bytesOf(make([]float32, (n+3)/4))[:0]}, parts...)...)
}

// multiplied returns the product of some activations with m.
func multiplied(k *Kernel, m *Matrix) []float32 {
	const rows = 13
	a := k.NewActivations(m.Weights, rows, m.K, m.Weights != Int8)
	r := newRand()
	for row := range rows {
		k.Quantize(a, row, normal(r, m.K), nil, 1)
	}
	width := m.Panels() * Panel
	c := make([]float32, padRows(rows, k.tileRows)*width)
	k.MulPanels(m, a, 0, m.Panels(), 0, rows, c, width)
	return c[:rows*width]
}

// packed returns a matrix of any kind with random weights.
func packed(k *Kernel, w Weights, n, kk int) *Matrix {
	if w != Float32 {
		return product{w, true}.matrix(newRand(), k, n, kk).m
	}
	m, r := k.NewMatrix(w, n, kk), newRand()
	for col := range n {
		for b := range kk / Block {
			k.PackBlock(m, col, b, normal(r, Block))
		}
	}
	return m
}

func TestStoredMatrixGivesTheSameBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, w := range []Weights{Int8, Int12, Float32} {
			for _, shape := range [][2]int{{70, 96}, {32, 32}, {1, 576}} {
				m := packed(k, w, shape[0], shape[1])
				data := aligned(m.Data()...)
				if len(data) != m.Bytes() || DataSize(w, m.N, m.K) != int64(len(data)) {
					t.Errorf("kind %d, %v: %d bytes of data, %d by its shape, %d in memory", w, shape, len(data), DataSize(w, m.N, m.K), m.Bytes())
				}
				s, err := k.Stored(w, m.N, m.K, data)
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

// What each level packs under LayoutVersion, by kind of weights. Where one has to
// change, raise LayoutVersion with it, so that kept files of the old one are not
// used; a new level adds its line.
var packedHashes = map[Level][3]string{
	Portable:   {"ee7666afb9ac3f8d", "a1324e6a14e4d479", "b45ff86afe847a46"},
	AVX2:       {"6758eef003f6d69b", "7e14d491a76f788e", "b45ff86afe847a46"},
	AVXVNNI:    {"ffd2710f75d70aef", "7e14d491a76f788e", "b45ff86afe847a46"},
	AMXInt8:    {"9ae4c12c7af20f03", "c55632960e4adf3d", "b45ff86afe847a46"},
	AVX512VNNI: {"bf1451c76b3ef492", "cc060ccda75d5b22", "b45ff86afe847a46"},
	NEON:       {"efd26edff92271ff", "0eae848e7a8219ea", "b45ff86afe847a46"},
	NEONDot:    {"c263f88fd5c57037", "0eae848e7a8219ea", "b45ff86afe847a46"},
}

func TestPackedBytesOfThisVersion(t *testing.T) {
	eachLevel(t, func(t *testing.T, k *Kernel) {
		for _, w := range []Weights{Int8, Int12, Float32} {
			sum := sha256.Sum256(slices.Concat(packed(k, w, 70, 96).Data()...))
			if got, want := hex.EncodeToString(sum[:8]), packedHashes[k.level][w]; got != want {
				t.Errorf("version %d, %s, kind %d: packed bytes hash to %s, not %q", LayoutVersion, k.level, w, got, want)
			}
		}
	})
}

func TestStoredRefuses(t *testing.T) {
	k := available[0]
	data := aligned(make([]byte, DataSize(Int8, 33, 64)+4))
	for _, c := range []struct {
		name  string
		w     Weights
		n, kk int
		data  []byte
	}{
		{"bytes missing", Int8, 33, 64, data[:len(data)-5]},
		{"bytes left over", Int8, 33, 64, data},
		{"another kind", Int12, 33, 64, data[:len(data)-4]},
		{"no such kind", 3, 33, 64, data[:len(data)-4]},
		{"no columns", Int8, 0, 64, nil},
		{"negative", Int8, -33, 64, data[:len(data)-4]},
		{"no whole blocks", Int8, 33, 65, data[:len(data)-4]},
		{"overflow", Int8, 1 << 30, 1 << 30, nil},
		{"unaligned", Int8, 33, 64, data[1 : len(data)-3]},
	} {
		if m, err := k.Stored(c.w, c.n, c.kk, c.data); err == nil {
			t.Errorf("%s: accepted as %d columns of %d", c.name, m.N, m.K)
		}
	}
}

// FuzzStored: whatever shape is claimed for whatever bytes, it is an error or a
// matrix that can be multiplied.
func FuzzStored(f *testing.F) {
	f.Add(uint8(0), 33, 64, aligned(packed(available[0], Int8, 33, 64).Data()...))
	f.Add(uint8(1), 32, 32, make([]byte, 2*1024+128))
	f.Add(uint8(2), 1, 32, make([]byte, 4096))
	f.Fuzz(func(t *testing.T, w uint8, n, kk int, data []byte) {
		data = aligned(data)
		for _, k := range available {
			m, err := k.Stored(Weights(w), n, kk, data)
			if err != nil {
				continue
			}
			if m.Bytes() != len(data) {
				t.Fatalf("%d bytes of %d", m.Bytes(), len(data))
			}
			multiplied(k, m)
		}
	})
}
