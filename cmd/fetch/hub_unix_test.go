//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/hub/localhub"
	"cubby/models"
)

// The program is killed again and again, whenever some more of the weights has been
// served, and started again, until the model is there: whole, with nothing left
// beside it, and with little downloaded twice.
func TestHubPullKilled(t *testing.T) {
	const step = 3 << 20
	var served atomic.Int64
	p := newPullingHub(t, localhub.Options{Root: oneRepo(t)}, paced(&served, 2*time.Millisecond))
	weights, err := os.Stat(strings.TrimPrefix(demoGGUF(t), "<"))
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	for {
		cmd := exec.Command(os.Args[0], "pull", "hf.co/org/m")
		cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		begun, ended := served.Load(), false
		for !ended {
			select {
			case <-done:
				ended = true
			case <-time.After(time.Millisecond):
				if served.Load()-begun > step {
					_ = cmd.Process.Kill() // it may be done already
					<-done
					ended = true
				}
			}
		}
		if code := cmd.ProcessState.ExitCode(); code == exitOK {
			break
		} else if code > 0 {
			t.Fatalf("it failed without being killed: %s", out.String())
		}
		if kills++; kills > 100 {
			t.Fatal("it never ends")
		}
	}
	if kills < 3 {
		t.Errorf("it was killed %d times", kills)
	}
	// What was on the way when the program died is served twice.
	if most := weights.Size() + int64(kills)*(4<<20); served.Load() > most {
		t.Errorf("%d bytes were served for %d, with %d kills", served.Load(), weights.Size(), kills)
	}
	t.Logf("%d kills; %d bytes served for %d", kills, served.Load(), weights.Size())
	p.whole("m")
}

// A base that is killed on its way goes on where it was, and only then counts as
// there.
func TestHubBaseKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("merges 135 million weights: not in short mode")
	}
	packages := adapterPackages(t)
	var served atomic.Int64
	p := newPullingHub(t, localhub.Options{Root: packages.hub}, paced(&served, time.Millisecond))
	cmd := exec.Command(os.Args[0], "import", packages.adapter, "-name", "a")
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for served.Load() < 100<<20 {
		select {
		case <-done:
			t.Fatalf("it ended early: %s", out.String())
		case <-time.After(time.Millisecond):
		}
	}
	_ = cmd.Process.Kill() // it may be done already
	<-done
	before := served.Load()
	p.want(exitFailure, "", "nothing is downloaded with -offline", "import", packages.adapter, "-name", "a", "-offline")
	listed, _ := p.want(exitOK, "", "", "ls")
	if strings.Contains(listed, "BASE MODEL") {
		t.Error("a base counts as there that is not whole")
	}
	p.want(exitOK, "installed a", "going on at", "import", packages.adapter, "-name", "a")
	if again := served.Load() - before; again > 200<<20 {
		t.Errorf("%d bytes were served after the kill", again)
	}
}
