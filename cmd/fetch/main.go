// Fetch brings trained models, and what runs them, into the local store and looks
// after them there.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"cubby/internal/interrupt"
	"cubby/internal/load"
	"cubby/internal/rounding"
	"cubby/models"
	"cubby/models/importer"

	"github.com/urfave/cli/v3"
)

func main() {
	load.Worker()
	os.Exit(run(interrupt.Context(exitInterrupted), os.Args, os.Stdout, os.Stderr))
}

// run is the program: it returns one of the exit codes.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdin: os.Stdin, stdout: stdout, stderr: stderr, start: load.Starter}
	err := p.command().Run(ctx, args)
	if err != nil {
		fmt.Fprintln(stderr, "fetch:", err)
	}
	return exitCode(ctx, err)
}

// program is one run of the command line.
type program struct {
	stdin          *os.File
	stdout, stderr io.Writer
	store          *models.Store
	// start returns what runs the models that are being imported into a store.
	start func(home string) importer.Starter
	judge rounding.Judge // of -quantize auto
}

// command builds the command line. Flags may stand before or behind the
// arguments.
func (p *program) command() *cli.Command {
	root := p.commands()
	for _, c := range root.Commands {
		c.HideHelpCommand = true // "help" and "h" are names that models can have
	}
	return root
}

func (p *program) commands() *cli.Command {
	return &cli.Command{
		Name:        "fetch",
		Usage:       "bring trained models, and what runs them, into the local store",
		Description: exitCodes,
		Writer:      p.stdout,
		ErrWriter:   p.stderr,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "home", Usage: "folder of the store", Sources: cli.EnvVars(models.HomeVariable), DefaultText: "the user's data folder"},
		},
		Before:         p.openStore,
		Action:         noCommand,
		OnUsageError:   usageFailed,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run turns the error into a code
		Commands: []*cli.Command{
			{
				Name: "import", Usage: "install a downloaded package", ArgsUsage: "FOLDER|TAR",
				Flags: append(checkFlags(),
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the model in the store"},
					&cli.StringFlag{Name: "job", Usage: "`FILE` with the labels, when job_description.json is neither in the package nor beside it"},
					clientFlag(), answerFlag(), baseFlag(), keepAdapterFlag(), offlineFlag(), quantizeFlag(),
				),
				Action: p.importPackage, OnUsageError: usageFailed,
			},
			{Name: "ls", Usage: "list the models of the store", Action: p.list, OnUsageError: usageFailed},
			{Name: "verify", Usage: "hash the files of a model, or of all", ArgsUsage: "[NAME|NAME@DIGEST]", Action: p.verify, OnUsageError: usageFailed},
			p.useCommand(),
			p.removeCommand(),
			p.exportCommand(),
			p.loginCommand(),
			p.logoutCommand(),
			p.listCommand(),
			p.pullCommand(),
			p.upgradeCommand(),
			p.runtimeCommand(),
		},
	}
}

func (p *program) openStore(ctx context.Context, c *cli.Command) (context.Context, error) {
	if home := c.String("home"); home != "" {
		p.store = models.NewStore(home)
		return ctx, nil
	}
	var err error
	p.store, err = models.DefaultStore()
	return ctx, err
}

const commands = "login, logout, list, pull, upgrade, import, export, ls, use, verify, rm and runtime"

func noCommand(_ context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return usagef("unknown command %q: there are %s", c.Args().First(), commands)
	}
	return usagef("no command: there are %s", commands)
}

func (p *program) importPackage(ctx context.Context, c *cli.Command) error {
	if c.NArg() != 1 {
		return usagef("import takes one folder or tar, not %d: fetch import FOLDER|TAR -name NAME", c.NArg())
	}
	if !c.IsSet("name") {
		return usagef("import needs a name for the model: fetch import %s -name NAME", c.Args().First())
	}
	if err := models.ValidName(c.String("name")); err != nil {
		return usageError{err}
	}
	if err := checkAnswer(c); err != nil {
		return err
	}
	checks, err := p.checks(c)
	if err != nil {
		return err
	}
	quantize, err := p.quantization(c)
	if err != nil {
		return err
	}
	before, err := p.pointers()
	if err != nil {
		return err
	}
	progress := p.renderer(false)
	res, err := importer.Import(ctx, p.store, importer.Options{
		Path: c.Args().First(), Name: c.String("name"), Job: c.String("job"), Client: c.String("client"), Answer: c.String("answer"), Start: p.start(p.store.Root()),
		Base: c.String("base"), Bases: importer.HubCache{}, Remote: p.remoteBases(c, progress, p.sayAfter(progress)), Checks: checks, KeepAdapter: c.Bool(keepAdapter), Convert: toGGUF,
		Quantize: quantize,
	})
	_ = progress.Close() // it shows nothing any more
	if err != nil {
		return err
	}
	for _, w := range res.Warnings {
		fmt.Fprintln(p.stderr, "warning:", w)
	}
	if err := p.judge.Write(p.stdout); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "installed %s: %d labels, %s, %s\n", res.Manifest.Name, len(res.Manifest.Labels), size(&res.Manifest), res.Digest)
	if note := res.Manifest.Source.Note; note != "" {
		fmt.Fprintln(p.stdout, "note:", note)
	}
	p.sayBack(wayBack(before, res.Manifest.Name, res.Digest))
	p.replayed(res.Replay, res.Manifest.Replay, p.stdout)
	fmt.Fprintf(p.stdout, "next: classify-server -model %s\n", res.Manifest.Name)
	return nil
}

// checkAnswer refuses a form of answers that there is not.
func checkAnswer(c *cli.Command) error {
	if !c.IsSet("answer") {
		return nil
	}
	if _, err := importer.ParseForm(c.String("answer")); err != nil {
		return usageError{fmt.Errorf("-answer: %w", err)}
	}
	return nil
}
