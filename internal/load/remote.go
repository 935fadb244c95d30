package load

import (
	"context"
	"errors"
	"time"

	"cubby/models"
	"cubby/runtime/engine"
	"cubby/runtime/llamaserver"
	"cubby/runtime/ollama"
)

// Remote are the knobs of engines that are servers of other programs. Zero values
// choose the defaults.
type Remote struct {
	URL       string        // of the server
	Key       string        // that llama-server or a chat server asks for
	Model     string        // the server's name: of Ollama's, instead of one created from this model's file; of a chat server's
	Job       string        // file with the task and labels for a chat model; empty for the model's labels
	Pull      bool          // Ollama may download it
	KeepAlive time.Duration // of the model in Ollama
	Slots     int           // most questions at once
}

// defaultLlamaServer is where llama-server listens unless it is told otherwise.
const defaultLlamaServer = "http://127.0.0.1:8080"

func newLlamaServer(m *models.Model, opt Options, _ *Shared) (engine.Engine, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	url := opt.Remote.URL
	if url == "" {
		url = defaultLlamaServer
	}
	e, err := llamaserver.Open(context.Background(), llamaserver.Options{
		URL: url, Key: opt.Remote.Key, Tokenizer: tok, Manifest: m.Manifest, Slots: opt.Remote.Slots,
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func newOllama(m *models.Model, opt Options, _ *Shared) (engine.Engine, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	o := ollama.Options{
		URL: opt.Remote.URL, Tokenizer: tok, Manifest: m.Manifest, Digest: m.Digest, Model: opt.Remote.Model, Pull: opt.Remote.Pull,
		KeepAlive: opt.Remote.KeepAlive, Slots: opt.Remote.Slots,
	}
	if o.Model == "" {
		if o.GGUF, err = uploaded(m); err != nil {
			return nil, err
		}
	}
	e, err := ollama.Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// uploaded is the file that Ollama is given. It must hold the tokenizer.
func uploaded(m *models.Model) (string, error) {
	if m.Manifest.Scoring == models.Head {
		return "", errors.New("the engine ollama cannot run a classification head: use native or llama")
	}
	if m.Manifest.Adapter != "" {
		return "", errors.New("the engine ollama is not given adapters: use -engine llama, or create base and adapter there, and name them with -engine-model")
	}
	if !ownGGUF(m) {
		return "", errors.New("the engine ollama needs a GGUF file with the tokenizer in it, and this model is none: create it there from the package, and name it with -engine-model")
	}
	return ownFile(m), nil
}
