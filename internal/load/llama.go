package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/runtime/engine"
	"cubby/runtime/llama"
	"cubby/runtime/residency"
)

// Llama are the knobs of the engine on libllama. Zero values choose the defaults.
type Llama struct {
	// Libraries is the folder of the libraries; empty for those that "fetch
	// runtime" has installed.
	Libraries string
	// InProcess loads them into this process, which ends if they fail.
	InProcess bool
	// GPULayers is a number of layers, or "auto" or empty for as many as fit.
	GPULayers string
	// Device names the GPUs to use, with commas between them; empty for all.
	Device string
	// MainGPU is the number of the one GPU to use; empty for all.
	MainGPU string
}

// options checks the knobs and turns them into the engine's.
func (l Llama) options() (llama.Options, error) {
	o := llama.Options{GPULayers: llama.AutoLayers, Device: l.Device, MainGPU: -1}
	if l.GPULayers != "" && l.GPULayers != Auto {
		n, err := strconv.Atoi(l.GPULayers)
		if err != nil || n < 0 {
			return o, fmt.Errorf("-gpu-layers %q: expected auto, or a number of layers", l.GPULayers)
		}
		o.GPULayers = n
	}
	if l.MainGPU != "" {
		n, err := strconv.Atoi(l.MainGPU)
		if err != nil || n < 0 {
			return o, fmt.Errorf("-main-gpu %q: expected the number of a GPU, from 0", l.MainGPU)
		}
		o.MainGPU = n
	}
	return o, nil
}

func newLlama(m *models.Model, opt Options, shared *Shared) (engine.Engine, error) {
	o, err := opt.Llama.options()
	if err != nil {
		return nil, err
	}
	if o.Libraries, err = opt.verified(); err != nil {
		return nil, err
	}
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	weights, err := ggufFile(m)
	if err != nil {
		return nil, err
	}
	o.Model, o.Classes, o.Threads = weights.path, weights.classes, shared.threads(opt.Threads)
	return shared.engine(residency.Source{Estimate: weightsSize(m), Load: func() (engine.Engine, error) {
		if opt.Llama.InProcess {
			e, err := llama.New(tok, o)
			if err != nil {
				return nil, err
			}
			return e, nil
		}
		e, err := llama.Supervise(tok, o, opt.Log)
		if err != nil {
			return nil, err
		}
		return e, nil
	}})
}

// weightsFile is a GGUF file that another process or server reads.
type weightsFile struct {
	path    string
	classes int // rows behind the vocabulary: see checkpoint.WriteGGUF
}

// derivedGGUF is the kind and version of the file that is kept beside a model for
// engines that read GGUF.
const derivedGGUF = "gguf-1"

// ggufFile returns the model's own file where llama.cpp reads it as it is, and
// otherwise one written from its weights: kept in the store, or temporary.
func ggufFile(m *models.Model) (weightsFile, error) {
	ck, err := m.Checkpoint()
	own := filepath.Ext(m.Manifest.Weights) == ".gguf" && m.Folder() != ""
	if unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err); unknown != nil && own {
		return weightsFile{path: ownFile(m)}, nil
	}
	if err != nil {
		return weightsFile{}, err
	}
	classes := len(ck.Config().Classes)
	if own && classes == 0 {
		return weightsFile{path: ownFile(m)}, nil
	}
	write := func(w io.Writer) error { return checkpoint.WriteGGUF(w, ck, true) }
	if d := m.Derived(); d != nil {
		w := weightsFile{path: d.Path(derivedGGUF), classes: classes}
		if _, err := os.Stat(w.path); err == nil {
			return w, nil
		}
		if err := d.Create(derivedGGUF, write); err == nil {
			return w, nil
		} // a store that cannot be written to serves all the same
	}
	path, err := m.Temporary("cubby-*.gguf", write)
	if err != nil {
		return weightsFile{}, fmt.Errorf("the weights cannot be written as GGUF: %w", err)
	}
	return weightsFile{path: path, classes: classes}, nil
}

func ownFile(m *models.Model) string {
	return filepath.Join(m.Folder(), filepath.FromSlash(m.Manifest.Weights))
}
