package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"cubby/labels"
	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/quantize"
)

// Auto is the scheme that is found by trial: the smallest one whose answers to the
// test set are as good as those of the weights that were not rounded.
const Auto quantize.Scheme = "auto"

// ParseScheme reads a name of a scheme, or Auto.
func ParseScheme(name string) (quantize.Scheme, error) {
	if name == string(Auto) {
		return Auto, nil
	}
	s, err := quantize.ParseScheme(name)
	if err != nil {
		err = fmt.Errorf("%w, and %s, which finds the smallest that loses nothing", err, Auto)
	}
	return s, err
}

// Judge decides about schemes by their answers to the test set.
type Judge interface {
	// Prepare hears the rows; it fails where they tell too little.
	Prepare(set *labels.Set, rows []Row) error
	// Reference hears how the weights came, how many bytes they take, and their answers.
	Reference(storedAs string, bytes int64, answers []Answer) error
	// Accept hears those of a scheme, the largest first, and says whether to take it.
	Accept(scheme quantize.Scheme, bytes int64, answers []Answer) (bool, error)
	// Report is the JSON that is kept with the model.
	Report() ([]byte, error)
}

// Quantization says how the weights of an import are rounded; the zero value leaves
// them as they come.
type Quantization struct {
	Scheme quantize.Scheme
	Judge  Judge // who decides where Scheme is Auto
}

// SchemeOf is what an installed model was asked to be rounded to, empty where nothing
// was.
func SchemeOf(m models.Manifest) quantize.Scheme {
	if _, tried := m.DataFile(reportName); tried {
		return Auto
	}
	if m.Source.Quantized != nil {
		return quantize.Scheme(m.Source.Quantized.To)
	}
	return ""
}

// Done reports whether an installed model has been rounded so.
func (q Quantization) Done(m models.Manifest) bool {
	made := m.Source.Quantized
	return q.Scheme == "" || q.Scheme == SchemeOf(m) || made != nil && made.To == string(q.Scheme)
}

// reportName is the file, in models.DataFolder, with what a choice was made from.
const reportName = "quantization.json"

// roundedName is the weights' file of a scheme.
func roundedName(s quantize.Scheme) string { return "model-" + string(s) + ".gguf" }

// rounding replaces a staged model's weights by rounded ones.
type rounding struct {
	Quantization
	stage  *models.Stage
	start  Starter
	rows   []Row
	file   *gguf.File
	origin models.Manifest // of the model as it came
}

// toRound finds out before any work whether the weights can be rounded as was asked
// for. It is nil where nothing was.
func (p *pack) toRound(f form, list []labels.Label, o Options) (*rounding, error) {
	r := &rounding{Quantization: o.Quantize, stage: p.stage, start: o.Start}
	if r.Scheme == "" {
		return nil, nil
	}
	switch f.kind {
	case models.SequenceClassifier:
		return nil, errors.New("a sequence classifier is not quantized: GGUF has no place for its head that every engine reads, and the native engine rounds its weights itself when it loads them; import it without -quantize")
	case models.Adapted:
		return nil, errors.New("the base that an adapter is kept beside is not quantized, for models share it: leave -keep-adapter out, or -quantize")
	}
	if path.Ext(f.weights) != ".gguf" {
		return nil, errors.New("only GGUF weights are quantized, and nothing here converts these")
	}
	if r.Scheme != Auto {
		return r, nil
	}
	test, err := p.testSet(o)
	if err != nil {
		return nil, err
	}
	if len(test.Rows) == 0 || r.Judge == nil || r.start == nil {
		return nil, fmt.Errorf("-quantize %s needs a test set, and none is in the package or beside it: name one with -test FILE, or name a type: %v", Auto, quantize.Schemes())
	}
	for _, i := range evenly(len(test.Rows), o.Rows) {
		r.rows = append(r.rows, test.Rows[i])
	}
	set, err := labels.NewSet(list)
	if err != nil {
		return nil, err
	}
	return r, r.Judge.Prepare(set, r.rows)
}

// toScheme rounds the staged weights to the scheme that was named, before any engine
// loads them, and says so in the manifest.
func (r *rounding) toScheme(ctx context.Context, m *models.Manifest) error {
	if r == nil || r.Scheme == Auto {
		return nil
	}
	return r.replace(m, func() (models.Manifest, error) { return r.write(ctx, r.Scheme) })
}

// choose rounds the staged weights to the scheme that is found for Auto, once it is
// settled how the running model answers, and starts the model with them.
func (w *work) choose(ctx context.Context, stage *models.Stage, running Running) (Running, error) {
	r := w.rounding
	if r == nil || r.Scheme != Auto {
		return running, nil
	}
	answers, err := r.answer(ctx, running)
	if err == nil {
		err = r.replace(w.manifest, func() (models.Manifest, error) { return r.auto(ctx, answers) })
	}
	if err != nil {
		return nil, err
	}
	return w.begin(stage)
}

// replace has the weights of the stage rounded, and removes those that they were
// rounded from.
func (r *rounding) replace(m *models.Manifest, round func() (models.Manifest, error)) error {
	r.origin = *m
	best, err := r.mapped(round)
	if err != nil {
		return err
	}
	if best.Weights != r.origin.Weights {
		if err := r.stage.Remove(r.origin.Weights); err != nil {
			return err
		}
	}
	*m = best
	m.Files = r.stage.Files()
	return nil
}

// mapped calls round while the staged weights are mapped.
func (r *rounding) mapped(round func() (models.Manifest, error)) (m models.Manifest, err error) {
	data, release, err := r.stage.Map(r.origin.Weights)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if r.file, err = gguf.Parse(data); err != nil {
		return m, fmt.Errorf("%s: %w", r.origin.Weights, err)
	}
	return round()
}

// write puts the weights into the stage rounded, and returns the model with them. It
// has those that it came with where they are what the scheme would make of them.
func (r *rounding) write(ctx context.Context, s quantize.Scheme) (models.Manifest, error) {
	plan, err := quantize.NewPlan(r.file, s)
	if err != nil {
		return r.origin, fmt.Errorf("quantize to %s: %w", s, err)
	}
	m := r.origin
	m.Source.Quantized = &models.Quantized{To: string(s), From: quantize.StoredAs(r.file).String(), Files: weightsOf(m)}
	if !plan.Changes() {
		return m, nil
	}
	m.Weights = roundedName(s)
	err = piped(func(w io.Writer) error { return plan.Write(ctx, w, nil) }, func(in io.Reader) error { return r.stage.Write(ctx, m.Weights, in) })
	if err != nil {
		return m, fmt.Errorf("quantize to %s: %w", s, err)
	}
	m.Files = r.stage.Files()
	return m, nil
}

// auto tries the schemes, the largest first, and returns the model with the smallest
// that the judge accepts, or as it came. At most two rounded files lie on the disk.
func (r *rounding) auto(ctx context.Context, answers []Answer) (best models.Manifest, err error) {
	if err := r.Judge.Reference(quantize.StoredAs(r.file).String(), sizeOf(r.origin), answers); err != nil {
		return best, err
	}
	best = r.origin
	for _, s := range quantize.Schemes() {
		if best, err = r.try(ctx, s, best); err != nil {
			return best, err
		}
	}
	report, err := r.Judge.Report()
	if err != nil {
		return best, err
	}
	return best, r.stage.Write(ctx, models.DataFolder+"/"+reportName, bytes.NewReader(report))
}

// try rounds to a scheme, asks the judge, and returns the better of it and best,
// whose files alone are left beside those of the model as it came. A scheme of no
// fewer bits than the weights have is passed over.
func (r *rounding) try(ctx context.Context, s quantize.Scheme, best models.Manifest) (models.Manifest, error) {
	m, err := r.write(ctx, s)
	if _, raise := errors.AsType[*quantize.RaiseError](err); raise || err == nil && m.Weights == r.origin.Weights {
		return best, nil
	}
	if err != nil {
		return best, err
	}
	answers, err := r.trial(ctx, m)
	if err != nil {
		return best, err
	}
	accepted, err := r.Judge.Accept(s, sizeOf(m), answers)
	if err != nil {
		return best, err
	}
	if !accepted {
		best, m = m, best
	}
	if best.Weights == r.origin.Weights {
		return m, nil
	}
	return m, r.stage.Remove(best.Weights)
}

// weightsOf is the weights' file of a model, which is rounded to one.
func weightsOf(m models.Manifest) []models.File {
	return slices.DeleteFunc(slices.Clone(m.Files), func(f models.File) bool { return f.Path != m.Weights })
}

func sizeOf(m models.Manifest) (n int64) {
	for _, f := range weightsOf(m) {
		n += f.Size
	}
	return n
}

// trial asks a staged model.
func (r *rounding) trial(ctx context.Context, m models.Manifest) ([]Answer, error) {
	model, err := r.stage.Open(m)
	if err != nil {
		return nil, err
	}
	running, err := r.start(model)
	if err != nil {
		return nil, err
	}
	return r.answer(ctx, running)
}

// answer asks a model for the texts of the test set, and closes it.
func (r *rounding) answer(ctx context.Context, running Running) ([]Answer, error) {
	answers, err := askAll(ctx, running, r.rows, nil)
	return answers, errors.Join(err, running.Close())
}
