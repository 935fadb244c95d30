package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"cubby/internal/hub"
	"cubby/models"

	"github.com/urfave/cli/v3"
)

// list prints the store as a table.
func (p *program) list(_ context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return usagef("ls takes no arguments")
	}
	entries, err := p.store.List()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tLABELS\tSIZE\tPACKED\tKIND\tARTIFACT")
	for _, e := range entries {
		name := e.Name
		if name == "" {
			name = "-"
		}
		if e.Err != nil {
			fmt.Fprintf(w, "%s\t\t\t\tdamaged\t%s\n", name, e.Digest)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", name, len(e.Manifest.Labels), size(e.Manifest), mebibytes(e.Derived), e.Manifest.Source.Kind, e.Digest)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return p.listBases()
}

// size is that of all files of a model, for people.
func size(m *models.Manifest) string {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return mebibytes(n)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// verify hashes one model, or all; it goes on behind a damaged one.
func (p *program) verify(_ context.Context, c *cli.Command) error {
	if c.NArg() > 1 {
		return usagef("verify takes one name, or none for all models")
	}
	refs := c.Args().Slice()
	if len(refs) == 0 {
		entries, err := p.store.List()
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name != "" {
				refs = append(refs, e.Name)
			} else {
				refs = append(refs, e.Digest.String())
			}
		}
	}
	var errs []error
	for _, ref := range refs {
		if err := p.store.Verify(ref); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(p.stdout, "%s: every file is as installed\n", ref)
	}
	return errors.Join(errs...)
}

func (p *program) remove(ctx context.Context, c *cli.Command) error {
	if c.NArg() != 1 {
		return usagef("rm takes one name")
	}
	if hub.IsRef(c.Args().First()) {
		return p.removeBase(ctx, c.Args().First())
	}
	return p.store.Remove(c.Args().First())
}
