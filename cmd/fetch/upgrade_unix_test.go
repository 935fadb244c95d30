//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
	"cubby/internal/testenv"
	"cubby/models"
)

// Of two upgrades at once one does it, and both say so; what it has downloaded so far
// is shown, and stays when partial downloads are cleared.
func TestUpgradeTwice(t *testing.T) {
	packages := demoPackages(t)
	var server lockstep
	p := newPulling(t, localplatform.Options{Packages: packages}, server.wrap)
	server.root = p.store.Root()
	first := p.platform.Models()[0]
	p.want(exitOK, "installed sorted", "", "pull", first.ID, "-as", "sorted")
	before := p.digest("sorted")
	retrained(t, packages, "next", "0.9", "a", "b")
	p.platform.Retrain(first, localplatform.Retrained{Task: "next", Created: first.Created.Add(time.Hour)})
	server.served.Store(0)
	server.hold.Store(8 << 20)
	ends := make(chan error)
	for range 2 {
		cmd := exec.Command(os.Args[0], "upgrade", "sorted")
		cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			ends <- err
		}()
	}
	testenv.Until(t, "as much is there as is served", func() bool { return server.onDisk() == server.hold.Load() })
	p.want(exitOK, "partial downloads: 1, 8.0 MiB", "", "ls")
	p.want(exitOK, "removed 0 partial downloads, 0.0 MiB\n1 stay: a pull is running", "", "rm", "-partial")
	server.hold.Store(0)
	for range 2 {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	if list, err := p.store.Versions("sorted"); err != nil || len(list) != 2 || list[1].Digest.String() != before {
		t.Errorf("%v, %v", list, err)
	}
	if info, err := os.Stat(filepath.Join(packages, "next", "gguf.tar")); err != nil || server.served.Load() > info.Size()+8 { // and single bytes, to ask for the version
		t.Errorf("%d bytes were served", server.served.Load())
	}
	p.whole("sorted")
}
