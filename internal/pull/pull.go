// Package pull brings a trained model from the platform into the store: it
// downloads the package, imports it, and removes the download when that is done.
//
// The download lies in a folder of the store's staging area that belongs to one
// model of one platform. An interrupted pull leaves it behind, and the next one of
// the same model goes on with it.
package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cubby/internal/download"
	"cubby/internal/platform"
	"cubby/models"
	"cubby/models/importer"
)

// Options say what to pull, and how.
type Options struct {
	Client *platform.Client
	Store  *models.Store
	Model  string           // id, name or alias on the platform
	Name   string           // in the store; empty for one made of the platform's
	Job    string           // file with the labels, where the platform has none
	Answer string           // how the model writes a label; empty to find out
	Prompt string           // file with the prompt, which goes before the package's model_client.py
	Base   string           // folder of an adapter's base model, or its GGUF file
	Remote importer.Bases   // downloads a base model that is not on this machine; nil: nobody
	Files  string           // folder for the files beside the package; empty: they are not kept
	Again  bool             // although it is installed, and from the first byte
	Start  importer.Starter // runs the model that is being imported

	Checks   importer.Checks    // how the model is held against the platform's figures
	Convert  importer.Converter // of weights that no engine reads as they are
	Quantize importer.Quantization

	KeepAdapter bool // beside its base, and not merged
	AnyLabels   bool // an upgrade may exchange all of them

	accept func(*models.Manifest) error // refuses a model that the name may not point to; nil: none

	Progress download.Progress // nil: nobody watches
	Say      func(string)      // hears in a line what is being done; nil: nobody
}

// Result is what the store holds now.
type Result struct {
	Model    platform.Model
	Already  bool // it was installed before
	Digest   models.Digest
	Manifest models.Manifest
	Replay   *importer.Replay // nil where nothing was run
	Files    []string         // written to Options.Files
	Warnings []string
}

// puller is one call of Pull.
type puller struct {
	Options
	model   platform.Model
	pack    *platform.Package
	version version
	work    *work
	docs    []document
	res     Result
}

// Pull brings a model into the store. Errors say what to do next.
func Pull(ctx context.Context, o Options) (res Result, err error) {
	p := &puller{Options: o}
	if err := p.find(ctx); err != nil {
		return res, interrupted(ctx, err)
	}
	if p.work, err = enter(ctx, o.Store, o.Client.URL(), p.model, p.say); err != nil {
		return res, interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, p.work.leave()) }()
	err = p.pull(ctx)
	return p.res, interrupted(ctx, err)
}

// interrupted says what an interruption leaves.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("interrupted, with nothing installed; the same command goes on where this one stopped: %w", ctx.Err())
}

func (p *puller) say(format string, args ...any) {
	if p.Say != nil {
		p.Say(fmt.Sprintf(format, args...))
	}
}

func (p *puller) warn(format string, args ...any) {
	p.res.Warnings = append(p.res.Warnings, fmt.Sprintf(format, args...))
}

// find asks the platform for the model, whether it is trained, and which version
// of its package there is.
func (p *puller) find(ctx context.Context) (err error) {
	c := p.Client
	if p.model, err = c.Find(ctx, p.Model); err != nil {
		return err
	}
	if p.model.Status == platform.StatusUnknown && (p.model.Family == platform.SLM || p.model.Training != "") {
		p.model.Status, err = c.Status(ctx, p.model)
		if err != nil && !absent(err) {
			return err
		}
	}
	if err := trained(p.model); err != nil {
		return err
	}
	if p.pack, err = c.Package(ctx, p.model); err != nil {
		return err
	}
	p.version, err = ask(ctx, c.URL(), p.pack.Archive)
	p.res.Model = p.model
	return err
}

// trained refuses a model that has no package, or not yet. A status that nobody
// knows is none: the platform refuses the package itself.
func trained(m platform.Model) error {
	switch m.Status {
	case platform.StatusUnknown, platform.StatusSuccess:
		return nil
	case platform.StatusFailure, platform.StatusStopped:
		return fmt.Errorf("model %s cannot be pulled: its training ended with the status %s; the platform's console tells why: train it again, or choose another one: fetch list", m.ID, m.Status)
	case platform.StatusNotStarted:
		return fmt.Errorf("model %s cannot be pulled: its training has not begun (status %s); start it on the platform, then run the same command again", m.ID, m.Status)
	}
	return fmt.Errorf("model %s cannot be pulled yet: its training is not done (status %s); wait until fetch list shows success, then run the same command again", m.ID, m.Status)
}

// absent reports whether the platform has no such thing, or not yet.
func absent(err error) bool {
	return errors.Is(err, platform.NotFound) || errors.Is(err, platform.Gone) || errors.Is(err, platform.NotReady)
}

// pull is what is done while no other process pulls the same model.
func (p *puller) pull(ctx context.Context) error {
	from := source(p.model, p.version)
	e, err := p.installed(from)
	if err != nil {
		return err
	}
	if e != nil && !p.Again {
		if p.accept != nil {
			if err := p.accept(e.Manifest); err != nil {
				return err
			}
		}
		if err := use(p.Store, e); err != nil {
			return err
		}
		p.res.Already, p.res.Digest, p.res.Manifest = true, e.Digest, *e.Manifest
		if p.Files != "" {
			if err := p.readDocuments(ctx); err != nil {
				return err
			}
		}
		return errors.Join(p.writeFiles(), p.work.clear())
	}
	name, err := p.name()
	if err != nil {
		return err
	}
	if err := p.work.keepOnly(from, p.Again); err != nil {
		return stored(err)
	}
	if err := p.work.room(p.version.size); err != nil {
		return err
	}
	if err := p.readDocuments(ctx); err != nil {
		return err
	}
	for _, d := range p.docs {
		if err := os.WriteFile(filepath.Join(p.work.dir, d.name), d.data, 0o644); err != nil {
			return stored(err)
		}
	}
	d := download.Downloader{Client: platform.NewHTTP(), Progress: p.Progress}
	file := download.File{Name: from, URL: p.pack.Archive.URL, Renew: p.pack.Archive.RenewURL, Size: p.version.size}
	if _, err := d.Fetch(ctx, p.work.dir, []download.File{file}); err != nil {
		return err
	}
	if err := p.install(ctx, name, from); err != nil {
		return err
	}
	return errors.Join(p.writeFiles(), p.work.clear())
}

// install imports what was downloaded.
func (p *puller) install(ctx context.Context, name, from string) error {
	p.say("importing %s", name)
	view, err := p.work.view()
	if err != nil {
		return stored(err)
	}
	res, err := importer.Import(ctx, view, importer.Options{
		Path: filepath.Join(p.work.dir, from), Name: name, Job: p.Job, Client: p.Prompt, Answer: p.Answer, Start: p.Start, Checks: p.Checks, Convert: p.Convert, Quantize: p.Quantize, Accept: p.accept,
		Base: p.Base, Bases: importer.HubCache{}, Remote: p.Remote, KeepAdapter: p.KeepAdapter,
	})
	if err == nil {
		p.res.Digest, p.res.Manifest, p.res.Replay = res.Digest, res.Manifest, res.Replay
		p.res.Warnings = append(p.res.Warnings, res.Warnings...)
		return nil
	}
	if refused, _ := errors.AsType[*importer.ArchiveError](err); refused != nil && !download.Full(err) && ctx.Err() == nil {
		return errors.Join(fmt.Errorf("%w; it was removed: run the same command again, and tell distil labs if this stays", err), p.work.clear())
	}
	if download.Full(err) {
		return stored(err)
	}
	return fmt.Errorf("%w; the download is kept for the next fetch pull of this model; -again downloads anew", err)
}
