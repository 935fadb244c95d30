package machine

import (
	"time"

	"github.com/prometheus/procfs"
)

// Busy is the processor time that everything on this machine has taken since
// it started, and that its host has kept for others; 0 where the system does
// not tell. Source: proc(5), /proc/stat.
func Busy() time.Duration {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0
	}
	t := stat.CPUTotal // user holds guest already
	return time.Duration((t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal) * float64(time.Second))
}
