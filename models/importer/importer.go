// Package importer brings the packages that a training platform hands out into
// the store: it finds the weights, lifts the prompt out of the client, renders
// the chat template once, and writes the manifest.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cubby/labels"
	"cubby/models"
	"cubby/models/checkpoint"
)

// Options says what to import.
type Options struct {
	Path string // folder, or tar (plain or gzip)
	Name string // the model's name in the store
	// Job is the file with the labels; empty for the job_description.json in
	// the package or beside it.
	Job string
	// Client is a file with the prompt, which goes before the model_client.py in the
	// package; empty for that one.
	Client string
	// Answer says how the model writes a label, as ParseForm reads it; empty to find
	// out.
	Answer string
	// From says where the model came from; empty for the base name of Path.
	From string
	// Base is the folder of the base model, as the Hugging Face hub hands it out, for
	// a package that holds only an adapter. Where it is empty, Bases is asked for each
	// name that the package has for it, then Remote, which may download it.
	Base   string
	Bases  Bases
	Remote Bases
	// Convert makes safetensors of families that the native engine does not run, those
	// that are quantized, and a base that an adapter is kept beside into GGUF. Nil keeps
	// them as they are, and only an engine that reads them can start.
	Convert  Converter
	Quantize Quantization
	// KeepAdapter keeps the adapter of the package beside its base, for the engine
	// llama, and does not merge it. Base may then be a GGUF file.
	KeepAdapter bool
	// Start runs the model before others see it, to record a canary and to replay its
	// test set. Nil does neither, and a server can then not prove its readiness.
	Start Starter
	// Accept refuses a model by its manifest, before it is run or installed; nil refuses
	// none.
	Accept func(*models.Manifest) error
	Checks
}

// Result describes what was installed.
type Result struct {
	Digest   models.Digest
	Manifest models.Manifest
	Replay   *Replay // nil where nothing was run
	// Warnings are what the user should know that stopped nothing.
	Warnings []string
}

// Import installs a package. Either all of it becomes visible in the store, or
// nothing.
func Import(ctx context.Context, store *models.Store, o Options) (res Result, err error) {
	if err := models.ValidName(o.Name); err != nil {
		return res, err
	}
	if o.Name == models.DemoName {
		return res, fmt.Errorf("the name %q belongs to the built-in model: choose another", o.Name)
	}
	if o.Answer != "" {
		if _, err := ParseForm(o.Answer); err != nil {
			return res, err
		}
	}
	stage, err := store.Stage()
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, stage.Discard()) }()
	w, err := assemble(ctx, stage, o)
	if err != nil {
		return res, err
	}
	if o.Accept != nil {
		if err := o.Accept(w.manifest); err != nil {
			return res, err
		}
	}
	if m := w.manifest; m.Adapter != "" {
		if err := stage.Share(ctx, m.Weights); err != nil {
			return res, err
		}
	}
	if err := w.probe(ctx, stage); err != nil {
		return res, fmt.Errorf("%s: %w", o.Path, err)
	}
	if err := w.keepData(ctx, stage); err != nil {
		return res, err
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	d, err := stage.Commit(*w.manifest)
	return Result{Digest: d, Manifest: *w.manifest, Replay: w.played, Warnings: w.warnings}, err
}

// work is an import under way.
type work struct {
	player
	// pristine: a model folder whose manifest is the one that its name promises.
	pristine bool
	writing  *writing  // of a model that writes its answers, in a package
	rounding *rounding // nil where the weights stay
	played   *Replay
}

// assemble puts the model's files into the stage and writes their manifest.
func assemble(ctx context.Context, stage *models.Stage, o Options) (w *work, err error) {
	p := &pack{dir: o.Path, stage: stage}
	dir, carried := ".", isModelFolder(o.Path)
	if !carried {
		if p, err = openPack(ctx, stage, o.Path); err != nil {
			return nil, err
		}
		dir, carried = p.carried()
	}
	w = &work{player: player{Options: o}}
	var m models.Manifest
	if carried && o.Quantize.Scheme != "" {
		err = errors.New("a model folder is taken as it is: quantize the package that it was made from")
	} else if carried {
		m, err = p.modelFolder(ctx, dir, o)
		if err == nil {
			w.sources, p.warnings, err = folderSources(o, m, stage.Folder())
		}
		if o.Client != "" || o.Answer != "" {
			p.warn("a model folder has the prompt and the form of its answers in its manifest: -client and -answer are not used")
		}
	} else {
		p.client = o.Client
		if m, err = p.build(ctx, o); err == nil {
			w.sources, err = p.sources(o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	w.manifest, w.pristine, w.warnings, w.otherBase, w.writing, w.rounding = &m, p.pristine, p.warnings, p.otherBase, p.writing, p.rounding
	if !w.keepsReplay() {
		m.Replay = nil
	}
	return w, nil
}

// keepsReplay reports that what an earlier import found on the same files stays in the
// manifest: a carried model is the same artefact everywhere.
func (w *work) keepsReplay() bool { return w.pristine && w.Test == "" && w.Predictions == "" }

// keepData puts what the model was trained and tested on into the model.
func (w *work) keepData(ctx context.Context, stage *models.Stage) error {
	if w.NoData {
		return nil
	}
	data := w.sources.data()
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if staged(stage, name) {
			continue // a model folder's own
		}
		if err := writeFrom(ctx, stage, name, data[name]); err != nil {
			return err
		}
	}
	w.manifest.Files = stage.Files()
	return nil
}

// build moves the package's files into the stage and writes their manifest.
func (p *pack) build(ctx context.Context, o Options) (m models.Manifest, err error) {
	f, err := p.form(o)
	if err != nil {
		return m, err
	}
	if f.merging != nil {
		defer func() { err = errors.Join(err, f.merging.close()) }()
		if err := p.findBase(ctx, &f, o); err != nil {
			return m, err
		}
	} else if o.Base != "" {
		p.warn("the package holds whole weights: the base %s is not used", o.Base)
	}
	if err := p.foreign(&f, o); err != nil {
		return m, err
	}
	m = models.Manifest{
		Schema:  models.SchemaVersion,
		Name:    o.Name,
		Weights: path.Base(f.weights),
		Source:  models.Source{Kind: f.kind, From: cmp.Or(o.From, filepath.Base(filepath.Clean(o.Path)))},
	}
	if f.kind == models.Adapted {
		m.Adapter = keptAdapter
	}
	if m.Labels, err = p.labels(f, o.Job); err != nil {
		return m, err
	}
	if p.rounding, err = p.toRound(f, m.Labels, o); err != nil {
		return m, err
	}
	if f.kind == models.SequenceClassifier {
		err = p.classifier(ctx, f, &m)
	} else {
		err = p.generative(ctx, f, o, &m)
	}
	if err == nil {
		m.Source.Note = strings.Join(nonEmpty(f.merging.note(), f.conversion.note(), m.Source.Note), "; ")
	}
	m.Files = p.stage.Files()
	return m, err
}

// labels reads the labels: of a classification head from its configuration, in
// the order of its rows, otherwise from the job description.
func (p *pack) labels(f form, jobFile string) ([]labels.Label, error) {
	data, err := p.job(jobFile)
	if err != nil {
		return nil, err
	}
	var job []labels.Label
	if data != nil {
		if job, err = parseJob(data); err != nil {
			return nil, fmt.Errorf("%s: %w", jobName, err)
		}
	}
	if f.kind == models.SequenceClassifier {
		list, err := f.config.classes()
		if err == nil && job != nil {
			err = describe(list, job)
		}
		return list, err
	}
	if job == nil {
		return nil, fmt.Errorf("its labels are unknown: there is no %s in it or beside it; name the file with -job", jobName)
	}
	return job, nil
}

// classifier fills in the manifest of a model with a classification head,
// which was trained on the raw text.
func (p *pack) classifier(ctx context.Context, f form, m *models.Manifest) error {
	prompt, err := p.rawPrompt(f)
	if err != nil {
		return err
	}
	if p.client != "" {
		p.warn("a classifier reads the text alone: the prompt of %s is not used", p.client)
		p.client = ""
	}
	m.Prompt, m.Answer, m.Scoring = prompt, models.Answer{Form: models.None}, models.Head
	return p.keepAll(ctx, f)
}

// generative fills in the manifest of a model that writes the label.
func (p *pack) generative(ctx context.Context, f form, o Options, m *models.Manifest) error {
	conv, err := p.conversation()
	if err != nil {
		return err
	}
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		return err
	}
	if p.writing, err = p.findWriting(o, conv, set); err != nil {
		return err
	}
	if err := p.keepAll(ctx, f); err != nil {
		return err
	}
	v, err := p.voice(f)
	if err != nil {
		return err
	}
	c, err := newChat(v.template, v.bos, v.eos)
	if err != nil {
		return err
	}
	if m.Prompt, m.Source.Note, err = c.prompt(conv); err != nil {
		return err
	}
	m.Scoring, m.Answer = models.Constrained, p.writing.chosen
	m.Answer.End, err = c.end(conv, v.ends, v.specials)
	return err
}

// keepAll puts the form's files and the documents into the model, flat.
func (p *pack) keepAll(ctx context.Context, f form) error {
	taken := map[string]bool{models.ManifestName: true}
	if err := p.keepWeights(ctx, f); err != nil {
		return err
	}
	for _, file := range p.stage.Files() {
		taken[file.Path] = true
	}
	if p.client != "" {
		if err := writeFrom(ctx, p.stage, clientName, p.client); err != nil {
			return err
		}
		taken[clientName] = true
	}
	for _, name := range append(f.keep, p.extras(f.merging != nil)...) {
		base := path.Base(name)
		if taken[base] {
			continue
		}
		taken[base] = true
		if err := p.keep(ctx, name, base); err != nil {
			return err
		}
	}
	return nil
}

// keepWeights puts what is computed into the model.
func (p *pack) keepWeights(ctx context.Context, f form) error {
	switch {
	case f.kind == models.Adapted:
		return f.merging.keepBeside(ctx, p.stage)
	case f.conversion != nil:
		return p.convert(ctx, f)
	case f.merging != nil:
		return f.merging.keep(func(name string, r io.Reader) error { return p.stage.Write(ctx, name, r) })
	}
	return nil
}

// probe opens the staged model as a server would, so that nothing is installed
// that cannot be served, asks it how it writes its answers, records or checks the
// canary and replays the test set.
func (w *work) probe(ctx context.Context, stage *models.Stage) error {
	if err := w.rounding.toScheme(ctx, w.manifest); err != nil {
		return err
	}
	running, err := w.begin(stage)
	if err != nil {
		return err
	}
	if running == nil {
		w.warnOf(w.writing.unconfirmed())
		return nil
	}
	if running, err = w.settle(ctx, stage, running); err != nil {
		return err
	}
	if running, err = w.choose(ctx, stage, running); err != nil {
		return err
	}
	err = w.canary(ctx, running)
	if err == nil && !w.NoReplay && (!w.keepsReplay() || w.Require) {
		err = w.play(ctx, stage, running)
	}
	return errors.Join(err, running.Close())
}

// begin opens the staged model and starts it, where there is something to start it.
func (w *work) begin(stage *models.Stage) (Running, error) {
	model, err := stage.Open(*w.manifest)
	if err != nil {
		return nil, err
	}
	err = check(model)
	if unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err); unknown != nil && w.Start != nil {
		err = nil // another engine may know it: starting shows
	}
	if err != nil || w.Start == nil {
		return nil, errors.Join(err, model.Close())
	}
	return w.Start(model)
}

// canary records a canary. One that the model brought along must pass instead: where
// it does not, a pristine model does not run here as it should; another was edited, and
// gets a new one.
func (w *work) canary(ctx context.Context, running Running) (err error) {
	if w.manifest.Canary != nil {
		err = running.CheckCanary(ctx)
		if w.pristine || !errors.Is(err, models.ErrCanary) {
			return err
		}
		w.warnings = append(w.warnings, "the model does not answer as its canary recorded, as where its prompt, labels or weights were edited: a new canary is recorded")
	}
	w.manifest.Canary, err = running.RecordCanary(ctx)
	return err
}

// play replays the test set and keeps what that found.
func (w *work) play(ctx context.Context, stage *models.Stage, running Running) (err error) {
	if w.client, err = clientOf(stage); err != nil {
		return err
	}
	if w.coarse, err = coarseType(stage, w.manifest); err != nil {
		return err
	}
	if w.played, err = w.replay(ctx, running); err != nil {
		return err
	}
	switch {
	case w.played == nil && w.Require:
		return &RefusedError{"there is neither a test set nor predictions to replay; name them with -test and -predictions"}
	case w.played == nil:
		return nil
	case w.Require && w.played.Problem == "" && w.played.shows() != "":
		return &RefusedError{w.played.shows()}
	case w.played.Problem != "" && w.Require:
		return &RefusedError{w.played.Problem + "\n  " + strings.Join(w.played.Causes, "\n  ")}
	}
	if !w.keepsReplay() {
		w.manifest.Replay = &w.played.Replay
	}
	return nil
}

// clientOf reads the client that lies with the staged model, the zero conversation
// where there is none that can be read.
func clientOf(stage *models.Stage) (conversation, error) {
	if !staged(stage, clientName) {
		return conversation{}, nil
	}
	src, release, err := stage.Map(clientName)
	if err != nil {
		return conversation{}, err
	}
	conv, err := parseClient(src)
	if err != nil {
		return conversation{}, release()
	}
	return conv, release()
}

// check returns an *UnsupportedError only where nothing else is wrong.
func check(model *models.Model) error {
	c, unknown := model.Checkpoint()
	if _, ok := errors.AsType[*checkpoint.UnsupportedError](unknown); unknown != nil && !ok {
		return unknown
	}
	t, err := model.Tokenizer()
	if err != nil {
		return cmp.Or(unknown, err)
	}
	if end := model.Manifest.Answer.End; end != "" {
		if _, ok := t.Special(end); !ok {
			return fmt.Errorf("the end-of-answer token %q is not in the vocabulary", end)
		}
	}
	if unknown != nil {
		return unknown
	}
	if n := c.Config().Vocab; t.Len() > n {
		return fmt.Errorf("the tokenizer has %d tokens and the weights only %d", t.Len(), n)
	}
	return nil
}
