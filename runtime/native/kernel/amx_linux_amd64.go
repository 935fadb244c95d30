package kernel

import (
	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// hasAMX says whether the processor has the tiles, and Linux lets this process
// use them: it asks, once, since their state makes a thread's larger (arch_prctl,
// Linux's Documentation/arch/x86/xstate.rst).
func hasAMX() bool {
	const (
		requestPermission = 0x1023 // ARCH_REQ_XCOMP_PERM
		tileData          = 18     // XFEATURE_XTILEDATA
	)
	if x := &cpu.X86; !x.HasAMXTile || !x.HasAMXInt8 || !x.HasAVX512VBMI {
		return false
	}
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
}
