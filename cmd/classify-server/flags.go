package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"cubby/internal/feedback"
	"cubby/internal/load"
	"cubby/internal/server"
	"cubby/models"
	"cubby/runtime"
)

const description = `Loads the models, listens, and answers:
   POST /v1/classify   {"input": "text" | ["text", …] | [{"id", "text"}, …]}
   POST /v1/feedback   {"feedback": [{"id", "label"}]}: what was right
   GET  /v1/models     what is served
   GET  /v1/models/NAME/report   the model's last evaluation
   GET  /healthz /readyz /metrics

Without -model it serves the only model in the store, or the built-in demo.
Given several times, all are served; the first answers requests that name none.
They share the threads, and under -memory-budget the memory.
SIGTERM drains: what was accepted is answered. A second signal ends at once.

Exit codes: 0 stopped and everything was answered, 1 failed, 2 wrong usage,
3 the engine crashed.`

// program is one run: its streams and its flags.
type program struct {
	stdout, stderr io.Writer
	key            string // from CUBBY_API_KEY: a key among the arguments would show in process lists
	started        time.Time
	log            *slog.Logger

	addr                       string
	local                      load.Options // what all models have in common
	models                     []string
	memory, cache              string
	logFormat, keyFile         string
	feedback                   string
	batchTokens, queueSize     int
	textTokens                 int
	maxBody                    int64
	requestTimeout, drainDelay time.Duration
}

// run parses the arguments and serves.
func (p *program) run(ctx context.Context, args []string) error {
	var err error
	command := &cli.Command{
		Name: "classify-server", Usage: "serve a classification model over HTTP", Description: description,
		Flags: p.flags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			err = p.serve(ctx, cmd.Args().Slice())
			return nil
		},
		OnUsageError:    func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err },
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		HideHelpCommand: true, EnableShellCompletion: true, Writer: p.stdout, ErrWriter: p.stderr,
	}
	if bad := command.Run(ctx, args); bad != nil {
		return server.Usage("%v", bad)
	}
	return err
}

func (p *program) flags() []cli.Flag {
	env := cli.EnvVars
	return append([]cli.Flag{
		&cli.StringFlag{Name: "addr", Usage: "listen on `HOST:PORT`; beyond this machine only with an API key", Value: server.DefaultAddr, Sources: env("CUBBY_ADDR"), Destination: &p.addr},
		&cli.StringSliceFlag{Name: "model", Usage: "serve this model: a `NAME` in the store, a folder or a GGUF file; NAME=MODEL serves it under another name; may be repeated, or list several with commas", Sources: env("CUBBY_MODEL"), Destination: &p.models},
		&cli.StringFlag{Name: "memory-budget", Usage: "keep weights and prompts of the models within `SIZE`, such as 2GiB: they are loaded on demand and the least recently used go first; 0 for no bound", Value: "0", Sources: env("CUBBY_MEMORY_BUDGET"), Destination: &p.memory},
		&cli.StringFlag{Name: "cache", Usage: "keep answers in `SIZE` of memory, such as 64MiB, for texts that come again; 0 keeps none", Value: "0", Sources: env("CUBBY_CACHE"), Destination: &p.cache},
		&cli.IntFlag{Name: "batch-tokens", Usage: "spend at most `N` tokens on one pass", Value: runtime.DefaultBatchTokens, Sources: env("CUBBY_BATCH_TOKENS"), Destination: &p.batchTokens},
		&cli.IntFlag{Name: "queue-tokens", Usage: "admit at most `N` tokens at once; more is refused with 503", Value: runtime.DefaultQueueTokens, Sources: env("CUBBY_QUEUE_TOKENS"), Destination: &p.queueSize},
		&cli.IntFlag{Name: "max-text-tokens", Usage: "cut, or refuse, a text behind `N` tokens; 0 for what the model's context holds", Value: server.DefaultTextTokens, Sources: env("CUBBY_MAX_TEXT_TOKENS"), Destination: &p.textTokens},
		&cli.Int64Flag{Name: "max-body", Usage: "read request bodies of at most `N` bytes; more is refused with 413", Value: server.DefaultMaxBody, Sources: env("CUBBY_MAX_BODY"), Destination: &p.maxBody},
		&cli.DurationFlag{Name: "request-timeout", Usage: "give up a request after this `TIME`", Value: server.DefaultRequestTimeout, Sources: env("CUBBY_REQUEST_TIMEOUT"), Destination: &p.requestTimeout},
		&cli.DurationFlag{Name: "drain-delay", Usage: "when stopping, serve on for this `TIME` while /readyz already says no", Sources: env("CUBBY_DRAIN_DELAY"), Destination: &p.drainDelay},
		&cli.StringFlag{Name: "api-key-file", Usage: "ask clients for the API key in `FILE`; CUBBY_API_KEY can hold it instead", TakesFile: true, Sources: env("CUBBY_API_KEY_FILE"), Destination: &p.keyFile},
		&cli.StringFlag{Name: "feedback", Usage: "keep what comes to /v1/feedback in `FILE`, with the texts that come with it; without, it is only counted", TakesFile: true, Sources: env("CUBBY_FEEDBACK"), Destination: &p.feedback},
		&cli.BoolFlag{Name: "require-gate", Usage: "serve only models that have passed classify gate as they are, on the engine that computes them here", Sources: env("CUBBY_REQUIRE_GATE"), Destination: &p.local.RequireGate},
		&cli.StringFlag{Name: "log-format", Usage: "log as `FORMAT` text or json, to standard error", Value: "text", Sources: env("CUBBY_LOG_FORMAT"), Destination: &p.logFormat},
	}, p.local.Flags()...)
}

// check refuses values that cannot be meant.
func (p *program) check(args []string) error {
	if len(args) > 0 {
		return server.Usage("unexpected argument %q: the model is named with -model", args[0])
	}
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"batch-tokens", int64(p.batchTokens), 1},
		{"queue-tokens", int64(p.queueSize), 1},
		{"max-text-tokens", int64(p.textTokens), 0},
		{"max-body", p.maxBody, 1},
		{"request-timeout", int64(p.requestTimeout), 1},
		{"drain-delay", int64(p.drainDelay), 0},
	} {
		if f.value < f.least {
			return server.Usage("-%s must be at least %d", f.name, f.least)
		}
	}
	if err := p.local.Check(); err != nil {
		return server.Usage("%v", err)
	}
	return nil
}

func (p *program) serve(ctx context.Context, args []string) error {
	if err := p.check(args); err != nil {
		return err
	}
	log, err := newLogger(p.logFormat, p.stderr)
	if err != nil {
		return err
	}
	key, err := server.ReadKey(p.keyFile, p.key)
	if err != nil {
		return err
	}
	shared, err := p.share()
	if err != nil {
		return err
	}
	defer shared.Close()
	p.log = log
	store, err := p.local.Store()
	if err != nil {
		return err
	}
	options := server.Options{
		MaxBody: p.maxBody, RequestTimeout: p.requestTimeout, DrainDelay: p.drainDelay, APIKey: key, Cache: shared.Cache(), Log: log, Report: store.Report,
	}
	if p.feedback != "" {
		kept, err := feedback.Open(p.feedback)
		if err != nil {
			return err
		}
		defer kept.Close()
		options.Keep = kept.Keep
	}
	return server.Run(ctx, server.Config{
		Options: options,
		Addr:    p.addr, Open: p.open(shared), Out: p.stdout, Started: p.started,
	})
}

// share makes what the models have in common.
func (p *program) share() (*load.Shared, error) {
	memory, err := size("memory-budget", p.memory)
	if err != nil {
		return nil, err
	}
	cache, err := size("cache", p.cache)
	if err != nil {
		return nil, err
	}
	shared, err := load.Share(p.local.Threads, memory, cache)
	if err != nil {
		return nil, server.Usage("%v", err)
	}
	return shared, nil
}

// size reads a number of bytes, with a unit or without.
func size(flag, value string) (int64, error) {
	n, err := humanize.ParseBytes(value)
	if err != nil || n > math.MaxInt64 {
		return 0, server.Usage("-%s %q: expected a size such as 512MiB, 2GiB, or a number of bytes", flag, value)
	}
	return int64(n), nil
}

// open lists what opens the models of -model, or the default one.
func (p *program) open(shared *load.Shared) []func(*server.Metrics) (server.Backend, error) {
	refs := p.models
	if len(refs) == 0 {
		refs = []string{""}
	}
	var list []func(*server.Metrics) (server.Backend, error)
	for _, given := range refs {
		list = append(list, func(m *server.Metrics) (server.Backend, error) {
			name, ref := alias(given)
			o := p.local
			o.BatchTokens, o.QueueTokens, o.TextTokens = p.batchTokens, p.queueSize, p.textTokens
			o.Log, o.Name, o.Observer, o.Shared = p.log, name, m.Observer, shared
			return load.Open(ref, o)
		})
	}
	return list
}

// alias splits NAME=MODEL. What stands before the sign must be a name that a
// model can have: otherwise the whole is a path.
func alias(given string) (name, ref string) {
	name, ref, found := strings.Cut(given, "=")
	if !found || models.ValidName(name) != nil {
		return "", given
	}
	return name, ref
}

func newLogger(format string, w io.Writer) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, server.Usage("-log-format %q: expected text or json", format)
}
