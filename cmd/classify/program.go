package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"cubby/internal/load"
	"cubby/internal/rows"
	"cubby/models"
)

const description = `Texts on the command line are answered for reading; -json and -data answer
with one JSON object a line. A lone "-" reads rows from standard input.
Put "--" before a text that begins with a dash.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some texts got no answer (their
errors are in the output), 130 interrupted.`

// program is one run: its streams, its flags, and how it gets a model.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	key            string // of the server
	load           loader

	model, server string
	local         load.Options // of a model in this process
	scoring, data string
	json          bool

	topK int // classify

	predictions, platform string // eval
	reports               []string
	texts                 bool
	hourly                string // price
	commandLine           string

	maxError, confidence float64 // policy
	dryRun               bool    // policy, calibrate
	accept               bool    // gate
	format               string  // feedback

	train, cache string // compare
	shots        int
	prices       []string

	clients, batch, passes int // bench
	duration               time.Duration

	engines string // agree
}

// action is a command's body.
type action func(ctx context.Context, args []string) error

// run parses, runs one action, and reports its outcome. What the parser itself
// finds wrong is wrong usage.
func (p *program) run(ctx context.Context, args []string) int {
	var err error
	p.commandLine = strings.Join(args, " ")
	command := p.command(func(ctx context.Context, cmd *cli.Command, do action) {
		if err = p.check(cmd); err == nil {
			err = do(ctx, cmd.Args().Slice())
		}
	})
	if bad := command.Run(ctx, args); bad != nil {
		err = usageError{bad}
	}
	code := exitCode(ctx, err)
	switch code {
	case exitOK:
	case exitInterrupted:
		fmt.Fprintln(p.stderr, "classify: interrupted")
	case exitUsage:
		fmt.Fprintf(p.stderr, "classify: %v\nRun \"classify -help\" for usage.\n", err)
	default:
		fmt.Fprintf(p.stderr, "classify: %v\n", err)
	}
	return code
}

// check refuses flag values and combinations that no command can mean.
func (p *program) check(cmd *cli.Command) error {
	switch models.Scoring(p.scoring) {
	case "", models.Constrained, models.Likelihood, models.Head:
	default:
		return usagef("-scoring %q: expected constrained or likelihood", p.scoring)
	}
	if p.server != "" {
		for _, f := range p.local.Flags() {
			if name := f.Names()[0]; givenAsFlag(cmd, name) {
				return usagef("-%s is of no use with -server: the model runs there", name)
			}
		}
	}
	if err := p.local.Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// command builds the command tree; do runs the chosen action.
func (p *program) command(do func(context.Context, *cli.Command, action)) *cli.Command {
	act := func(a action) cli.ActionFunc {
		return func(ctx context.Context, cmd *cli.Command) error {
			do(ctx, cmd, a)
			return nil
		}
	}
	usage := func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err }
	root := &cli.Command{
		Name:        "classify",
		Usage:       "sort text into a model's labels",
		UsageText:   "classify [flags] \"text\" [more texts]\nclassify [flags] -data FILE\nclassify eval -data FILE [flags]\nclassify bench -data FILE [flags]\nclassify agree -engines LIST -data FILE [flags]\nclassify compare -data FILE [flags] CONTESTANT...\nclassify calibrate|policy|gate -data FILE [flags]\nclassify feedback FILE",
		Description: description,
		Version:     version(),
		Flags: append(p.commonFlags(),
			&cli.IntFlag{Name: "top-k", Usage: "show the `K` best labels; 0 for all, or the best few for reading", Local: true, Destination: &p.topK}),
		Commands: []*cli.Command{
			{
				Name: "eval", Usage: "measure accuracy on labelled rows (columns question,answer)",
				Flags:  p.evalFlags(),
				Action: act(p.eval), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "compare", Usage: "compare models, engines, chat models and a baseline on labelled rows", ArgsUsage: "CONTESTANT...",
				Description: contestantHelp,
				Flags:       p.compareFlags(),
				Action:      act(p.compare), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "calibrate", Usage: "fit a model's probabilities to labelled rows that it was not trained on",
				Flags:  []cli.Flag{p.dryRunFlag()},
				Action: act(p.calibrate), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "policy", Usage: "set the probability below which a person looks at an answer, by how many errors may pass",
				Flags:  p.policyFlags(),
				Action: act(p.policy), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "gate", Usage: "hold a model's answers against those that were accepted before",
				Flags:  p.gateFlags(),
				Action: act(p.gate), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "feedback", Usage: "turn what classify-server -feedback has kept into training rows", ArgsUsage: "FILE",
				Flags:  p.feedbackFlags(),
				Action: act(p.feedback), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "bench", Usage: "measure speed on the texts of a file",
				Flags:  p.benchFlags(),
				Action: act(p.bench), OnUsageError: usage, HideHelpCommand: true,
			},
			{
				Name: "agree", Usage: "compare the answers of several engines on the texts of a file",
				Flags:  p.agreeFlags(),
				Action: act(p.agree), OnUsageError: usage, HideHelpCommand: true,
			},
		},
		Action: act(p.classify), OnUsageError: usage,
		HideHelpCommand: true, EnableShellCompletion: true,
		Reader: p.stdin, Writer: p.stdout, ErrWriter: p.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
	}
	return root
}

// commonFlags are those of every command.
func (p *program) commonFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "model to use: a `NAME` in the store, a folder or a GGUF file; with -server, a name there", Sources: cli.EnvVars("CUBBY_MODEL"), Destination: &p.model},
		&cli.StringFlag{Name: "server", Usage: "ask the classify-server at `URL`; its API key is read from CUBBY_API_KEY", Sources: cli.EnvVars("CUBBY_SERVER"), Destination: &p.server},
		&cli.StringFlag{Name: "data", Usage: "read rows from `FILE`: CSV with a header, or JSONL; - for standard input", TakesFile: true, Destination: &p.data},
		&cli.StringFlag{Name: "scoring", Usage: "`METHOD` constrained or likelihood; the model's own if not given", Destination: &p.scoring},
		&cli.BoolFlag{Name: "json", Usage: "answer in JSON", Destination: &p.json},
	}, p.local.Flags()...)
}

// givenAsFlag reports whether the flag stood on the command line; one from the
// environment is a standing wish, not a contradiction.
func givenAsFlag(cmd *cli.Command, name string) bool {
	return cmd.IsSet(name) && os.Getenv(load.Variable(name)) == ""
}

// ownFile is a file that a model of this machine has with it, of the first of these
// names; empty where there is none.
func (p *program) ownFile(model string, names ...string) string {
	store, err := p.local.Store()
	if err != nil || p.server != "" {
		return ""
	}
	m, err := models.Resolve(store, model)
	if err != nil {
		return "" // opening the model says it
	}
	defer m.Close()
	for _, name := range names {
		if f, ok := m.Manifest.DataFile(name); ok && m.Folder() != "" {
			return filepath.Join(m.Folder(), filepath.FromSlash(f.Path))
		}
	}
	return ""
}

// openRows opens the file of -data; for labelled rows, without it the model's own test
// set.
func (p *program) openRows(need rows.Need) (*rows.Reader, error) {
	if p.data == "" && need == rows.Labeled {
		p.data = p.ownFile(p.model, "test.jsonl", "test.csv")
	}
	if p.data == "" {
		return nil, usagef("-data FILE is missing: the rows to read")
	}
	return rows.Open(p.data, p.stdin, need)
}

// allRows reads the whole file of -data.
func (p *program) allRows(need rows.Need) ([]rows.Row, error) {
	r, err := p.openRows(need)
	if err != nil {
		return nil, err
	}
	list, err := r.ReadAll()
	return list, errors.Join(err, r.Close())
}

// onlyFlags refuses stray arguments of a command that takes none.
func onlyFlags(command string, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument %q; name the file with -data", command, args[0])
	}
	return nil
}

// version is the module's, as stamped by the build.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
