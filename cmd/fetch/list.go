package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"cubby/internal/platform"

	"github.com/urfave/cli/v3"
)

// defaultListed is how many models are listed: each SLM costs two requests more.
const defaultListed = 50

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the models on distil labs' platform",
		Flags: append(platformFlags(),
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
			&cli.IntFlag{Name: "n", Value: defaultListed, Usage: "list the newest `COUNT`; 0 for all"},
		),
		Action: p.listPlatform, OnUsageError: usageFailed,
	}
}

func (p *program) listPlatform(ctx context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return usagef("list takes no arguments; the models of the store: fetch ls")
	}
	if c.Int("n") < 0 {
		return usagef("-n is how many models to list, 0 for all; not %d", c.Int("n"))
	}
	a, err := newAccount(c)
	if err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	list, err := client.List(ctx)
	if err != nil {
		return err
	}
	shown := list
	if n := c.Int("n"); n > 0 {
		shown = list[:min(n, len(list))]
	}
	unknown := client.DetailAll(ctx, shown)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.Bool("json") {
		return errors.Join(p.printModelsJSON(shown), unknown)
	}
	err = p.printModels(shown)
	if rest := len(list) - len(shown); rest > 0 {
		fmt.Fprintf(p.stdout, "and %d older ones: fetch list -n 0\n", rest)
	}
	return errors.Join(err, unknown)
}

func (p *program) printModels(list []platform.Model) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tCREATED\tSTATUS\tACCURACY")
	for _, m := range list {
		created, accuracy := "-", "-"
		if !m.Created.IsZero() {
			created = m.Created.Local().Format(time.DateOnly)
		}
		if m.Accuracy != nil {
			accuracy = fmt.Sprintf("%.3f", *m.Accuracy)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, orDash(m.Name, m.Alias), created, orDash(string(m.Status)), accuracy)
	}
	return w.Flush()
}

// orDash is the first text that there is.
func orDash(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return "-"
}

// modelJSON is a line of fetch list -json; scripts read it.
type modelJSON struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	Alias    string     `json:"alias,omitempty"`
	Kind     string     `json:"kind"`
	Created  *time.Time `json:"created,omitempty"`
	Status   string     `json:"status,omitempty"`
	Accuracy *float64   `json:"accuracy,omitempty"`
}

func (p *program) printModelsJSON(list []platform.Model) error {
	out := []modelJSON{}
	for _, m := range list {
		j := modelJSON{ID: m.ID, Name: m.Name, Alias: m.Alias, Kind: m.Family.String(), Status: string(m.Status), Accuracy: m.Accuracy}
		if !m.Created.IsZero() {
			j.Created = &m.Created
		}
		out = append(out, j)
	}
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
