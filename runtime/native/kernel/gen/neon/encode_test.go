package main

import "testing"

// The words are those that the GNU assembler 2.40 makes of the texts
// (-march=armv8.2-a+dotprod).
func TestEncodings(t *testing.T) {
	for _, c := range []struct {
		got  word
		bits uint32
		text string
	}{
		{fadd(1, 2, 31), 0x4e3fd441, "fadd v1.4s, v2.4s, v31.4s"},
		{fsub(29, 30, 3), 0x4ea3d7dd, "fsub v29.4s, v30.4s, v3.4s"},
		{fmul(6, 17, 9), 0x6e29de26, "fmul v6.4s, v17.4s, v9.4s"},
		{fdiv(10, 11, 28), 0x6e3cfd6a, "fdiv v10.4s, v11.4s, v28.4s"},
		{fmax(0, 16, 8), 0x4e28f600, "fmax v0.4s, v16.4s, v8.4s"},
		{faddp(31, 31, 31), 0x6e3fd7ff, "faddp v31.4s, v31.4s, v31.4s"},
		{fcmgt(8, 26, 0), 0x6ea0e748, "fcmgt v8.4s, v26.4s, v0.4s"},
		{bic(4, 5, 24), 0x4e781ca4, "bic v4.16b, v5.16b, v24.16b"},
		{fabs(15, 16), 0x4ea0fa0f, "fabs v15.4s, v16.4s"},
		{fneg(16, 15), 0x6ea0f9f0, "fneg v16.4s, v15.4s"},
		{fcvtns(31, 1), 0x4e21a83f, "fcvtns v31.4s, v1.4s"},
		{scvtf(2, 30), 0x4e21dbc2, "scvtf v2.4s, v30.4s"},
		{fmaxv(3, 19), 0x6e30fa63, "fmaxv s3, v19.4s"},
		{umaxv(19, 3), 0x6eb0a873, "umaxv s19, v3.4s"},
		{smlal(17, 31, 15, 5), 0x0f5f2bf1, "smlal v17.4s, v31.4h, v15.h[5]"},
		{smlal2(6, 30, 5, 2), 0x4f6523c6, "smlal2 v6.4s, v30.8h, v5.h[2]"},
		{smlal(0, 1, 2, 7), 0x0f722820, "smlal v0.4s, v1.4h, v2.h[7]"},
		{sdot(6, 30, 5, 0), 0x4f85e3c6, "sdot v6.4s, v30.16b, v5.4b[0]"},
		{sdot(17, 31, 16, 1), 0x4fb0e3f1, "sdot v17.4s, v31.16b, v16.4b[1]"},
		{sdot(1, 2, 31, 2), 0x4f9fe841, "sdot v1.4s, v2.16b, v31.4b[2]"},
		{sdot(0, 0, 0, 3), 0x4fa0e800, "sdot v0.4s, v0.16b, v0.4b[3]"},
		{fmlaBy(23, 31, 29, 3), 0x4fbd1bf7, "fmla v23.4s, v31.4s, v29.s[3]"},
		{fmlaBy(18, 6, 0, 1), 0x4fa010d2, "fmla v18.4s, v6.4s, v0.s[1]"},
		{sxtl(30, 31), 0x0f08a7fe, "sxtl v30.8h, v31.8b"},
	} {
		if c.got.bits != c.bits || c.got.text != c.text {
			t.Errorf("%s is %#08x, want %s, %#08x", c.got.text, c.got.bits, c.text, c.bits)
		}
	}
}

func TestElementOfUpperRegisterRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an element of v16 was encoded, which SMLAL cannot")
		}
	}()
	smlal(0, 1, 16, 0)
}
