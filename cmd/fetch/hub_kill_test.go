//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/hub/localhub"
	"cubby/internal/testenv"
	"cubby/models"
)

// killAt runs the program until so much of a large file is there, then kills it.
func (p *pullingHub) killAt(server *lockstep, at int64, args ...string) {
	p.t.Helper()
	server.hold.Store(at)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+p.store.Root())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	testenv.Until(p.t, "as much is there as is served", func() bool {
		select {
		case <-done:
			p.t.Fatalf("it ended early: %s", out.String())
		default:
		}
		return server.onDisk() == at
	})
	_ = cmd.Process.Kill() // it waits for more
	<-done
	server.hold.Store(0)
}

// A pull of a large file that is killed again and again goes on where it was, with
// little served twice, until the model is there whole and nothing beside it.
func TestHubPullKilled(t *testing.T) {
	server := lockstep{all: true, parts: []string{"staging", "pull-*", "files"}}
	p := newPullingHub(t, localhub.Options{Root: oneRepo(t)}, server.wrap)
	server.root = p.store.Root()
	kills := int64(0)
	for at := int64(4 << 20); at < 24<<20; at += 5 << 20 {
		p.killAt(&server, at, "pull", "hf.co/org/m")
		kills++
	}
	if _, err := p.store.Open("m"); err == nil {
		t.Error("it is there before it is whole")
	}
	p.want(exitOK, "installed m", "going on at", "pull", "hf.co/org/m")
	size := int64(len(demoWeights(t)))
	if most := size + kills*killCost; server.served.Load() > most {
		t.Errorf("%d bytes were served of %d, with %d kills", server.served.Load(), size, kills)
	}
	p.whole("m")
}

// The base of an adapter whose download is killed goes on where it was, and counts as
// there only when it is whole.
func TestHubBaseKilled(t *testing.T) {
	s := small{hidden: 256, layers: 6, seed: 1}
	root := t.TempDir()
	files := s.base(t)
	writeFolder(t, filepath.Join(root, "org", "Small"), files)
	adapter := filepath.Join(t.TempDir(), "adapter.tar")
	pack := inFolder("model-adapter", s.adapter(t))
	for name, data := range around() {
		pack[name] = data
	}
	writeTar(t, adapter, pack)
	server := lockstep{all: true, parts: []string{"bases", "*", "*"}}
	p := newPullingHub(t, localhub.Options{Root: root}, server.wrap)
	server.root = p.store.Root()
	size := int64(len(files["model.safetensors"]))
	args := []string{"import", adapter, "-name", "a"}
	if size < 4<<20 {
		t.Fatalf("the base has %d bytes: too few for a kill in the middle", size)
	}
	p.killAt(&server, 2<<20, args...)
	p.killAt(&server, 3<<20, args...)
	p.want(exitFailure, "", "nothing is downloaded with -offline", append(args, "-offline")...)
	if out, _ := p.want(exitOK, "", "", "ls"); strings.Contains(out, "BASE MODEL") {
		t.Error("a base counts as there that is not whole")
	}
	p.want(exitOK, "installed a", "going on at", args...)
	if most := size + 2*killCost; server.served.Load() > most {
		t.Errorf("%d bytes were served of %d, with 2 kills", server.served.Load(), size)
	}
	once := server.served.Load()
	p.want(exitOK, "installed b", "", "import", adapter, "-name", "b", "-offline")
	p.want(exitOK, "hf.co/org/Small", "", "ls")
	p.want(exitOK, "", "", "rm", "hf.co/org/Small")
	p.want(exitFailure, "", "keeps no base model", "rm", "hf.co/org/Small")
	if server.served.Load() != once {
		t.Error("the base was downloaded twice")
	}
	if err := p.store.Verify("b"); err != nil {
		t.Error(err)
	}
}
