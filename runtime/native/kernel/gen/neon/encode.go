package main

import "fmt"

// word is an instruction that Go's assembler lacks, and how it is written in
// the Arm Architecture Reference Manual (DDI 0487, section C7.2), whose tables of
// Advanced SIMD encodings (C4.1) give the formulas below. All of these
// instructions work on whole registers.
type word struct {
	bits uint32
	text string
}

var (
	fadd  = threeSame("fadd", "4s", 0, 0b00, 0b11010)
	fsub  = threeSame("fsub", "4s", 0, 0b10, 0b11010)
	fmul  = threeSame("fmul", "4s", 1, 0b00, 0b11011)
	fdiv  = threeSame("fdiv", "4s", 1, 0b00, 0b11111)
	fmax  = threeSame("fmax", "4s", 0, 0b00, 0b11110)
	faddp = threeSame("faddp", "4s", 1, 0b00, 0b11010)
	fcmgt = threeSame("fcmgt", "4s", 1, 0b10, 0b11100)
	bic   = threeSame("bic", "16b", 0, 0b01, 0b00011)

	fabs   = twoMisc("fabs", 0, 0b10, 0b01111)
	fneg   = twoMisc("fneg", 1, 0b10, 0b01111)
	fcvtns = twoMisc("fcvtns", 0, 0b00, 0b11010) // to the nearest, ties to even
	scvtf  = twoMisc("scvtf", 0, 0b00, 0b11101)

	fmaxv = acrossLanes("fmaxv", 1, 0b00, 0b01111)
	umaxv = acrossLanes("umaxv", 1, 0b10, 0b01010)

	smlal  = byHalf("smlal", "4h", 0, 0b0010)
	smlal2 = byHalf("smlal2", "8h", 1, 0b0010)
)

// threeSame encodes: 0 Q U 01110 size 1 Rm opcode 1 Rn Rd.
func threeSame(name, lanes string, u, size, opcode uint32) func(d, n, m vec) word {
	return func(d, n, m vec) word {
		return word{
			1<<30 | u<<29 | 0b01110<<24 | size<<22 | 1<<21 | uint32(m)<<16 | opcode<<11 | 1<<10 | uint32(n)<<5 | uint32(d),
			fmt.Sprintf("%s v%d.%[5]s, v%[3]d.%[5]s, v%[4]d.%[5]s", name, d, n, m, lanes),
		}
	}
}

// twoMisc encodes: 0 Q U 01110 size 10000 opcode 10 Rn Rd.
func twoMisc(name string, u, size, opcode uint32) func(d, n vec) word {
	return func(d, n vec) word {
		return word{
			1<<30 | u<<29 | 0b01110<<24 | size<<22 | 0b10000<<17 | opcode<<12 | 0b10<<10 | uint32(n)<<5 | uint32(d),
			fmt.Sprintf("%s v%d.4s, v%d.4s", name, d, n),
		}
	}
}

// acrossLanes encodes: 0 Q U 01110 size 11000 opcode 10 Rn Rd.
func acrossLanes(name string, u, size, opcode uint32) func(d, n vec) word {
	return func(d, n vec) word {
		return word{
			1<<30 | u<<29 | 0b01110<<24 | size<<22 | 0b11000<<17 | opcode<<12 | 0b10<<10 | uint32(n)<<5 | uint32(d),
			fmt.Sprintf("%s s%d, v%d.4s", name, d, n),
		}
	}
}

// An instruction by element is 0 Q U 01111 size L M Rm opcode H 0 Rn Rd. Where
// the element has 32 bits its index is H:L and the register M:Rm; where it has 16,
// the index is H:L:M and the register one of the first 16.

// sdot adds to each lane of d four products of bytes: of that lane of n with the
// index'th four of m.
func sdot(d, n, m vec, index int) word {
	return word{
		byWord(0b1110, d, n, m, index),
		fmt.Sprintf("sdot v%d.4s, v%d.16b, v%d.4b[%d]", d, n, m, index),
	}
}

// fmlaBy adds n times the index'th lane of m to d.
func fmlaBy(d, n, m vec, index int) word {
	return word{
		byWord(0b0001, d, n, m, index),
		fmt.Sprintf("fmla v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, index),
	}
}

func byWord(opcode uint32, d, n, m vec, index int) uint32 {
	i := uint32(index)
	return 1<<30 | 0b01111<<24 | 0b10<<22 | i&1<<21 | uint32(m)<<16 | opcode<<12 | i>>1<<11 | uint32(n)<<5 | uint32(d)
}

// byHalf encodes products of the lower or upper (q) four int16 of n with the
// index'th of m.
func byHalf(name, lanes string, q, opcode uint32) func(d, n, m vec, index int) word {
	return func(d, n, m vec, index int) word {
		if m > 15 {
			panic(fmt.Sprintf("%s by an element of v%d: only the first 16 registers can be encoded", name, m))
		}
		i := uint32(index)
		return word{
			q<<30 | 0b01111<<24 | 0b01<<22 | i>>1&1<<21 | i&1<<20 | uint32(m)<<16 | opcode<<12 | i>>2<<11 | uint32(n)<<5 | uint32(d),
			fmt.Sprintf("%s v%d.4s, v%d.%s, v%d.h[%d]", name, d, n, lanes, m, index),
		}
	}
}

// sxtl widens the lower eight int8 of n to int16: SSHLL by 0, which is
// 0 Q U 011110 immh immb 10100 1 Rn Rd with immh 0001.
func sxtl(d, n vec) word {
	return word{
		0b011110<<23 | 0b0001<<19 | 0b10100<<11 | 1<<10 | uint32(n)<<5 | uint32(d),
		fmt.Sprintf("sxtl v%d.8h, v%d.8b", d, n),
	}
}
