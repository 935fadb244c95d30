// Package interrupt turns SIGINT and SIGTERM into the end of a context.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Context returns a context that the first signal ends. A second one ends the
// process at once with the given code, however soon it follows the first.
func Context(code int) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(code)
	}()
	return ctx
}
