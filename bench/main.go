// Command bench compares Cubby with other ways to run the same student, in one
// run, on the same texts, with clients that send one text a call:
//
//	go run ./bench -model banking -data texts.csv -test test.csv -seqcls banking-seqcls \
//	    -markdown docs/benchmark.md -json docs/benchmark.json
//
// Peers are found through flags, CUBBY_BENCH_* variables and PATH: llama-server,
// ollama with its helpers beside it, a folder with the libraries of llama.cpp,
// and a python with torch and transformers. One that is not there, or fails, is
// left out, and the table says why.
//
// Every system is warmed up with the labelled rows of -test, which also give
// its accuracy. Then, for each number of clients, all systems are measured in
// turn, -rounds times over, each when the machine is quiet.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"cubby/internal/interrupt"
	"cubby/internal/load"
	"cubby/internal/machine"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const (
	// defaultDuration is for how long a system is measured with one number of
	// clients, all rounds together.
	defaultDuration = 10 * time.Second
	defaultRounds   = 2
	// defaultPatience is how long a turn waits for other programs to end.
	defaultPatience = 30 * time.Second
	// defaultContext is how many tokens of prompt, text and answer a sequence of
	// a peer has room for.
	defaultContext = 1024
)

func main() {
	load.Worker()
	ctx := interrupt.Context(exitInterrupted)
	if len(os.Args) == 4 && os.Args[1] == workerCommand {
		os.Exit(work(os.Args[2], os.Args[3], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// config is what the flags say. It travels to worker processes as JSON.
type config struct {
	Model, Home string
	Data, Test  string
	Threads     int

	Clients  []int
	Duration time.Duration
	Rounds   int
	Patience time.Duration
	Systems  []string // their keys; none for all

	LlamaServer string // program
	Ollama      string // program
	Libllama    string // folder of libraries
	Python      string // program
	Seqcls      string // model, a sequence classifier
	Slots       int
	Context     int

	Markdown, JSON string // files to write
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var err error
	cfg := &config{}
	command := &cli.Command{
		Name: "bench", Usage: "compare Cubby with other engines on the same texts",
		Flags: cfg.flags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if err = cfg.check(cmd.Args().Slice()); err == nil {
				err = cfg.run(ctx, stdout, stderr)
			}
			return nil
		},
		OnUsageError:    func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err },
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		HideHelpCommand: true, Writer: stdout, ErrWriter: stderr,
	}
	if bad := command.Run(ctx, args); bad != nil {
		err = usageError{bad}
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "bench: %v\n", err)
	_, usage := errors.AsType[usageError](err)
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case usage:
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func (c *config) flags() []cli.Flag {
	env := cli.EnvVars
	return []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "compare on this model: a `NAME` in the store, a folder or a GGUF file", Sources: env("CUBBY_MODEL"), Destination: &c.Model},
		&cli.StringFlag{Name: "home", Usage: "`FOLDER` of the model store", Sources: env("CUBBY_HOME"), Destination: &c.Home},
		&cli.StringFlag{Name: "data", Usage: "send the texts of `FILE`, CSV or JSONL; those of -test if not given", TakesFile: true, Destination: &c.Data},
		&cli.StringFlag{Name: "test", Usage: "warm up with the labelled rows of `FILE`, and report the accuracy on them", TakesFile: true, Destination: &c.Test},
		&cli.IntFlag{Name: "threads", Usage: "compute with `N` threads in every system; 0 for one a core", Destination: &c.Threads},
		&cli.IntSliceFlag{Name: "clients", Usage: "measure with each `N` callers at once, one text a call", Value: []int{1, 8, 32}, Destination: &c.Clients},
		&cli.DurationFlag{Name: "duration", Usage: "measure each system and number of clients for `TIME`", Value: defaultDuration, Destination: &c.Duration},
		&cli.IntFlag{Name: "rounds", Usage: "split that time into `N` turns", Value: defaultRounds, Destination: &c.Rounds},
		&cli.DurationFlag{Name: "patience", Usage: "wait up to `TIME` for a quiet machine before a turn; with 0 disturbed ones count as well", Value: defaultPatience, Destination: &c.Patience},
		&cli.StringSliceFlag{Name: "systems", Usage: "compare `SYSTEM` only, of: " + strings.Join(keys(), ", "), Destination: &c.Systems},
		&cli.StringFlag{Name: "llama-server", Usage: "`PROGRAM` llama-server", Value: "llama-server", Sources: env("CUBBY_BENCH_LLAMA_SERVER"), Destination: &c.LlamaServer},
		&cli.StringFlag{Name: "ollama", Usage: "`PROGRAM` ollama", Value: "ollama", Sources: env("CUBBY_BENCH_OLLAMA"), Destination: &c.Ollama},
		&cli.StringFlag{Name: "libllama", Usage: "`FOLDER` of libllama, libggml and its backends", Sources: env("CUBBY_BENCH_LIBLLAMA"), Destination: &c.Libllama},
		&cli.StringFlag{Name: "python", Usage: "`PROGRAM` python that has torch and transformers", Value: "python3", Sources: env("CUBBY_BENCH_PYTHON"), Destination: &c.Python},
		&cli.StringFlag{Name: "seqcls", Usage: "run transformers on this `MODEL`, a sequence classifier of the same labels", Destination: &c.Seqcls},
		&cli.IntFlag{Name: "slots", Usage: "`N` parallel sequences of llama-server and Ollama; 0 for one a client", Destination: &c.Slots},
		&cli.IntFlag{Name: "context", Usage: "`N` tokens of context for each of a peer's sequences", Value: defaultContext, Destination: &c.Context},
		&cli.StringFlag{Name: "markdown", Usage: "write the tables to `FILE` and not to standard output", TakesFile: true, Destination: &c.Markdown},
		&cli.StringFlag{Name: "json", Usage: "write all figures to `FILE`", TakesFile: true, Destination: &c.JSON},
	}
}

// check refuses values that cannot be meant, and fills in what was left to choose.
func (c *config) check(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	if c.Data == "" && c.Test == "" {
		return usagef("there are no texts: name a file with -data or -test")
	}
	if len(c.Clients) == 0 {
		return usagef("-clients names no number")
	}
	for _, f := range []struct {
		name         string
		value, least int
	}{
		{"threads", c.Threads, 0}, {"rounds", c.Rounds, 1}, {"slots", c.Slots, 0}, {"context", c.Context, 1},
		{"clients", slices.Min(c.Clients), 1}, {"duration", int(c.Duration), 1}, {"patience", int(c.Patience), 0},
	} {
		if f.value < f.least {
			return usagef("-%s must be at least %d", f.name, f.least)
		}
	}
	for _, key := range c.Systems {
		if !slices.Contains(keys(), key) {
			return usagef("-systems %q: expected some of %s", key, strings.Join(keys(), ", "))
		}
	}
	if c.Slots == 0 {
		c.Slots = slices.Max(c.Clients)
	}
	if c.Threads == 0 {
		c.Threads = machine.This().Cores
	}
	return nil
}

// run compares and writes.
func (c *config) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	s, err := openStudent(c)
	if err != nil {
		return err
	}
	b := &bench{config: c, student: s, log: stderr}
	if err := b.readTexts(); err != nil {
		return err
	}
	b.report = newReport(b)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	return c.write(b.report, stdout)
}

func (c *config) write(r *report, stdout io.Writer) error {
	if c.JSON != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.JSON, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	if c.Markdown != "" {
		return os.WriteFile(c.Markdown, []byte(r.markdown()), 0o644)
	}
	_, err := io.WriteString(stdout, r.markdown())
	return err
}
