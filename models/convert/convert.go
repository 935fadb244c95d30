// Package convert writes the models of Hugging Face folders as GGUF files that
// llama.cpp reads, their tokenizer included. Weights keep their type: what a matrix
// holds is what the folder holds, in another order of rows where llama.cpp wants one.
//
// Families that package checkpoint reads are written by it. For LFM2 and Qwen 3.5,
// github.com/ollama/ollama/convert knows how llama.cpp calls the tensors and their
// parameters, and how it orders heads. It is given a configuration with checked
// numbers and tensors that are read here, and neither a file nor a tokenizer: its
// own readers trust both, one of them unpickles.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cubby/models/checkpoint"
)

// Summary says what was written.
type Summary struct {
	Architecture string // GGUF name: "qwen35"
	By           string // what knew the family
}

// GGUF writes the model in a folder, with config.json, tokenizer.json and weights in
// one safetensors file or shards with their index, to w. No other file is read but
// tokenizer_config.json and chat_template.jinja. A file that another process cuts
// short meanwhile crashes this one.
func GGUF(ctx context.Context, dir string, w io.Writer) (s Summary, err error) {
	f := folder{dir: dir}
	defer func() { err = errors.Join(err, f.close()) }()
	config, err := f.read("config.json", maxConfig)
	if err != nil {
		return s, err
	}
	shards, err := f.weights()
	if err != nil {
		return s, err
	}
	w = writer{ctx, w}
	ck, err := checkpoint.FromHF(config, shards...)
	if unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err); unknown != nil {
		return f.foreign(unknown, config, shards, w)
	}
	if err != nil {
		return s, err
	}
	c := ck.Config()
	embedding, _ := ck.Tensor("token_embd.weight")
	meta, err := f.meta(config, c.Vocab, embedding.Type)
	if err != nil {
		return s, err
	}
	return Summary{c.Architecture, "Cubby"}, checkpoint.WriteGGUFModel(w, ck, meta)
}

// writer stops when its context is done.
type writer struct {
	ctx context.Context
	w   io.Writer
}

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// guard turns a panic of the other converter into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the converter gave up: %v", p)
		}
	}()
	return f()
}
