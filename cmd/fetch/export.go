package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"cubby/models"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

func (p *program) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a model of the store as a tar, which fetch import takes on another machine", ArgsUsage: "NAME|NAME@DIGEST FILE.tar|-",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "replace a file that is there"}},
		Action: p.export, OnUsageError: usageFailed,
	}
}

func (p *program) export(ctx context.Context, c *cli.Command) error {
	if c.NArg() != 2 {
		return usagef("export takes a model and a file, - for the standard output: fetch export NAME FILE.tar")
	}
	ref, file := c.Args().Get(0), c.Args().Get(1)
	if err := checkRef(ref); err != nil {
		return err
	}
	x, err := p.exportTo(ctx, ref, file, c.Bool("force"))
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already: choose another name, or -force replaces a file", file)
	}
	if err != nil {
		return err
	}
	told := p.stdout
	if file == "-" {
		told, file = p.stderr, "FILE.tar"
	}
	fmt.Fprintf(told, "exported %s: %s, %s\nelsewhere: fetch import %s -name %s\n", x.Manifest.Name, mebibytes(x.Size), x.Digest, file, x.Manifest.Name)
	return nil
}

func (p *program) exportTo(ctx context.Context, ref, file string, force bool) (models.Exported, error) {
	if file != "-" {
		return p.store.ExportFile(ctx, ref, file, force)
	}
	if f, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return models.Exported{}, usagef("a tar would go to the terminal: name a file, or redirect the output")
	}
	return p.store.Export(ctx, ref, p.stdout)
}
