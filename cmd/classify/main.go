// Command classify sorts text into a model's labels from a terminal: one text,
// whole files, and the evaluation and benchmark of a model on labelled rows.
// The model runs in this process, or on a classify-server with -server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"cubby/internal/interrupt"
	"cubby/internal/load"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // the model, the server or a file failed
	exitUsage       = 2   // the command line makes no sense
	exitPartial     = 3   // some texts got an error for an answer
	exitInterrupted = 130 // SIGINT or SIGTERM
)

func main() {
	load.Worker()
	os.Exit(run(interrupt.Context(exitInterrupted), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, key: os.Getenv("CUBBY_API_KEY"), load: loadModel}
	return p.run(ctx, args)
}

// errPartial ends a run whose output already holds the errors it speaks of.
var errPartial = errors.New("some texts got no answer")

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// exitCode maps the outcome of a run, nil or not.
func exitCode(ctx context.Context, err error) int {
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		return exitInterrupted
	case usage:
		return exitUsage
	case errors.Is(err, errPartial):
		return exitPartial
	}
	return exitFailed
}
