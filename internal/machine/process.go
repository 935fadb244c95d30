package machine

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what processes have cost since they began.
type Usage struct {
	CPU        time.Duration // user and system; in steps of 10 ms
	PeakMemory int64         // most resident memory, in bytes
}

// PeakMemory is the most resident memory this process had, in bytes; 0 where
// the system does not tell.
func PeakMemory() int64 {
	u, err := Process(os.Getpid())
	if err != nil {
		return 0
	}
	return u.PeakMemory
}

// Process is the usage of one living process, without its children. Only Linux
// tells. Source: proc(5), utime, stime and VmHWM.
func Process(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, err
	}
	u, err := usage(p)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return u, nil
}

// Tree adds up a living process and its living descendants; their peaks need
// not have been at the same time. Only Linux tells.
func Tree(pid int) (Usage, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return Usage{}, err
	}
	children := map[int][]procfs.Proc{}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil { // else it has ended
			children[stat.PPID] = append(children[stat.PPID], p)
		}
	}
	total, err := Process(pid)
	if err != nil {
		return Usage{}, err
	}
	for next := children[pid]; len(next) > 0; {
		p := next[0]
		next = append(next[1:], children[p.PID]...)
		if u, err := usage(p); err == nil {
			total.CPU += u.CPU
			total.PeakMemory += u.PeakMemory
		}
	}
	return total, nil
}

func usage(p procfs.Proc) (Usage, error) {
	stat, err := p.Stat()
	if err != nil {
		return Usage{}, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return Usage{}, err
	}
	return Usage{
		CPU:        time.Duration(stat.CPUTime() * float64(time.Second)),
		PeakMemory: int64(status.VmHWM),
	}, nil
}
