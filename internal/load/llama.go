package load

import (
	"crypto/sha256"
	"encoding/hex"
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
	found, err := opt.libraries()
	if err != nil {
		return nil, err
	}
	o.Libraries = found.Folder
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	weights, err := ggufFile(m, opt.warn)
	if err != nil {
		return nil, err
	}
	if m.Manifest.Adapter != "" {
		o.Adapter = filepath.Join(m.Folder(), filepath.FromSlash(m.Manifest.Adapter))
	}
	o.Model, o.Classes, o.Threads = weights.path, weights.classes, shared.threads(opt.Threads)
	check := func() error {
		_, err := opt.verified()
		return err
	}
	return shared.engine(residency.Source{Estimate: weightsSize(m), Load: func() (engine.Engine, error) {
		if opt.Llama.InProcess {
			if err := check(); err != nil {
				return nil, err
			}
			e, err := llama.New(tok, o)
			if err != nil {
				return nil, err
			}
			return e, nil
		}
		e, err := llama.Supervise(tok, o, check, opt.Log)
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

// derivedGGUF and derivedSum are the kinds and versions of the files that are kept
// beside a model for engines that read GGUF: the weights, and their SHA-256.
const (
	derivedGGUF = "gguf-1"
	derivedSum  = "ggufsum-1"
)

// ggufFile returns the model's own file where llama.cpp reads it as it is, and
// otherwise one written from its weights: kept in the store, or temporary.
func ggufFile(m *models.Model, warn func(string, error)) (weightsFile, error) {
	ck, err := m.Checkpoint()
	if unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err); unknown != nil && ownGGUF(m) {
		return weightsFile{path: ownFile(m)}, nil
	}
	if err != nil {
		return weightsFile{}, err
	}
	classes := len(ck.Config().Classes)
	if ownGGUF(m) && classes == 0 {
		return weightsFile{path: ownFile(m)}, nil
	}
	write := func(w io.Writer) error { return checkpoint.WriteGGUF(w, ck, true) }
	if d := m.Derived(); d != nil {
		err := keepGGUF(d, write)
		if err == nil {
			return weightsFile{path: d.Path(derivedGGUF), classes: classes}, nil
		}
		warn("the weights in the form that libllama reads cannot be kept beside the model, and are written again at each start", err)
	}
	path, err := m.Temporary("cubby-*.gguf", write)
	if err != nil {
		return weightsFile{}, fmt.Errorf("the weights cannot be written as GGUF: %w", err)
	}
	return weightsFile{path: path, classes: classes}, nil
}

// keepGGUF writes the derived files unless they are there and whole.
func keepGGUF(d *models.Derived, write func(io.Writer) error) error {
	if want, release, err := d.Open(derivedSum); err == nil {
		sum, err := fileSum(d.Path(derivedGGUF))
		whole := err == nil && string(want) == sum
		if err := release(); whole || err != nil {
			return err
		}
	}
	h := sha256.New()
	if err := d.Create(derivedGGUF, func(w io.Writer) error { return write(io.MultiWriter(w, h)) }); err != nil {
		return err
	}
	return d.Create(derivedSum, func(w io.Writer) error {
		_, err := io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
		return err
	})
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// ownGGUF says whether the model's weights are a GGUF file on disk.
func ownGGUF(m *models.Model) bool {
	return filepath.Ext(m.Manifest.Weights) == ".gguf" && m.Folder() != ""
}

func ownFile(m *models.Model) string {
	return filepath.Join(m.Folder(), filepath.FromSlash(m.Manifest.Weights))
}
