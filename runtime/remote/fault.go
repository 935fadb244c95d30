package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"cubby/runtime/engine"
)

// Fault is a kind of failure. Each has one way to react and one thing to do.
type Fault int

const (
	Unreachable Fault = iota + 1 // nobody listens there, or the connection broke
	Busy                         // too much waits there, or the model is still loading
	Broken                       // it failed on its side
	Slow                         // no answer in time
	Memory                       // it has not enough memory for the model
	Missing                      // it does not have the model, or not any more
	Denied                       // it wants another API key
	Refused                      // it does not take the question
	Unreadable                   // its answer is not what such a server says
	Unaskable                    // the sequence cannot be put to this server
)

// faults says of each what to do, after the name of the server.
var faults = map[Fault]struct{ is, do string }{
	Unreachable: {"cannot be reached", "start it, or correct its address"},
	Busy:        {"is busy, or still loading", "let it run more side by side, ask for less at once, or try again later"},
	Broken:      {"failed", "its log says why; restart it if that goes on"},
	Slow:        {"did not answer in time", "look whether it hangs or computes for others, or allow a longer timeout"},
	Memory:      {"has not enough memory for the model", "give it less context or fewer slots, or stop other models there"},
	Missing:     {"does not have the model", "put it there again, or correct its name"},
	Denied:      {"refuses the API key", "give the key that it was started with"},
	Refused:     {"refuses the question", "its version may be too old for this program; its log may say more"},
	Unreadable:  {"gives an answer that cannot be read", "check that its address is not another program's, and its version"},
	Unaskable:   {"cannot be asked about this text", "send the text without it"},
}

// Error is why a server gave no answer.
type Error struct {
	Fault  Fault
	Server string // "llama-server at http://127.0.0.1:8080"
	// Status is the HTTP status; 0 where there was none.
	Status int
	// Message is what the server said, or what was wrong with what it said.
	Message string
	// Said is the body that came with the status.
	Said []byte
	// Do is what to do about it; empty for what helps with the fault in general.
	Do string
	// After is how long the server asks to wait; 0 where it does not.
	After time.Duration
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	f := faults[e.Fault]
	fmt.Fprintf(&b, "%s %s", e.Server, f.is)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	do := f.do
	if e.Do != "" {
		do = e.Do
	}
	return b.String() + ": " + do
}

func (e *Error) Unwrap() error { return e.Err }

// passing says whether the same question may get an answer a moment later.
func (e *Error) passing() bool {
	return e.Fault == Unreachable || e.Fault == Busy || e.Fault == Broken
}

// general says whether other questions would fail alike. A failure or a lack of
// time may be one text's own.
func (e *Error) general() bool {
	switch e.Fault {
	case Unreachable, Busy, Memory, Missing, Denied:
		return true
	}
	return false
}

// contracted makes of a failure what the engine contract knows: that the server is
// not there, so that the same pass may succeed later, or that the text cannot be
// asked.
func contracted(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Fault {
	case Unreachable, Busy, Broken, Slow, Memory, Missing:
		return &engine.UnavailableError{Err: e}
	case Unaskable:
		return &engine.RefusedError{Err: e}
	}
	return err
}

// As finds an *Error in err, whatever clients have wrapped around it, or makes one
// of a failure that has none.
func As(err error, server string) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var timed net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timed) && timed.Timeout() {
		return &Error{Fault: Slow, Server: server}
	}
	return &Error{Fault: Unreadable, Server: server, Err: err}
}
