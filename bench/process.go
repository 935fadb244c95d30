package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds how long a system takes from start to ready.
	startTimeout = 2 * time.Minute
	// stopTimeout is what a process has to end on its own.
	stopTimeout = 10 * time.Second
	// tailBytes is how much of a process's log an error quotes.
	tailBytes = 1 << 10
)

// process is a child that runs a system.
type process struct {
	name string
	cmd  *exec.Cmd
	log  tail
	done chan struct{} // closed when it has ended
}

// startProcess starts a program with variables added to this process's own.
// The caller may connect its standard streams first, with connect.
func startProcess(program string, args, env []string, connect func(*exec.Cmd) error) (*process, error) {
	p := &process{name: program, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.log
	if connect == nil {
		p.cmd.Stdout = &p.log
	} else if err := connect(p.cmd); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // whether it ended well shows in what it answered
		close(p.done)
	}()
	return p, nil
}

// Close asks the process to end, and after a while makes it.
func (p *process) Close() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, p.cmd.Process.Kill())
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		return p.cmd.Process.Kill()
	}
}

// ready waits until url answers 200.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if err := get(ctx, url); err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended before it was ready: %s", &p.log)
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w: %s", ctx.Err(), &p.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// freeAddr returns an address of this machine on which nobody listens.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	end []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	t.end = bytes.Clone(t.end[max(0, len(t.end)-tailBytes):])
	return len(p), nil
}

// String returns the last lines as one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.end)), " ")
}

// startListening starts a program that listens where it is told to, and returns
// its URL.
func startListening(program string, with func(host, port string) (args, env []string)) (*process, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	args, env := with(host, port)
	p, err := startProcess(program, args, env, nil)
	return p, "http://" + addr, err
}

// notThere says how to name a program that cannot be run.
func notThere(flag, variable string, err error) error {
	return fmt.Errorf("not installed: name it with -%s or %s (%w)", flag, variable, err)
}
