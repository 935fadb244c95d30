package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"cubby/internal/hub"
	"cubby/internal/pull"
	"cubby/models"
	"cubby/models/importer"

	"github.com/urfave/cli/v3"
)

func (p *program) upgradeCommand() *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "install the new training of a model beside it, and let its name point to that", ArgsUsage: "NAME [ID]",
		Description: "Without ID, the platform tells which model is the new training, or which ones may be. The version before stays: fetch use NAME@DIGEST goes back to it.",
		Flags: append(append(append(platformFlags(), checkFlags()...), packageFlags()...),
			&cli.BoolFlag{Name: anyLabels, Usage: "upgrade although no label stays, as to the model of another task"}),
		Action: p.upgrade, OnUsageError: usageFailed,
	}
}

func (p *program) upgrade(ctx context.Context, c *cli.Command) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return usagef("upgrade takes the name of a model in the store, and the id of the new one if you know it, not %d arguments: fetch upgrade NAME [ID]", c.NArg())
	}
	name := c.Args().Get(0)
	if err := models.ValidName(name); err != nil {
		return usageError{err}
	}
	for _, ref := range c.Args().Slice() {
		if hub.IsRef(ref) {
			return usagef("upgrade asks distil labs' platform; from the Hugging Face hub: fetch pull %s -as %s", ref, name)
		}
	}
	if err := checkPull(c); err != nil {
		return err
	}
	list, err := p.store.Versions(name)
	if err != nil {
		return err
	}
	if m := list[0].Manifest; c.NArg() == 1 && m != nil {
		if ref, err := hub.ParseRef(m.Source.From); err == nil {
			ref.Rev = ""
			return fmt.Errorf("%s came from the Hugging Face hub: fetch pull %s -as %s%s; -job, -client, -answer and -base are to be repeated where it was pulled with them",
				name, ref, name, hubFlags(c, m))
		}
	}
	o, progress, err := p.pulling(c)
	if err != nil {
		return err
	}
	o.Name, o.Model, o.AnyLabels = name, c.Args().Get(1), c.Bool(anyLabels)
	if m := list[0].Manifest; m != nil && !c.IsSet("quantize") {
		o.Quantize.Scheme = importer.SchemeOf(*m)
	}
	if m := list[0].Manifest; m != nil && m.Adapter != "" {
		o.KeepAdapter = true
	}
	u, err := pull.Upgrade(ctx, o)
	_ = progress.Close() // it shows nothing any more
	if err != nil {
		return err
	}
	p.sayLabels(u)
	if c.Bool("json") {
		for _, w := range u.Warnings {
			fmt.Fprintln(p.stderr, "warning:", w)
		}
		p.replayed(u.Replay, u.Manifest.Replay, io.Discard)
		return p.upgradedJSON(u)
	}
	if err := p.judge.Write(p.stdout); err != nil {
		return err
	}
	p.upgraded(u)
	return nil
}

const anyLabels = "any-labels"

// hubFlags are the flags that were given, and those that the manifest tells of.
func hubFlags(c *cli.Command, m *models.Manifest) string {
	flags := repeated(c, platformName, "files")
	if scheme := importer.SchemeOf(*m); scheme != "" && !c.IsSet("quantize") {
		flags += " -quantize " + string(scheme)
	}
	if m.Adapter != "" && !c.IsSet(keepAdapter) {
		flags += " -" + keepAdapter
	}
	return flags
}

// sayLabels is loud: what is behind the model has to know every label.
func (p *program) sayLabels(u pull.Upgraded) {
	for _, change := range []struct {
		what   string
		labels []string
	}{{"ADDED", u.Added}, {"REMOVED", u.Removed}} {
		if len(change.labels) > 0 {
			fmt.Fprintf(p.stderr, "LABELS %s: %s\n", change.what, strings.Join(change.labels, ", "))
		}
	}
}

func (p *program) upgraded(u pull.Upgraded) {
	name := u.Manifest.Name
	if !u.Changed() {
		fmt.Fprintf(p.stdout, "%s is the newest: %d labels, %s, %s, of the platform's model %s\n", name, len(u.Manifest.Labels), size(&u.Manifest), u.Digest, u.Model.ID)
		return
	}
	for _, w := range u.Warnings {
		fmt.Fprintln(p.stderr, "warning:", w)
	}
	fmt.Fprintf(p.stdout, "upgraded %s: %d labels, %s, %s, of the platform's model %s\n", name, len(u.Manifest.Labels), size(&u.Manifest), u.Digest, u.Model.ID)
	if u.Accuracy != nil {
		fmt.Fprintf(p.stdout, "accuracy on the platform: %.3f%s\n", *u.Accuracy, accuracyBefore(u))
	}
	p.replayed(u.Replay, u.Manifest.Replay, p.stdout)
	for _, f := range u.Files {
		fmt.Fprintln(p.stdout, "kept", f)
	}
	fmt.Fprintf(p.stdout, "back: %s\na server that runs keeps the version that it started with\n", rollBack(u))
}

func accuracyBefore(u pull.Upgraded) string {
	if u.AccuracyBefore == nil {
		return ""
	}
	return fmt.Sprintf(", before %.3f", *u.AccuracyBefore)
}

func rollBack(u pull.Upgraded) string {
	return "fetch use " + models.VersionOf(u.Manifest.Name, u.Before.Digest)
}

// upgradedJSON is the last line of fetch upgrade -json: that of a pull, and what
// changed.
func (p *program) upgradedJSON(u pull.Upgraded) error {
	line := pulledLine(u.Result)
	line.Event = "already_installed"
	if u.Changed() {
		line.Event, line.Previous, line.RollBack = "upgraded", u.Before.Digest.String(), rollBack(u)
	}
	line.Added, line.Removed, line.Accuracy, line.AccuracyBefore = u.Added, u.Removed, u.Accuracy, u.AccuracyBefore
	return p.printJSON(line)
}
