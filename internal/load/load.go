// Package load turns a model reference into a running model: it resolves the
// folder, chooses and makes an engine, and puts a scheduler in front of it. The
// server, the command line and the importer's canary share it, so that all three
// answer alike.
package load

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
	"cubby/runtime/native"
	"cubby/runtime/residency"
)

// Options are the knobs of a running model. Zero values choose the defaults.
type Options struct {
	// Home is the store's folder; empty for $CUBBY_HOME or the user's data folder.
	Home string
	// Engine is one of Engines; empty for Auto.
	Engine string
	// Llama and Remote are the knobs of those engines.
	Llama  Llama
	Remote Remote
	// Threads is the number of compute threads; 0 for one a core.
	Threads int
	// CPU forces an instruction set, one of kernel.Levels; empty chooses.
	CPU string
	// Precision rounds a text's activations, one of native.Precisions; empty for
	// the default.
	Precision string
	// BatchTokens is the token budget of one pass; QueueTokens the most tokens
	// admitted at once. 0 for the defaults of package runtime.
	BatchTokens int
	QueueTokens int
	// TextTokens is the most tokens of one text; 0 for what the context holds.
	TextTokens int
	// Log hears why a start is slower than it could be; nil for nobody.
	Log *slog.Logger
	// RequireGate refuses a model of the store that has not passed its gate on this engine.
	RequireGate bool
	// Raw leaves the model's calibration and policy aside.
	Raw bool
	// Name is what the model is called; empty for its manifest's.
	Name string
	// Observer makes the one who hears about a model's passes, by its name; nil
	// for nobody.
	Observer func(model string) runtime.Observer
	// Shared is what this model has in common with others; nil for nothing.
	Shared *Shared
}

// Model opens the model that ref names (a name in the store, a folder, a GGUF
// file, or empty for the default) and starts it. Close it when done.
func Model(ref string, opt Options) (*runtime.Model, error) {
	store, err := opt.Store()
	if err != nil {
		return nil, err
	}
	m, err := models.Resolve(store, ref)
	if err != nil {
		return nil, err
	}
	return Opened(m, opt)
}

// Store is that of the models.
func (o Options) Store() (*models.Store, error) {
	if o.Home != "" {
		return models.NewStore(o.Home), nil
	}
	return models.DefaultStore()
}

// Opened starts a model that is already open, and owns it from then on: it is
// closed with the result, or at once when starting fails.
func Opened(m *models.Model, opt Options) (*runtime.Model, error) {
	r, err := start(m, opt)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

func start(m *models.Model, opt Options) (*runtime.Model, error) {
	if opt.Raw {
		m.Manifest.Calibration, m.Manifest.Policy = nil, nil
	}
	eng, err := newEngine(m, opt)
	if err != nil {
		return nil, err
	}
	if opt.RequireGate {
		if err := opt.passed(m, eng); err != nil {
			return nil, errors.Join(err, eng.Close())
		}
	}
	name := cmp.Or(opt.Name, m.Manifest.Name)
	o := runtime.Options{Name: name, BatchTokens: opt.BatchTokens, QueueTokens: opt.QueueTokens, TextTokens: opt.TextTokens, Choice: eng.why}
	if opt.Observer != nil {
		o.Observer = opt.Observer(name)
	}
	if opt.Shared != nil {
		o.Cache = opt.Shared.cache
	}
	defer m.DropPages() // tokenizer and weights were read once
	r, err := runtime.Open(m, eng.Engine, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("model %q: %w", m.Manifest.Name, err), eng.Close())
	}
	return r, nil
}

// passed is an error unless the model has passed its gate.
func (o Options) passed(m *models.Model, eng made) error {
	store, err := o.Store()
	if err != nil {
		return err
	}
	return store.CheckGate(m.Manifest.Name, m.Digest, eng.Info().Setup())
}

// made is an engine with what there is to say of it.
type made struct {
	engine.Engine
	why string
}

func newEngine(m *models.Model, opt Options) (made, error) {
	kind, why, err := choose(m, opt)
	if err != nil {
		return made{}, fmt.Errorf("model %q: %w", m.Manifest.Name, err)
	}
	shared := opt.Shared
	if shared == nil {
		shared = &Shared{}
	}
	eng, err := makers[kind](m, opt, shared)
	if kind == LibLlama && opt.automatic() {
		eng, why, err = settle(m, opt, shared, made{eng, why}, err)
	}
	if err != nil {
		return made{}, fmt.Errorf("model %q: %w", m.Manifest.Name, err)
	}
	return made{eng, why}, nil
}

// settle takes the native engine after all, where libllama was chosen for a GPU and
// cannot load the model, or finds no room for it there.
func settle(m *models.Model, opt Options, shared *Shared, got made, failed error) (engine.Engine, string, error) {
	if failed == nil && len(got.Info().Devices) > 0 {
		return got.Engine, got.why, nil
	}
	if _, err := m.Checkpoint(); err != nil {
		return got.Engine, got.why, failed
	}
	why := "auto: no layer of the model fits a GPU"
	if failed != nil {
		opt.warn("libllama cannot load the model, which the native engine computes instead", failed)
		why = "auto: libllama cannot load the model"
	} else if err := got.Close(); err != nil {
		return nil, "", err
	}
	eng, err := newNative(m, opt, shared)
	return eng, why, err
}

// maker makes an engine for a model.
type maker func(*models.Model, Options, *Shared) (engine.Engine, error)

var makers = map[string]maker{Native: newNative, LibLlama: newLlama, Ollama: newOllama, LlamaServer: newLlamaServer}

func newNative(m *models.Model, opt Options, shared *Shared) (engine.Engine, error) {
	weights, err := m.Checkpoint()
	if err != nil {
		return nil, err
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	o := native.Options{
		Threads: opt.Threads, CPU: opt.CPU, Precision: native.Precision(opt.Precision), Pool: shared.pool, Artifact: m.Manifest.Computed().String(), Release: m.DropPages, Log: opt.Log,
	}
	if d := m.Derived(); d != nil {
		o.Files = d
	}
	return shared.engine(residency.Source{Estimate: weightsSize(m), KeepsPrefixes: true, Load: func() (engine.Engine, error) {
		e, err := native.New(weights, tok, o)
		if err != nil {
			return nil, err // not an Engine that holds a nil *native.Engine
		}
		return e, nil
	}})
}

// weightsSize is the size of the weights' file, and of an adapter's, in bytes.
func weightsSize(m *models.Model) (size int64) {
	for _, f := range m.Manifest.Files {
		if f.Path == m.Manifest.Weights || f.Path == m.Manifest.Adapter {
			size += f.Size
		}
	}
	return size
}
