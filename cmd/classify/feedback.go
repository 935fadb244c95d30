package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"cubby/internal/feedback"
)

func (p *program) feedbackFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "rows as `FORMAT` messages, question or traces", Value: feedback.Messages, Local: true, Destination: &p.format},
	}
}

// feedback writes training rows to the standard output.
func (p *program) feedback(_ context.Context, args []string) error {
	if len(args) != 1 {
		return usagef("feedback takes the file of classify-server -feedback, not %d arguments", len(args))
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(p.stdout)
	written, textless, err := feedback.Export(out, f, p.model, p.format)
	if err = errors.Join(err, out.Flush(), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	fmt.Fprintf(p.stderr, "%d rows; %d more came without their text\n", written, textless)
	return nil
}
