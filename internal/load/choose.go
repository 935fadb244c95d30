package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cubby/internal/libraries"
	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/runtime/llama"
)

// The values of Options.Engine.
const (
	Auto        = "auto"
	Native      = "native"      // in Go, on the CPU
	LibLlama    = "llama"       // llama.cpp's libllama, on CPU or GPU
	Ollama      = "ollama"      // a running Ollama
	LlamaServer = "llamaserver" // a running llama-server
	Chat        = "chat"        // a chat model behind any server of OpenAI's protocol
)

// Engines lists them, the default first.
func Engines() []string { return []string{Auto, Native, LibLlama, Ollama, LlamaServer, Chat} }

func known(engine string) bool { return engine == "" || slices.Contains(Engines(), engine) }

// listTimeout bounds how long a start waits to be told of GPUs.
const listTimeout = 30 * time.Second

// choose returns the engine for a model, and why: a GPU that libllama sees wins,
// else the native engine if it knows the family, else libllama.
func choose(m *models.Model, opt Options) (kind, why string, err error) {
	if !known(opt.Engine) {
		return "", "", fmt.Errorf("no engine %q: there are %s", opt.Engine, strings.Join(Engines(), ", "))
	}
	if opt.Engine == Chat {
		return "", "", errors.New("the engine chat runs no model of its own")
	}
	if !opt.automatic() {
		return opt.Engine, "asked for", nil
	}
	found, missing := opt.libraries()
	if missing == nil && found.Kind != libraries.CPU && opt.Llama.GPULayers != "0" {
		gpu, err := opt.seesGPU()
		if err != nil {
			opt.warn("the libraries of libllama do not tell their devices", err)
		} else if gpu != "" {
			return LibLlama, "auto: libllama sees " + gpu, nil
		}
	}
	_, err = m.Checkpoint()
	unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err)
	switch {
	case unknown == nil:
		return Native, "auto: the native engine knows this family, and no GPU is in use", err
	case missing != nil:
		return "", "", fmt.Errorf("%w, but %w", unknown, missing)
	}
	why = "auto: " + unknown.Detail
	if unknown.Detail == "" {
		why = fmt.Sprintf("auto: the native engine does not know the family %q", unknown.Architecture)
	}
	return LibLlama, why, nil
}

// seesGPU names the first GPU that the libraries see, "" for none.
func (o Options) seesGPU() (string, error) {
	folder, err := o.verified()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	list, err := llama.Devices(ctx, folder)
	if err != nil {
		return "", err
	}
	for _, d := range list {
		if d.OnGPU() {
			return fmt.Sprintf("%s (%s)", d.Name, d.Description), nil
		}
	}
	return "", nil
}

func (o Options) automatic() bool { return o.Engine == "" || o.Engine == Auto }

func (o Options) warn(message string, err error) {
	if o.Log != nil {
		o.Log.Warn(message, "error", err)
	}
}
