package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"cubby/internal/pull"
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
		if e.Err != nil {
			fmt.Fprintf(w, "%s\t\t\t\tdamaged\t%s\n", orDash(e.Name), e.Digest)
			continue
		}
		name := e.Name
		if name == "" {
			name = e.Version()
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", name, len(e.Manifest.Labels), size(e.Manifest), mebibytes(e.Derived), kind(e.Manifest), e.Digest)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if left := pull.CountPartials(p.store); left.Count > 0 {
		fmt.Fprintf(p.stdout, "partial downloads: %d, %s, last written %s; the same fetch pull goes on with one, fetch rm -partial clears them\n",
			left.Count, mebibytes(left.Size), left.Last.Local().Format(time.DateTime))
	}
	return p.listBases()
}

// kind is what the package held, and the type that its weights were rounded to.
func kind(m *models.Manifest) string {
	if q := m.Source.Quantized; q != nil {
		return string(m.Source.Kind) + " " + q.To
	}
	return string(m.Source.Kind)
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
	for _, ref := range refs {
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	all := len(refs) == 0
	if all {
		entries, err := p.store.List()
		if err != nil {
			return err
		}
		for _, e := range entries {
			switch {
			case e.Name != "":
				refs = append(refs, e.Name)
			case e.Manifest != nil:
				refs = append(refs, e.Version())
			default:
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
	switch {
	case all && len(refs) == 0:
		fmt.Fprintln(p.stdout, "the store holds no models")
	case all:
		fmt.Fprintf(p.stdout, "%d models checked, %d damaged\n", len(refs), len(errs))
	}
	return errors.Join(errs...)
}
