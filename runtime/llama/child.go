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
	"regexp"
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
	out     chan request // sent in this order
	calls   uint64
	replies chan reply
	done    chan struct{} // closed when it has ended and all it said is read
	state   *os.ProcessState
	tail    tail
}

// startChild starts this program as a worker, which has the files under the
// descriptors behind that of its replies.
func startChild(files ...*os.File) (*child, error) {
	if os.Getenv(workerVariable) != "" {
		return nil, errors.New("this process was started as an engine's child and is none: its program must call llama.Worker first")
	}
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
	c := &child{cmd: exec.Command(self), out: make(chan request), replies: make(chan reply), done: make(chan struct{})}
	c.cmd.Args[0] = os.Args[0]
	c.cmd.Env = append(environment(), workerVariable+"=1")
	c.cmd.Env = append(c.cmd.Env, libraryVariables()...)
	c.cmd.WaitDelay = cancelGrace
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.ExtraFiles = &c.tail, &c.tail, append([]*os.File{w}, files...)
	if c.in, err = c.cmd.StdinPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("the engine's process cannot be started: %w", err), r.Close())
	}
	go c.listen(r)
	go c.send()
	return c, nil
}

// environment is this process's without what may be secret: this program's own
// variables, of which a child needs none, and those that are called so.
func environment() []string {
	var list []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		own := strings.HasPrefix(name, "CUBBY_")
		for _, end := range []string{"KEY", "TOKEN", "SECRET", "PASSWORD"} {
			own = own || strings.HasSuffix(name, end)
		}
		if !own {
			list = append(list, v)
		}
	}
	return list
}

// libraryVariables are those that libllama and what it uses look at.
func libraryVariables() []string {
	// A failed assertion would have a debugger look at the process, for its log.
	list := []string{"GGML_NO_BACKTRACE=1"}
	// Threads of GNU's OpenMP that wait for others spin for a millisecond. Where
	// other programs want the processors, too, these are then lost to all: passes
	// took three to four times as long. This many spins are some ten microseconds.
	const spins = "GOMP_SPINCOUNT"
	if os.Getenv(spins) == "" && os.Getenv("OMP_WAIT_POLICY") == "" {
		list = append(list, spins+"=10000")
	}
	return list
}

// send writes requests until the child ends.
func (c *child) send() {
	enc := gob.NewEncoder(c.in)
	for {
		select {
		case r := <-c.out:
			if err := enc.Encode(r); err != nil {
				c.kill() // what cannot be told anything is of no use any more
				return
			}
		case <-c.done:
			return
		}
	}
}

// ended says whether the child has ended.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
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
	if e.outside {
		e.how += ", as the system does where memory runs out"
	}
	if said := c.tail.String(); said != "" {
		e.how += ": " + said
	}
	return e
}

// call sends a request and waits for its reply. When the context ends, the child
// is told to stop, and killed if it does not: that is a death of its own doing.
func (c *child) call(ctx context.Context, r request) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	c.calls++
	r.ID = c.calls
	select {
	case c.out <- r:
	case <-c.done:
		return reply{}, c.died()
	}
	answered := make(chan struct{})
	hung := make(chan struct{})
	defer close(answered)
	defer context.AfterFunc(ctx, func() {
		select {
		case c.out <- request{Verb: toCancel, ID: r.ID}:
		case <-c.done:
			return
		case <-answered:
			return
		}
		select {
		case <-time.After(cancelGrace):
			close(hung)
			c.kill()
		case <-c.done:
		case <-answered:
		}
	})()
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
		died := c.died()
		select {
		case <-hung:
			return reply{}, &errDied{how: "it hung and was killed"}
		default:
		}
		if err := ctx.Err(); err != nil && died.outside {
			return reply{}, err
		}
		return reply{}, died
	}
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

// tail keeps the last of what was printed, up to the line that tells of a crash.
type tail struct {
	mu      sync.Mutex
	end     []byte
	crashed bool
}

// crashLine is where Go begins to tell of a crash: its name is enough, the traces
// that follow are not.
var crashLine = regexp.MustCompile(`(?m)^(SIG[A-Z]+: .*|fatal error: .*|panic: .*)\n`)

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crashed {
		return len(p), nil
	}
	t.end = append(t.end, p...)
	if at := crashLine.FindIndex(t.end); at != nil {
		t.end, t.crashed = t.end[:at[1]], true
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
