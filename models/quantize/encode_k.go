package quantize

import (
	"math"

	"cubby/models/gguf"
)

// nearest rounds to the nearest integer, to even between two, for magnitudes below
// 2^22: added to 1.5·2^23 a number's fraction has no bits left. Beyond, and of what
// is no number, it is some integer, the same everywhere.
func nearest(v float32) int32 {
	return int32(math.Float32bits(float32(v)+0x1.8p23)&0x7fffff) - 0x400000
}

// search are the inverse scales that are tried for a group of an affine type, as
// what is added to its number of levels: first, first + 0.1, …
type search struct {
	levels int32 // the largest
	first  float32
	steps  int // after the first
}

var (
	fourBits = search{15, -1, 20}
	fiveBits = search{31, -0.5, 15}
)

// affine is how a group of 32 values is written: scale·level - minimum.
type affine struct {
	scale, minimum float32 // the minimum is not negative: 0 is always in range
	levels         [32]uint8
}

// fit finds the levels, scale and minimum of the least weighted squared error:
// each trial fixes the levels, and solves for the other two.
func (s search) fit(x, weights *[32]float32) (best affine) {
	low, high := span(x)
	if low > 0 {
		low = 0
	}
	var sumW, sumX float32
	for i, w := range weights {
		sumW += w
		sumX += float32(w * x[i])
	}
	if high == low {
		best.minimum = -low
		return best
	}
	top := float32(s.levels)
	inverse := top / (high - low)
	best.scale = 1 / inverse
	s.round(&best.levels, x, inverse, low)
	least := squares(x, weights, &best.levels, best.scale, low)
	var levels [32]uint8
	for step := range s.steps + 1 {
		inverse = (s.first + float32(0.1*float32(step)) + top) / (high - low)
		s.round(&levels, x, inverse, low)
		var sumL, sumL2, sumXL float32
		for i, l := range levels {
			wl := weights[i] * float32(l)
			sumL += wl
			sumL2 += float32(wl * float32(l))
			sumXL += float32(wl * x[i])
		}
		det := float32(sumW*sumL2) - float32(sumL*sumL)
		if !(det > 0) {
			continue
		}
		scale := (float32(sumW*sumXL) - float32(sumX*sumL)) / det
		offset := (float32(sumL2*sumX) - float32(sumL*sumXL)) / det
		if offset > 0 {
			scale, offset = sumXL/sumL2, 0
		}
		if e := squares(x, weights, &levels, scale, offset); e < least {
			least, low = e, offset
			best.scale, best.levels = scale, levels
		}
	}
	best.minimum = -low
	return best
}

func (s search) round(levels *[32]uint8, x *[32]float32, inverse, low float32) {
	for i, v := range x {
		levels[i] = uint8(max(0, min(s.levels, nearest(inverse*(v-low)))))
	}
}

// squares is the weighted squared error of scale·level + offset.
func squares(x, weights *[32]float32, levels *[32]uint8, scale, offset float32) float32 {
	var sum float32
	for i, l := range levels {
		d := float32(scale*float32(l)) + offset - x[i]
		sum += float32(weights[i] * float32(d*d))
	}
	return sum
}

// affineBlock is a block of Q4_K or Q5_K on its way: eight groups, with scales and
// minima in six bits under the block's two halves.
type affineBlock struct {
	scales, minima [8]uint8
	levels         [8][32]uint8
}

// encode fits the groups, rounds their scales and minima, and then the values once
// more to what these have become. The halves and the twelve bytes of scales go to dst.
func (b *affineBlock) encode(dst []byte, x *[256]float32, s search) bool {
	var groups [8]affine
	var topScale, topMinimum float32
	for g := range groups {
		values := (*[32]float32)(x[32*g:])
		weights := importance(values)
		groups[g] = s.fit(values, &weights)
		topScale, topMinimum = max(topScale, groups[g].scale), max(topMinimum, groups[g].minimum)
	}
	fits := putHalf(dst, topScale/63)
	fits = putHalf(dst[2:], topMinimum/63) && fits
	d, dmin := half(dst), half(dst[2:])
	for g := range groups {
		b.scales[g], b.minima[g] = sixBits(groups[g].scale, topScale), sixBits(groups[g].minimum, topMinimum)
		b.levels[g] = groups[g].levels
		scale, minimum := d*float32(b.scales[g]), dmin*float32(b.minima[g])
		if scale == 0 {
			continue
		}
		for i := range b.levels[g] {
			b.levels[g][i] = uint8(max(0, min(s.levels, nearest((x[32*g+i]+minimum)/scale))))
		}
	}
	putSixBits((*[12]byte)(dst[4:]), &b.scales, &b.minima)
	return fits
}

func half(b []byte) float32 { return gguf.Float16(uint16(b[0]) | uint16(b[1])<<8) }

// importance weights the errors of a group: large values count more.
func importance(x *[32]float32) (weights [32]float32) {
	var sum float32
	for _, v := range x {
		sum += float32(v * v)
	}
	mean := float32(math.Sqrt(float64(sum / 32)))
	for i, v := range x {
		weights[i] = mean + abs(v)
	}
	return weights
}

// sixBits is v as a part of 63, of which top is the whole.
func sixBits(v, top float32) uint8 {
	if !(top > 0) {
		return 0
	}
	return min(63, uint8(nearest(63/top*v)))
}

// putSixBits packs scales and minima as package gguf unpacks them.
func putSixBits(dst *[12]byte, scales, minima *[8]uint8) {
	for g := range 4 {
		dst[g] = scales[g] | scales[g+4]>>4<<6
		dst[g+4] = minima[g] | minima[g+4]>>4<<6
		dst[g+8] = scales[g+4]&15 | minima[g+4]<<4
	}
}

func encodeQ4K(dst []byte, src []float32) bool {
	fits := true
	var b affineBlock
	for ; len(src) >= 256; dst, src = dst[144:], src[256:] {
		fits = b.encode(dst, (*[256]float32)(src), fourBits) && fits
		b.putNibbles(dst[16:])
	}
	return fits
}

func encodeQ5K(dst []byte, src []float32) bool {
	fits := true
	var b affineBlock
	for ; len(src) >= 256; dst, src = dst[176:], src[256:] {
		fits = b.encode(dst, (*[256]float32)(src), fiveBits) && fits
		b.putNibbles(dst[48:])
		high := (*[32]byte)(dst[16:])
		clear(high[:])
		for g := range b.levels {
			for i, l := range b.levels[g] {
				high[i] |= l >> 4 << g
			}
		}
	}
	return fits
}

// putNibbles packs the lower four bits of two groups into each 32 bytes.
func (b *affineBlock) putNibbles(dst []byte) {
	for pair := range 4 {
		q := (*[32]byte)(dst[32*pair:])
		for i := range q {
			q[i] = b.levels[2*pair][i]&15 | b.levels[2*pair+1][i]<<4
		}
	}
}

// nothing is the magnitude below which Q6_K takes values, and scales, for 0.
const nothing = 1e-15

// fitSymmetric finds the scale of 16 values written as scale·level, level from -32
// to 31, with the least squared error weighted by the values' squares: trial scales
// put the largest magnitude near level -32, each fixes the levels and is then solved
// for. It returns the levels too, plus 32.
func fitSymmetric(x *[16]float32) (scale float32, levels [16]uint8) {
	var top, signed float32
	for _, v := range x {
		if a := abs(v); a > top {
			top, signed = a, v
		}
	}
	if top < nothing {
		return 0, levels
	}
	inverse := -32 / signed
	sumXL, sumL2 := symmetricSums(x, inverse)
	if sumL2 != 0 {
		scale = sumXL / sumL2
	}
	most, taken := scale*sumXL, inverse
	for step := -9; step <= 9; step++ {
		if step == 0 {
			continue
		}
		inverse = -(32 + float32(0.1*float32(step))) / signed
		sumXL, sumL2 = symmetricSums(x, inverse)
		if sumL2 > 0 && float32(sumXL*sumXL) > float32(most*sumL2) {
			scale, taken = sumXL/sumL2, inverse
			most = scale * sumXL
		}
	}
	for i, v := range x {
		levels[i] = uint8(symmetricLevel(taken*v) + 32)
	}
	return scale, levels
}

func symmetricLevel(v float32) int32 { return max(-32, min(31, nearest(v))) }

// symmetricSums are the weighted sums of value times level, and of level squared.
func symmetricSums(x *[16]float32, inverse float32) (sumXL, sumL2 float32) {
	for _, v := range x {
		l := float32(symmetricLevel(inverse * v))
		w := float32(v * v)
		sumXL += float32(float32(w*v) * l)
		sumL2 += float32(float32(w*l) * l)
	}
	return sumXL, sumL2
}

// Q6_K: the scale of the largest magnitude becomes -128 of the block's d.
func encodeQ6K(dst []byte, src []float32) bool {
	fits := true
	for ; len(src) >= 256; dst, src = dst[210:], src[256:] {
		block := (*[210]byte)(dst)
		clear(block[:])
		x := (*[256]float32)(src)
		var scales [16]float32
		var levels [256]uint8
		var top, signed float32
		for g := range scales {
			var l [16]uint8
			scales[g], l = fitSymmetric((*[16]float32)(x[16*g:]))
			copy(levels[16*g:], l[:])
			if a := abs(scales[g]); a > top {
				top, signed = a, scales[g]
			}
		}
		if top < nothing {
			continue
		}
		inverse := -128 / signed
		fits = putHalf(block[208:], 1/inverse) && fits
		d := half(block[208:])
		for g, s := range scales {
			small := int8(min(127, nearest(inverse*s)))
			block[192+g] = byte(small)
			scale := d * float32(small)
			if scale == 0 {
				continue
			}
			for i := 16 * g; i < 16*g+16; i++ {
				levels[i] = uint8(symmetricLevel(x[i]/scale) + 32)
			}
		}
		putSixBitLevels(block, &levels)
	}
	return fits
}

// putSixBitLevels packs levels below 64 as package gguf unpacks them.
func putSixBitLevels(dst *[210]byte, levels *[256]uint8) {
	for part := range 2 {
		low, high, l := (*[64]byte)(dst[64*part:]), (*[32]byte)(dst[128+32*part:]), (*[128]uint8)(levels[128*part:])
		for i := range high {
			low[i] = l[i]&15 | l[i+64]<<4
			low[i+32] = l[i+32]&15 | l[i+96]<<4
			high[i] = l[i]>>4 | l[i+32]>>4<<2 | l[i+64]>>4<<4 | l[i+96]>>4<<6
		}
	}
}
