// Package realserver runs real inference servers for tests: llama.cpp's
// llama-server and Ollama, each on a free port of this machine and with a store of
// its own, killed when the test ends. A test skips with the reason where the
// environment does not name the program.
package realserver

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// LlamaServerVariable and OllamaVariable name the programs.
	LlamaServerVariable = "CUBBY_TEST_LLAMA_SERVER"
	OllamaVariable      = "CUBBY_TEST_OLLAMA"
	// startTimeout bounds how long a server takes from start to ready.
	startTimeout = 5 * time.Minute
	// tailBytes is how much of a server's log a failure quotes.
	tailBytes = 4 << 10
)

// Server is a server that runs, or was killed.
type Server struct {
	URL string

	program   string
	args, env []string
	ready     string // path that answers 200 when it is

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  *tail
}

// Require returns the program that the variable names, or skips the test. Call it
// first where a test has other work to do before it starts the server.
func Require(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s does not name a program", variable)
	}
	if _, err := exec.LookPath(path); err != nil {
		t.Skipf("%s: %v", variable, err)
	}
	return path
}

// start runs it and waits until it is ready.
func start(t testing.TB, s *Server) *Server {
	t.Helper()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", s.program, s.log)
		}
	})
	s.Restart(t)
	return s
}

// Restart starts a killed server again, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.log, s.done = new(tail), make(chan struct{})
	s.cmd = exec.Command(s.program, s.args...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.WaitDelay = time.Second // what it started may hold its streams
	ownGroup(s.cmd)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait() // how it ends is the test's business
		close(done)
	}(s.cmd, s.done)
	s.await(t)
}

func (s *Server) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		if resp, err := http.Get(s.URL + s.ready); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.done:
			t.Fatalf("%s ended before it was ready", s.program)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s was not ready within %v", s.program, startTimeout)
		}
	}
}

// Kill ends the server and what it started at once, as kill -9 does, and waits
// until it is gone.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.kill()
}

func (s *Server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	killGroup(s.cmd)
	<-s.done
}

// freeAddr returns an address of this machine on which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
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

func (t *tail) String() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.end))
}
