package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cubby/internal/download"
	"cubby/internal/hub"
	"cubby/internal/pull"
	"cubby/internal/rounding"
	"cubby/models"

	"github.com/urfave/cli/v3"
)

func (p *program) pullCommand() *cli.Command {
	return &cli.Command{
		Name: "pull", Usage: "download a trained model from distil labs' platform, or from the Hugging Face hub, and install it", ArgsUsage: "ID|NAME|hf.co/ORG/REPO[/FILE][@REVISION]",
		Description: "Interrupted, even by a crash, the same command goes on where it stopped.",
		Flags: append(append(append(platformFlags(), checkFlags()...), packageFlags()...),
			&cli.StringFlag{Name: "as", Usage: "`NAME` of the model in the store", DefaultText: "the platform's name for it, or the beginning of its id"},
			&cli.BoolFlag{Name: "again", Usage: "download and install anew what is installed, or could not be imported"},
		),
		Action: p.pull, OnUsageError: usageFailed,
	}
}

// packageFlags are those of every command that downloads a package from the platform.
func packageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "job", Usage: "`FILE` with the labels, when the platform does not give job_description.json"},
		clientFlag(), answerFlag(), baseFlag(), keepAdapterFlag(), offlineFlag(), quantizeFlag(),
		&cli.StringFlag{Name: "files", Usage: "keep the files beside the package in `FOLDER`: job description, config, client, and test set and predictions where they cost nothing"},
		&cli.BoolFlag{Name: "json", Usage: "print progress and result as lines of JSON"},
	}
}

func (p *program) pull(ctx context.Context, c *cli.Command) error {
	if c.NArg() != 1 {
		return usagef("pull takes the id or the name of one model, not %d: fetch list shows them", c.NArg())
	}
	if err := checkPull(c); err != nil {
		return err
	}
	if hub.IsRef(c.Args().First()) {
		checks, err := p.checks(c)
		if err != nil {
			return err
		}
		return p.pullHub(ctx, c, checks)
	}
	o, progress, err := p.pulling(c)
	if err != nil {
		return err
	}
	before, err := p.pointers()
	if err != nil {
		return err
	}
	o.Model, o.Name, o.Again = c.Args().First(), c.String("as"), c.Bool("again")
	res, err := pull.Pull(ctx, o)
	_ = progress.Close() // it shows nothing any more
	if err != nil {
		return err
	}
	return p.report(c, res, wayBack(before, res.Manifest.Name, res.Digest))
}

// pulling is what the flags say of a pull from the platform, and what shows it.
func (p *program) pulling(c *cli.Command) (o pull.Options, progress download.Renderer, err error) {
	checks, err := p.checks(c)
	if err != nil {
		return o, nil, err
	}
	quantize, err := p.quantization(c)
	if err != nil {
		return o, nil, err
	}
	a, err := newAccount(c)
	if err != nil {
		return o, nil, err
	}
	client, err := a.client()
	if err != nil {
		return o, nil, err
	}
	progress = p.renderer(c.Bool("json"))
	say := p.sayAfter(progress)
	if c.Bool("json") {
		say = nil
	}
	return pull.Options{
		Client: client, Store: p.store, Job: c.String("job"), Prompt: c.String("client"), Answer: c.String("answer"), Base: c.String("base"),
		Remote: p.remoteBases(c, progress, say), KeepAdapter: c.Bool(keepAdapter),
		Files: c.String("files"), Start: p.start(p.store.Root()), Checks: checks, Convert: toGGUF, Quantize: quantize, Progress: progress, Say: say,
	}, progress, nil
}

// report says what was pulled, for people or for scripts; before is the version that the
// name pointed to, empty where it pointed to none or still does.
func (p *program) report(c *cli.Command, res pull.Result, before string) error {
	for _, w := range res.Warnings {
		fmt.Fprintln(p.stderr, "warning:", w)
	}
	if c.Bool("json") {
		p.replayed(res.Replay, res.Manifest.Replay, io.Discard)
		line := pulledLine(res)
		if before != "" {
			line.RollBack = "fetch use " + before
		}
		return p.printJSON(line)
	}
	if err := p.judge.Write(p.stdout); err != nil {
		return err
	}
	p.pulled(res, before, repeated(c))
	return nil
}

// sayAfter prints lines that do not mix with progress.
func (p *program) sayAfter(progress download.Renderer) func(string) {
	return func(line string) {
		_ = progress.Close()
		fmt.Fprintln(p.stderr, line)
	}
}

// checkPull finds out before the download what would stop the import.
func checkPull(c *cli.Command) error {
	if err := checkAnswer(c); err != nil {
		return err
	}
	if c.IsSet("as") {
		if err := models.ValidName(c.String("as")); err != nil {
			return usageError{err}
		}
		if c.String("as") == models.DemoName {
			return usagef("the name %q belongs to the built-in model: choose another", models.DemoName)
		}
	}
	for _, name := range []string{"job", "client", "base"} {
		if file := c.String(name); file != "" {
			if _, err := os.Stat(file); err != nil {
				return usagef("-%s: %w", name, err)
			}
		}
	}
	return nil
}

// renderer shows progress on the standard error output, where it mixes with no
// result; as JSON it is part of the result.
func (p *program) renderer(asJSON bool) download.Renderer {
	if asJSON {
		return download.NewJSON(p.stdout)
	}
	if f, ok := p.stderr.(*os.File); ok {
		return download.NewRenderer(f, false)
	}
	return download.NewLines(p.stderr)
}

// testFile is the test set among files that were kept, empty where there is none.
func testFile(files []string) string {
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "test.") {
			return f
		}
	}
	return ""
}

// pulled says what is there now and what to do with it.
func (p *program) pulled(res pull.Result, before, flags string) {
	m := &res.Manifest
	if res.Already {
		fmt.Fprintf(p.stdout, "%s is installed already, and there is no other version of it: %d labels, %s, %s\nto download it anew: fetch pull %s%s -again\n",
			m.Name, len(m.Labels), size(m), res.Digest, res.Model.ID, flags)
	} else {
		fmt.Fprintf(p.stdout, "installed %s: %d labels, %s, %s\n", m.Name, len(m.Labels), size(m), res.Digest)
		if m.Source.Note != "" {
			fmt.Fprintln(p.stdout, "note:", m.Source.Note)
		}
	}
	p.sayBack(before)
	p.replayed(res.Replay, m.Replay, p.stdout)
	for _, f := range res.Files {
		fmt.Fprintln(p.stdout, "kept", f)
	}
	if test := testFile(res.Files); test != "" {
		fmt.Fprintf(p.stdout, "next: classify eval -model %s -data %s\n", m.Name, test)
	}
	fmt.Fprintf(p.stdout, "next: classify-server -model %s\n", m.Name)
}

// resultJSON is the last line of fetch pull -json, and of fetch upgrade -json; scripts
// read it.
type resultJSON struct {
	Event    string      `json:"event"`
	Name     string      `json:"name"`
	Artifact string      `json:"artifact"`
	Model    string      `json:"model"`
	Kind     models.Kind `json:"kind"`
	Labels   int         `json:"labels"`
	Bytes    int64       `json:"bytes"`
	Files    []string    `json:"files,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
	Note     string      `json:"note,omitempty"`
	Replay   any         `json:"replay,omitempty"`

	Quantized *models.Quantized `json:"quantized,omitempty"`
	Decision  *rounding.Report  `json:"quantization,omitempty"` // of -quantize auto
	RollBack  string            `json:"roll_back,omitempty"`    // where the name pointed to another model
	// Of an upgrade.
	Previous       string   `json:"previous,omitempty"` // artifact
	Added          []string `json:"labels_added,omitempty"`
	Removed        []string `json:"labels_removed,omitempty"`
	Accuracy       *float64 `json:"accuracy,omitempty"`
	AccuracyBefore *float64 `json:"accuracy_before,omitempty"`
}

func pulledLine(res pull.Result) resultJSON {
	m := &res.Manifest
	line := resultJSON{
		Event: "installed", Name: m.Name, Artifact: res.Digest.String(), Model: res.Model.ID, Kind: m.Source.Kind, Labels: len(m.Labels),
		Files: res.Files, Warnings: res.Warnings, Note: m.Source.Note, Quantized: m.Source.Quantized,
	}
	if res.Already {
		line.Event = "already_installed"
	}
	for _, f := range m.Files {
		line.Bytes += f.Size
	}
	switch {
	case res.Replay != nil:
		line.Replay = res.Replay
	case m.Replay != nil:
		line.Replay = m.Replay
	}
	return line
}

func (p *program) printJSON(line resultJSON) error {
	line.Decision = p.judge.Decision()
	return json.NewEncoder(p.stdout).Encode(line)
}
