// Command classify-server answers classification requests over HTTP.
//
// Exit codes: 0 stopped and everything accepted was answered; 1 failed: model,
// port, or requests cut while stopping; 2 wrong usage; 3 the engine crashed,
// start it again.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cubby/internal/interrupt"
	"cubby/internal/load"
	"cubby/internal/server"
)

const (
	exitOK = iota
	exitFailed
	exitUsage
	exitEngine
)

func main() {
	load.Worker()
	os.Exit(run(interrupt.Context(exitFailed), os.Args, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr, key: os.Getenv("CUBBY_API_KEY"), started: time.Now()}
	err := p.run(ctx, args)
	code := exitCode(err)
	switch code {
	case exitOK:
	case exitUsage:
		fmt.Fprintf(stderr, "classify-server: %v\nRun \"classify-server -help\" for usage.\n", err)
	default:
		fmt.Fprintf(stderr, "classify-server: %v\n", err)
	}
	return code
}

func exitCode(err error) int {
	_, usage := errors.AsType[*server.UsageError](err)
	switch {
	case err == nil:
		return exitOK
	case usage:
		return exitUsage
	case errors.Is(err, server.ErrEngineDied):
		return exitEngine
	}
	return exitFailed
}
