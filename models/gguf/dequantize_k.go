package gguf

// The K types pack 256 values a block, in groups that have small integer scales
// of their own under the block's half-precision one.

// scaleMin returns the six-bit scale and minimum of group j of eight, which Q4_K
// and Q5_K pack in twelve bytes: the first four plainly, the upper two bits of
// the last four above those.
func scaleMin(s *[12]byte, j int) (scale, minimum float32) {
	if j < 4 {
		return float32(s[j] & 63), float32(s[j+4] & 63)
	}
	return float32(s[j+4]&15 | s[j-4]>>6<<4), float32(s[j+4]>>4 | s[j]>>6<<4)
}

// Q4_K: half d, half dmin, scales[12], nibbles q[128]; 32 bytes hold two groups,
// low nibbles first; value = d·scale·q - dmin·min.
func dequantizeQ4K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[144:] {
		d, dmin, scales := halfAt(src), halfAt(src[2:]), (*[12]byte)(src[4:])
		for pair := range 4 {
			q, y := (*[32]byte)(src[16+32*pair:]), (*[64]float32)(dst[64*pair:])
			s0, m0 := scaleMin(scales, 2*pair)
			s1, m1 := scaleMin(scales, 2*pair+1)
			d0, m0, d1, m1 := float32(d*s0), float32(dmin*m0), float32(d*s1), float32(dmin*m1)
			for i, b := range q {
				y[i] = float32(d0*float32(b&15)) - m0
				y[i+32] = float32(d1*float32(b>>4)) - m1
			}
		}
	}
}

// Q5_K: as Q4_K with fifth bits high[32] before the nibbles: bit g of byte i
// belongs to value i of group g.
func dequantizeQ5K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[176:] {
		d, dmin, scales := halfAt(src), halfAt(src[2:]), (*[12]byte)(src[4:])
		high := (*[32]byte)(src[16:])
		for pair := range 4 {
			q, y := (*[32]byte)(src[48+32*pair:]), (*[64]float32)(dst[64*pair:])
			s0, m0 := scaleMin(scales, 2*pair)
			s1, m1 := scaleMin(scales, 2*pair+1)
			d0, m0, d1, m1 := float32(d*s0), float32(dmin*m0), float32(d*s1), float32(dmin*m1)
			for i, b := range q {
				h := high[i] >> (2 * pair & 7)
				y[i] = float32(d0*float32(b&15|h&1<<4)) - m0
				y[i+32] = float32(d1*float32(b>>4|h>>1&1<<4)) - m1
			}
		}
	}
}

// Q6_K: nibbles low[128], bit pairs high[64], int8 scales[16], half d;
// value = d·scale·(q-32). Each half of the block holds 128 values: 64 bytes of
// low, whose low nibbles are the first 64, 32 of high, and 8 scales of 16 values.
func dequantizeQ6K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[210:] {
		d := halfAt(src[208:])
		for part := range 2 {
			low, high := (*[64]byte)(src[64*part:]), (*[32]byte)(src[128+32*part:])
			y, scales := (*[128]float32)(dst[128*part:]), (*[8]byte)(src[192+8*part:])
			var s [8]float32
			for i := range s {
				s[i] = float32(d * float32(int8(scales[i])))
			}
			for i, h := range high {
				g := i / 16
				y[i] = s[g] * float32(int32(low[i]&15|h&3<<4)-32)
				y[i+32] = s[g+2] * float32(int32(low[i+32]&15|h>>2&3<<4)-32)
				y[i+64] = s[g+4] * float32(int32(low[i]>>4|h>>4&3<<4)-32)
				y[i+96] = s[g+6] * float32(int32(low[i+32]>>4|h>>6<<4)-32)
			}
		}
	}
}
