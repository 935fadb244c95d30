package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"cubby/internal/hub"
	"cubby/internal/pull"
	"cubby/models"

	"github.com/urfave/cli/v3"
)

func (p *program) useCommand() *cli.Command {
	return &cli.Command{
		Name: "use", Usage: "list the versions of a model, or let its name point to another one", ArgsUsage: "NAME|NAME@DIGEST",
		Description: "Of a digest the first 6 hex digits are enough, where only one version has them.",
		Action:      p.use, OnUsageError: usageFailed,
	}
}

func (p *program) removeCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove a model, or one version of it, from the store", ArgsUsage: "NAME|NAME@DIGEST",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "remove the earlier versions of the name as well"},
			&cli.BoolFlag{Name: "partial", Usage: "remove what interrupted pulls have downloaded"},
		},
		Action: p.remove, OnUsageError: usageFailed,
	}
}

// checkRef refuses what looks like NAME@DIGEST and is not.
func checkRef(ref string) error {
	if strings.Contains(ref, "@") {
		if _, _, err := models.SplitVersion(ref); err != nil {
			return usageError{err}
		}
	}
	return nil
}

func (p *program) use(_ context.Context, c *cli.Command) error {
	if c.NArg() != 1 {
		return usagef("use takes one NAME, whose versions it lists, or one NAME@DIGEST")
	}
	ref := c.Args().First()
	if !strings.Contains(ref, "@") {
		return p.listVersions(ref)
	}
	if err := checkRef(ref); err != nil {
		return err
	}
	now, before, err := p.store.Use(ref)
	if err != nil {
		return err
	}
	name := now.Called()
	if before == now.Digest {
		fmt.Fprintf(p.stdout, "%s points to %s already\n", name, now.Digest)
		return nil
	}
	fmt.Fprintf(p.stdout, "%s points to %s now: %d labels, %s, from %s\n", name, now.Digest, len(now.Manifest.Labels), size(now.Manifest), now.Manifest.Source.From)
	if (before != models.Digest{}) {
		fmt.Fprintf(p.stdout, "back: fetch use %s\n", models.VersionOf(name, before))
	}
	fmt.Fprintln(p.stdout, "a server that runs keeps the version that it started with")
	return nil
}

// listVersions prints what a name can point to.
func (p *program) listVersions(name string) error {
	if err := models.ValidName(name); err != nil {
		return usageError{err}
	}
	list, err := p.store.Versions(name)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tIN USE\tINSTALLED\tLABELS\tSIZE\tSOURCE\tARTIFACT")
	for _, e := range list {
		used, installed := "-", "-"
		if e.Name != "" {
			used = "yes"
		}
		if !e.Installed.IsZero() {
			installed = e.Installed.Local().Format(time.DateTime)
		}
		if e.Err != nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t\t\tdamaged\t%s\n", e.Version(), used, installed, e.Digest)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", e.Version(), used, installed, len(e.Manifest.Labels), size(e.Manifest), orDash(e.Manifest.Source.From), e.Digest)
	}
	return w.Flush()
}

func (p *program) remove(ctx context.Context, c *cli.Command) error {
	if c.Bool("partial") {
		if c.Args().Present() || c.Bool("all") {
			return usagef("rm -partial takes no name: it removes what interrupted pulls have downloaded")
		}
		return p.removePartials(ctx)
	}
	if c.NArg() != 1 {
		return usagef("rm takes one name")
	}
	ref := c.Args().First()
	if hub.IsRef(ref) {
		return p.removeBase(ctx, ref)
	}
	if err := checkRef(ref); err != nil {
		return err
	}
	remove := p.store.Remove
	if c.Bool("all") {
		if err := models.ValidName(ref); err != nil {
			return usagef("rm -all takes a name: %w", err)
		}
		remove = p.store.RemoveAll
	}
	removed, err := remove(ref)
	for _, e := range removed {
		what := e.Called()
		if what == "" {
			what = "a model without a name"
		}
		fmt.Fprintf(p.stdout, "removed %s: %s\n", what, e.Digest)
	}
	return err
}

func (p *program) removePartials(ctx context.Context) error {
	cleared, running, err := pull.ClearPartials(ctx, p.store)
	fmt.Fprintf(p.stdout, "removed %d partial downloads, %s\n", cleared.Count, mebibytes(cleared.Size))
	if running > 0 {
		fmt.Fprintf(p.stdout, "%d stay: a pull is running\n", running)
	}
	return err
}
