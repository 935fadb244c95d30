package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"cubby/internal/download"
	"cubby/internal/hub"
	"cubby/internal/pull"
	"cubby/models/importer"

	"github.com/urfave/cli/v3"
)

func clientFlag() cli.Flag {
	return &cli.StringFlag{Name: "client", Usage: "`FILE` with the prompt, a model_client.py, when the package has none or another one is to be used"}
}

func answerFlag() cli.Flag {
	return &cli.StringFlag{Name: "answer", Usage: "how the model writes a label: `FORM` is bare, tagged, json or json:KEY", DefaultText: "found out, and compared with what the model writes"}
}

func baseFlag() cli.Flag {
	return &cli.StringFlag{Name: "base", Usage: "`FOLDER` of the base model, for a package that holds only an adapter, or, with -keep-adapter, its GGUF file", DefaultText: "from Hugging Face's cache, else downloaded from the hub"}
}

const keepAdapter = "keep-adapter"

func keepAdapterFlag() cli.Flag {
	return &cli.BoolFlag{Name: keepAdapter, Usage: "keep the adapter beside its base, which models of one base share, for the engine llama, which needs fetch runtime; it is merged otherwise"}
}

func offlineFlag() cli.Flag {
	return &cli.BoolFlag{Name: "offline", Usage: "download nothing from the Hugging Face hub, as with HF_HUB_OFFLINE=1"}
}

func offline(c *cli.Command) bool { return c.Bool("offline") || hub.Offline() }

// hubClient is the hub as the user's environment names it.
func hubClient(say func(string)) (*hub.Client, error) {
	o, err := hub.FromEnvironment()
	if err != nil {
		return nil, usageError{err}
	}
	o.Wait = func(d time.Duration) {
		if say != nil {
			say(fmt.Sprintf("the hub asks to wait %v", d.Round(time.Second)))
		}
	}
	client, err := hub.New(o)
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// remoteBases brings base models of adapters from the hub.
func (p *program) remoteBases(c *cli.Command, progress download.Progress, say func(string)) importer.Bases {
	return pull.Bases{
		Client: func() (*hub.Client, error) { return hubClient(say) },
		Store:  p.store, Offline: offline(c), Progress: progress, Say: say,
	}
}

// pullHub is fetch pull of a repo of the Hugging Face hub.
func (p *program) pullHub(ctx context.Context, c *cli.Command, checks importer.Checks) error {
	ref, err := hub.ParseRef(c.Args().First())
	if err != nil {
		return usageError{err}
	}
	if c.IsSet("files") {
		return usagef("-files keeps what the platform has beside a package; what a repo of the hub has is in the model's folder: fetch pull %s", ref)
	}
	if offline(c) {
		return usagef("nothing is downloaded with -offline, or with HF_HUB_OFFLINE set: fetch pull %s needs the hub", ref)
	}
	quantize, err := p.quantization(c)
	if err != nil {
		return err
	}
	asJSON := c.Bool("json")
	progress := p.renderer(asJSON)
	say := p.sayAfter(progress)
	if asJSON {
		say = nil
	}
	client, err := hubClient(say)
	if err != nil {
		return err
	}
	before, err := p.pointers()
	if err != nil {
		return err
	}
	res, err := pull.FromHub(ctx, pull.HubOptions{
		Client: client, Store: p.store, Ref: ref, Again: c.Bool("again"), Progress: progress, Say: say,
		Import: importer.Options{
			Name: c.String("as"), Job: c.String("job"), Client: c.String("client"), Answer: c.String("answer"), Start: p.start(p.store.Root()),
			Base: c.String("base"), Bases: importer.HubCache{}, Remote: p.remoteBases(c, progress, say), Checks: checks, KeepAdapter: c.Bool(keepAdapter), Convert: toGGUF, Quantize: quantize,
		},
	})
	_ = progress.Close() // it shows nothing any more
	if err != nil {
		return err
	}
	return p.report(c, res, wayBack(before, res.Manifest.Name, res.Digest))
}

// listBases prints the base models that the store keeps, if there are any.
func (p *program) listBases() error {
	bases, err := pull.ListBases(p.store)
	if err != nil || len(bases) == 0 {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nBASE MODEL\tSIZE\tCOMMIT")
	for _, b := range bases {
		fmt.Fprintf(w, "%s\t%s\t%s\n", hub.Ref{Repo: b.Repo}, mebibytes(b.Size()), b.Commit)
	}
	return w.Flush()
}

// removeBase removes a base model that was kept for adapters.
func (p *program) removeBase(ctx context.Context, text string) error {
	ref, err := hub.ParseRef(text)
	if err != nil {
		return usageError{err}
	}
	if ref.File != "" || ref.Rev != "" {
		return usagef("of the hub's models, the store keeps whole bases: fetch rm %s", hub.Ref{Repo: ref.Repo})
	}
	if err := pull.RemoveBase(ctx, p.store, ref.Repo, func(line string) { fmt.Fprintln(p.stderr, line) }); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "removed %s\n", hub.Ref{Repo: ref.Repo})
	return nil
}
