//go:build unix

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
	"cubby/models"
)

// slowly hands bodies on in small pieces, each when the one before has gone, and
// counts them: little is counted that nobody reads.
type slowly struct {
	http.ResponseWriter
	served *atomic.Int64
	pause  time.Duration
}

const piece = 128 << 10

func (s slowly) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b)
	if all := s.served.Add(int64(n)); all/piece != (all-int64(n))/piece {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		time.Sleep(s.pause)
	}
	return n, err
}

func paced(served *atomic.Int64, pause time.Duration) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(slowly{w, served, pause}, r) })
	}
}

// Two processes that pull the same model do it once.
func TestPullTwice(t *testing.T) {
	var served atomic.Int64
	packages := demoPackages(t)
	p := newPulling(t, localplatform.Options{Packages: packages}, paced(&served, time.Millisecond))
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
	if info, err := os.Stat(filepath.Join(packages, "demo", "gguf.tar")); err != nil || served.Load() > info.Size()*11/10 {
		t.Errorf("%d bytes were served", served.Load())
	}
	if left := p.staging(); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// An interrupted pull says so, installs nothing, and goes on.
func TestPullInterrupted(t *testing.T) {
	var served atomic.Int64
	p := newPulling(t, localplatform.Options{Packages: demoPackages(t)}, paced(&served, 5*time.Millisecond))
	cmd := exec.Command(os.Args[0], "pull", p.platform.Models()[0].ID, "-as", "sorted")
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); served.Load() < 8<<20 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its code is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(out.String(), "the same command goes on") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	served.Store(0)
	p.want(exitOK, "installed sorted", "going on at", "pull", p.platform.Models()[0].ID, "-as", "sorted")
	if served.Load() > 24<<20 {
		t.Errorf("%d bytes were served afterwards", served.Load())
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
