package llama

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// cancelGrace is what a child has to stop a pass; then it is taken for hung and
	// killed. An operation between two looks at the flag takes far less.
	cancelGrace = 5 * time.Second
	// tailBytes is how much of what a child prints is kept.
	tailBytes = 2 << 10
)

// child is a worker process. One goroutine at a time calls it.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	enc     *gob.Encoder
	sending sync.Mutex // guards enc
	calls   uint64
	replies chan reply
	done    chan struct{} // closed when it has ended and all it said is read
	state   *os.ProcessState
	tail    tail
}

// startChild starts this program as a worker.
func startChild() (*child, error) {
	self := "/proc/self/exe" // also when the file has been replaced since
	if goruntime.GOOS != "linux" {
		var err error
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self), replies: make(chan reply), done: make(chan struct{})}
	c.cmd.Args[0] = os.Args[0]
	c.cmd.Env = append(environment(), workerVariable+"=1")
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.ExtraFiles = &c.tail, &c.tail, []*os.File{w}
	if c.in, err = c.cmd.StdinPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("the engine's process cannot be started: %w", err), r.Close())
	}
	c.enc = gob.NewEncoder(c.in)
	go c.listen(r)
	return c, nil
}

// environment is this process's without its secrets.
func environment() []string {
	var list []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CUBBY_API_KEY=") {
			list = append(list, v)
		}
	}
	return list
}

// listen reads replies until the child ends.
func (c *child) listen(r *os.File) {
	dec := gob.NewDecoder(r)
	for {
		var a reply
		if err := dec.Decode(&a); err != nil {
			break
		}
		c.replies <- a
	}
	c.kill()         // what broke off its answers is of no use any more
	_ = c.cmd.Wait() // its state says how it ended
	c.state = c.cmd.ProcessState
	_ = r.Close()
	close(c.done)
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

// errDied says that the child ended before it had answered.
type errDied struct {
	outside bool // it was killed by a signal that no code of its own sends
	how     string
}

func (e *errDied) Error() string { return "the engine's process died: " + e.how }

// died describes the end of the child, which is done.
func (c *child) died() *errDied {
	e := &errDied{how: c.state.String()}
	if status, ok := c.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.outside = status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM
	}
	if said := c.tail.String(); said != "" {
		e.how += ": " + said
	}
	return e
}

// call sends a request and waits for its reply. When the context ends, the child
// is told to stop, and killed if it does not.
func (c *child) call(ctx context.Context, r request) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	c.calls++
	r.ID = c.calls
	answered := make(chan struct{})
	defer close(answered)
	defer context.AfterFunc(ctx, func() {
		go c.send(request{Verb: toCancel, ID: r.ID}) // fails only where the child has ended
		select {
		case <-time.After(cancelGrace):
			c.kill()
		case <-c.done:
		case <-answered:
		}
	})()
	sent := make(chan error, 1)
	go func() { sent <- c.send(r) }()
	select {
	case a := <-c.replies:
		switch {
		case a.Cancelled && ctx.Err() != nil:
			return a, ctx.Err()
		case a.Err != "":
			return a, errors.New(a.Err)
		}
		return a, nil
	case <-c.done:
		<-sent
		if err := ctx.Err(); err != nil {
			return reply{}, err
		}
		return reply{}, c.died()
	}
}

func (c *child) send(r request) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.enc.Encode(r)
}

// close ends the child: its input does.
func (c *child) close() {
	_ = c.in.Close() // fails only where the child has ended
	select {
	case <-c.done:
	case <-time.After(cancelGrace):
		c.kill()
		<-c.done
	}
}

// tail keeps the first lines of a crash, or the last of what was printed before.
type tail struct {
	mu  sync.Mutex
	end []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if crash := bytes.Index(t.end, []byte("SIGABRT")); crash >= 0 { // Go's traces follow, of no use here
		t.end = t.end[:min(len(t.end), crash+len("SIGABRT"))]
	}
	t.end = bytes.Clone(t.end[max(0, len(t.end)-tailBytes):])
	return len(p), nil
}

// String returns it as one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.end)), " ")
}
