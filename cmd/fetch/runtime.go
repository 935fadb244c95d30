package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"cubby/internal/libraries"
	"cubby/internal/libraries/install"
	"cubby/models"

	"github.com/urfave/cli/v3"
)

// releasesVariable moves the place where releases of llama.cpp are looked for: to
// a mirror that answers as GitHub's API does.
const releasesVariable = "CUBBY_RELEASES"

// runtimeCommand is fetch runtime: libraries of libllama for the store.
func (p *program) runtimeCommand() *cli.Command {
	return &cli.Command{
		Name: "runtime", Usage: "install the libraries of libllama, for models and devices that the native engine does not know", ArgsUsage: "[FOLDER|ARCHIVE ...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kind", Usage: "`KIND` of device: " + strings.Join(libraries.Kinds(), ", "), DefaultText: "what the archive holds, or what every machine of this system runs"},
			&cli.StringFlag{Name: "from", Usage: "download from `PLACE`: npm (packages of node-llama-cpp, digests known) or upstream (releases of llama.cpp)", DefaultText: "npm where that is installed, else upstream"},
			&cli.StringFlag{Name: "url", Usage: "download the archive at `URL`; needs -sha256"},
			&cli.StringFlag{Name: "sha256", Usage: "`HEX` of the archive at -url"},
			&cli.BoolFlag{Name: "replace", Usage: "install again what is installed and whole"},
			&cli.StringFlag{Name: "releases", Hidden: true, Sources: cli.EnvVars(releasesVariable)},
		},
		Action: p.installRuntime, OnUsageError: usageFailed,
		Commands: []*cli.Command{
			{Name: "ls", Usage: "list the libraries of the store", Action: p.listRuntimes, OnUsageError: usageFailed},
			{Name: "verify", Usage: "hash the files of installed libraries", ArgsUsage: "[NAME]", Action: p.verifyRuntimes, OnUsageError: usageFailed},
			{Name: "rm", Usage: "remove libraries from the store", ArgsUsage: "NAME", Action: p.removeRuntime, OnUsageError: usageFailed},
		},
	}
}

func (p *program) installRuntime(ctx context.Context, c *cli.Command) error {
	opt := install.Options{
		Home: p.store.Root(), Kind: c.String("kind"), Paths: c.Args().Slice(), From: c.String("from"), URL: c.String("url"),
		Replace: c.Bool("replace"), Releases: c.String("releases"), Progress: p.stdout,
	}
	if text := c.String("sha256"); text != "" {
		var err error
		if opt.SHA256, err = models.ParseDigest("sha256:" + strings.TrimPrefix(text, "sha256:")); err != nil {
			return usageError{err}
		}
	}
	if err := opt.Check(); err != nil {
		return usageError{err}
	}
	res, err := install.Install(ctx, opt)
	if err != nil {
		return err
	}
	p.reportRuntime(res)
	return nil
}

// reportRuntime says what is there now, under whose terms, and what to do with it.
func (p *program) reportRuntime(res *install.Result) {
	verb := "installed"
	if res.Already {
		verb = "already installed, every file verified:"
	}
	fmt.Fprintf(p.stdout, "%s %s: llama.cpp %s, %s, %s, %d files, %s\n", verb, res.Name, res.Version, res.Platform(), res.Kind, len(res.Files), mebibytes(res.Size()))
	for _, s := range res.Source {
		known := ""
		if s.Pinned {
			known = ", its digest known to this program"
		}
		fmt.Fprintf(p.stdout, "from %s%s\n", s.From, known)
	}
	fmt.Fprintf(p.stdout, "licence: %s\nin %s\n", res.Licence, res.Folder)
	for _, note := range res.Notes {
		fmt.Fprintln(p.stdout, "note:", note)
	}
	fmt.Fprintln(p.stdout, "next: classify-server -engine llama -model NAME")
}

// listRuntimes prints what is installed as a table.
func (p *program) listRuntimes(_ context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return usagef("runtime ls takes no arguments")
	}
	list, err := libraries.List(p.store.Root())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tPLATFORM\tKIND\tSIZE\tFROM")
	for _, r := range list {
		if r.Err != nil {
			fmt.Fprintf(w, "%s\t\t\tdamaged\t\t\n", r.Name)
			continue
		}
		var from []string
		for _, s := range r.Source {
			from = append(from, s.From)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Version, r.Platform(), r.Kind, mebibytes(r.Size()), strings.Join(from, ", "))
	}
	return w.Flush()
}

// verifyRuntimes hashes one set, or all; it goes on behind a damaged one.
func (p *program) verifyRuntimes(_ context.Context, c *cli.Command) error {
	if c.NArg() > 1 {
		return usagef("runtime verify takes one name, or none for all")
	}
	list, err := libraries.List(p.store.Root())
	if err != nil {
		return err
	}
	var errs []error
	found := false
	for _, r := range list {
		if c.Args().Present() && r.Name != c.Args().First() {
			continue
		}
		found = true
		if err := r.Verify(); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(p.stdout, "%s: every file is as installed\n", r.Name)
	}
	if c.Args().Present() && !found {
		return fmt.Errorf("%w under the name %q", libraries.ErrNone, c.Args().First())
	}
	return errors.Join(errs...)
}

func (p *program) removeRuntime(_ context.Context, c *cli.Command) error {
	if c.NArg() != 1 {
		return usagef("runtime rm takes one name; fetch runtime ls lists them")
	}
	return libraries.Remove(p.store.Root(), c.Args().First())
}
