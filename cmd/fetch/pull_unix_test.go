//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/platform/localplatform"
	"cubby/internal/testenv"
	"cubby/models"
)

// Two processes that pull the same model do it once.
func TestPullTwice(t *testing.T) {
	packages := demoPackages(t)
	var server lockstep
	p := newPulling(t, localplatform.Options{Packages: packages}, server.wrap)
	server.root = p.store.Root()
	type end struct {
		out string
		err error
	}
	ends := make(chan end)
	for range 2 {
		go func() {
			cmd := exec.Command(os.Args[0], "pull", p.platform.Models()[0].ID)
			cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
			out, err := cmd.CombinedOutput()
			ends <- end{string(out), err}
		}()
	}
	var all string
	for range 2 {
		e := <-ends
		if e.err != nil {
			t.Errorf("%v: %s", e.err, e.out)
		}
		all += e.out
	}
	if !strings.Contains(all, "installed slm-") || !strings.Contains(all, "installed already") {
		t.Error(all)
	}
	if info, err := os.Stat(filepath.Join(packages, "demo", "gguf.tar")); err != nil || server.served.Load() > info.Size()+2 {
		t.Errorf("%d bytes were served", server.served.Load())
	}
	if left := p.staging(); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// An interrupted pull says so, installs nothing, and goes on.
func TestPullInterrupted(t *testing.T) {
	var server lockstep
	server.hold.Store(8 << 20)
	p := newPulling(t, localplatform.Options{Packages: demoPackages(t)}, server.wrap)
	server.root = p.store.Root()
	cmd := exec.Command(os.Args[0], "pull", p.platform.Models()[0].ID, "-as", "sorted")
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "as much is there as is served", func() bool { return server.onDisk() == server.hold.Load() })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(out.String(), "the same command goes on") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	server.hold.Store(0)
	server.served.Store(0)
	p.want(exitOK, "installed sorted", "going on at", "pull", p.platform.Models()[0].ID, "-as", "sorted")
	if n := server.served.Load(); n > 19<<20 {
		t.Errorf("%d bytes were served afterwards", n)
	}
	p.whole("sorted")
}

// On a full disk, a pull says so before it begins, and while it writes.
func TestPullDiskFull(t *testing.T) {
	p := newPulling(t, localplatform.Options{Packages: demoPackages(t)}, nil)
	limited := fmt.Sprintf("ulimit -f %d; exec \"$0\" \"$@\"", 4<<10)
	cmd := exec.Command("sh", "-c", limited, os.Args[0], "pull", p.platform.Models()[0].ID, "-as", "sorted")
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitDisk || !strings.Contains(string(out), "choose another folder") {
		t.Errorf("%v: %s", err, out)
	}
	p.want(exitOK, "installed sorted", "", "pull", p.platform.Models()[0].ID, "-as", "sorted")
	p.whole("sorted")
}
