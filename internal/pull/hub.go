package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cubby/internal/download"
	"cubby/internal/hub"
	"cubby/models"
	"cubby/models/importer"
)

// HubOptions say what to pull from the Hugging Face hub, and how.
type HubOptions struct {
	Client *hub.Client
	Store  *models.Store
	Ref    hub.Ref
	Again  bool // although it is installed, and from the first byte
	// Import is what the import is told. Path and From are not read; an empty Name stands
	// for one made of the repo's.
	Import importer.Options

	Progress download.Progress // nil: nobody watches
	Say      func(string)      // hears in a line what is being done; nil: nobody
}

// hubPuller is one call of FromHub.
type hubPuller struct {
	HubOptions
	at     hub.Commit
	choice hub.Choice
	work   *work
	res    Result
}

// filesName is the folder in the work folder that becomes the package. It is the
// same for all commits of a repo: files that a newer one shares are not downloaded
// again.
const filesName = "files"

// FromHub brings a model of the hub into the store. Errors say what to do next.
func FromHub(ctx context.Context, o HubOptions) (res Result, err error) {
	p := &hubPuller{HubOptions: o}
	if p.at, err = o.Client.Resolve(ctx, o.Ref); err != nil {
		return res, interrupted(ctx, err)
	}
	p.res.Model.ID = p.Ref.String()
	if p.work, err = enterKeyed(ctx, o.Store, "hub\n"+p.at.Repo+"\n"+o.Ref.File, p.say); err != nil {
		return res, interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, p.work.leave()) }()
	err = p.pull(ctx)
	return p.res, interrupted(ctx, err)
}

func (p *hubPuller) say(format string, args ...any) {
	if p.Say != nil {
		p.Say(fmt.Sprintf(format, args...))
	}
}

// from is what the manifest tells of the source: what pulls this very commit again.
func (p *hubPuller) from() string {
	return hub.Ref{Repo: p.at.Repo, File: p.Ref.File, Rev: p.at.SHA}.String()
}

// pull is what is done while no other process pulls the same.
func (p *hubPuller) pull(ctx context.Context) error {
	e, err := installed(p.Store, p.Import.Name, p.from(), p.Import.Quantize, p.Import.KeepAdapter)
	if err != nil {
		return err
	}
	if e != nil && !p.Again {
		if err := use(p.Store, e); err != nil {
			return err
		}
		p.res.Already, p.res.Digest, p.res.Manifest = true, e.Digest, *e.Manifest
		return p.work.clear()
	}
	name, err := p.name()
	if err != nil {
		return err
	}
	if err := p.choose(ctx); err != nil {
		return err
	}
	if err := p.download(ctx); err != nil {
		return err
	}
	if err := p.install(ctx, name); err != nil {
		return err
	}
	return p.work.clear()
}

// name chooses the name in the store. One that is made up is not taken from another
// model.
func (p *hubPuller) name() (string, error) {
	if p.Import.Name != "" {
		return p.Import.Name, nil
	}
	name := nameOfRepo(p.at.Repo)
	entries, err := p.Store.List()
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name != name || e.Err != nil {
			continue
		}
		if r, err := hub.ParseRef(e.Manifest.Source.From); err != nil || r.Repo != p.at.Repo || r.File != p.Ref.File {
			return "", fmt.Errorf("the store has another model named %s, from %s; choose a name: fetch pull %s -as NAME", name, e.Manifest.Source.From, p.Ref)
		}
	}
	return name, nil
}

// nameOfRepo makes a valid name of a repo's.
func nameOfRepo(repo string) string {
	if name := validName(path.Base(repo)); name != "" && name != models.DemoName {
		return name
	}
	return validName("hub-" + repo)
}

// choose finds out which files make the model, and whether they may be had.
func (p *hubPuller) choose(ctx context.Context) error {
	if p.at.Restricted {
		if err := p.Client.Access(ctx, p.at); err != nil {
			return err
		}
	}
	files, err := p.Client.Files(ctx, p.at)
	if err != nil {
		return err
	}
	if p.choice, err = hub.Choose(p.Ref, files); err != nil {
		return err
	}
	if n := len(p.choice.Passed); n > 0 && p.Ref.File == "" {
		p.say("taking the safetensors of %s; it has %d GGUF too, such as %s", p.Ref, n, hub.Ref{Repo: p.Ref.Repo, File: p.choice.Passed[0].Path, Rev: p.Ref.Rev})
	}
	return nil
}

// download brings the files into the work folder: the small ones first, which tell
// whether the model can be imported at all.
func (p *hubPuller) download(ctx context.Context) error {
	dir := filepath.Join(p.work.dir, filesName)
	if err := p.work.remove(func(n string) bool { return n == filesName && !p.Again }); err != nil {
		return stored(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return stored(err)
	}
	if err := prune(dir, p.choice.All()); err != nil {
		return stored(err)
	}
	if err := p.work.room(p.choice.Size()); err != nil {
		return err
	}
	d := download.Downloader{Progress: p.Progress}
	if _, err := p.Client.Fetch(ctx, d, dir, p.at, p.choice.Beside); err != nil {
		return err
	}
	if err := p.check(dir); err != nil {
		return err
	}
	_, err := p.Client.Fetch(ctx, d, dir, p.at, p.choice.Weights)
	return err
}

// prune removes what an earlier commit had and this one has not.
func prune(dir string, files []hub.File) error {
	var errs []error
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir() && name != dir && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir // on its way, or the record of what is in place
		case e.IsDir():
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil && !slices.ContainsFunc(files, func(f hub.File) bool { return f.Path == filepath.ToSlash(rel) }) {
			err = os.Remove(name)
		}
		errs = append(errs, err)
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// check finds out before the weights come what would stop the import: a model that
// writes its answer needs a prompt and labels.
func (p *hubPuller) check(dir string) error {
	if p.isClassifier(dir) {
		return nil
	}
	var missing, flags []string
	if p.Import.Client == "" && !p.choice.Has(clientName) {
		missing = append(missing, "the prompt: there is no "+clientName+" in the repo; name one with -client")
		flags = append(flags, "-client FILE")
	}
	if p.Import.Job == "" && !p.choice.Has(jobName) {
		missing = append(missing, "the labels: there is no "+jobName+" in the repo; name one with -job")
		flags = append(flags, "-job FILE")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s cannot be imported without %s\n  fetch pull %s %s", p.Ref, strings.Join(missing, ", and without "), p.Ref, strings.Join(flags, " "))
}

// isClassifier reports whether the configuration says that the model has a
// classification head, which needs no prompt and brings its labels.
func (p *hubPuller) isClassifier(dir string) bool {
	var config struct {
		Architectures []string `json:"architectures"`
	}
	beside := path.Join(path.Dir(p.choice.Weights[0].Path), "config.json")
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(beside)))
	if err != nil || json.Unmarshal(data, &config) != nil || path.Ext(p.choice.Weights[0].Path) != ".safetensors" {
		return false // the import tells what is wrong with it
	}
	return len(config.Architectures) > 0 && strings.HasSuffix(config.Architectures[0], "ForSequenceClassification")
}

// install imports what was downloaded.
func (p *hubPuller) install(ctx context.Context, name string) error {
	p.say("importing %s", name)
	view, err := p.work.view()
	if err != nil {
		return stored(err)
	}
	o := p.Import
	o.Path, o.From, o.Name = filepath.Join(p.work.dir, filesName), p.from(), name
	res, err := importer.Import(ctx, view, o)
	if err == nil {
		p.res.Digest, p.res.Manifest, p.res.Replay = res.Digest, res.Manifest, res.Replay
		p.res.Warnings = append(p.res.Warnings, res.Warnings...)
		return nil
	}
	if download.Full(err) {
		return stored(err)
	}
	return fmt.Errorf("%w; the download is kept for the next fetch pull of %s; -again downloads anew", err, p.Ref)
}
