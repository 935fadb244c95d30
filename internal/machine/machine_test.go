package machine

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"
)

func linuxOnly(t *testing.T) {
	t.Helper()
	if This().OS != "linux" {
		t.Skip("only Linux tells")
	}
}

func TestPeakMemory(t *testing.T) {
	linuxOnly(t)
	if n := PeakMemory(); n < 1<<20 || n > 1<<40 {
		t.Errorf("peak memory of %d bytes", n)
	}
}

// A shell that does nothing itself is charged for its child's work.
func TestTree(t *testing.T) {
	linuxOnly(t)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	const loop = `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read wait`
	cmd := exec.Command(shell, "-c", "sh -c '"+loop+"'; true")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	u, err := Tree(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU < 20*time.Millisecond || u.CPU > time.Minute || u.PeakMemory < 1<<18 || u.PeakMemory > 1<<30 {
		t.Errorf("got %+v", u)
	}
	before := PeakMemory()
	if own, err := Tree(os.Getpid()); err != nil || own.PeakMemory < before+u.PeakMemory || own.CPU < u.CPU {
		t.Errorf("this process and its children: %+v, %v; the children alone: %+v", own, err, u)
	}
}

func TestTreeOfNobody(t *testing.T) {
	linuxOnly(t)
	if u, err := Tree(1 << 30); err == nil {
		t.Errorf("got %+v", u)
	}
}

// What this process computes, the whole machine is busy with.
func TestBusy(t *testing.T) {
	linuxOnly(t)
	busy, own := Busy(), ownCPU(t)
	for ownCPU(t)-own < 100*time.Millisecond {
	}
	if took := Busy() - busy; took < 50*time.Millisecond || took > time.Hour {
		t.Errorf("the machine was busy for %v while this process was for 100ms", took)
	}
}

func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	u, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return u.CPU
}
