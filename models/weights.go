package models

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/lora"
	"cubby/models/safetensors"
	"cubby/models/tokenizer"
)

const (
	configName    = "config.json"    // Hugging Face model configuration
	tokenizerName = "tokenizer.json" // Hugging Face tokenizer
)

// Checkpoint opens the weights. A classification head must have one output for
// each label. A base and its adapter are not the weights of one model: they are a
// *checkpoint.UnsupportedError, once they have been found to fit.
func (m *Model) Checkpoint() (checkpoint.Checkpoint, error) {
	c, err := m.checkpoint()
	if err != nil {
		return nil, fmt.Errorf("model %q: %w", m.Manifest.Name, err)
	}
	if n := len(c.Config().Classes); m.Manifest.Scoring == Head && n != m.set.Len() {
		return nil, fmt.Errorf("model %q: %d labels for a classification head of %d outputs", m.Manifest.Name, m.set.Len(), n)
	}
	return c, nil
}

func (m *Model) checkpoint() (checkpoint.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isGGUF() {
		f, err := m.gguf()
		if err != nil {
			return nil, err
		}
		if m.Manifest.Adapter != "" {
			return nil, m.adapted(f)
		}
		return checkpoint.FromGGUF(f)
	}
	config, err := m.bytes(m.Manifest.beside(configName))
	if err != nil {
		return nil, err
	}
	var shards []*safetensors.File
	for _, name := range m.Manifest.shards() {
		data, err := m.bytes(name)
		if err != nil {
			return nil, err
		}
		f, err := safetensors.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		shards = append(shards, f)
	}
	return checkpoint.FromHF(config, shards...)
}

// adapted compares the headers of base and adapter. The caller holds m.mu.
func (m *Model) adapted(base *gguf.File) error {
	data, err := m.bytes(m.Manifest.Adapter)
	if err != nil {
		return err
	}
	f, err := gguf.Parse(data)
	if err == nil {
		err = lora.CheckGGUF(base, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.Manifest.Adapter, err)
	}
	return &checkpoint.UnsupportedError{Detail: "its adapter is kept beside the base, which the engine llama computes and the native engine does not: " +
		"use -engine llama, or import the package without -keep-adapter"}
}

// Tokenizer builds the tokenizer, from tokenizer.json beside safetensors weights or
// a base with an adapter, or from the vocabulary in a GGUF file.
func (m *Model) Tokenizer() (*tokenizer.Tokenizer, error) {
	t, err := m.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("model %q: %w", m.Manifest.Name, err)
	}
	return t, nil
}

func (m *Model) tokenizer() (*tokenizer.Tokenizer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hasTokenizer() {
		f, err := m.gguf()
		if err != nil {
			return nil, err
		}
		v, err := vocabulary(f)
		if err != nil {
			return nil, err
		}
		return tokenizer.FromVocabulary(v)
	}
	data, err := m.bytes(m.Manifest.beside(tokenizerName))
	if err != nil {
		return nil, err
	}
	if m.isGGUF() {
		f, err := m.gguf()
		if err != nil {
			return nil, err
		}
		t, ok := f.Tensor("token_embd.weight")
		if !ok || len(t.Shape) != 2 || t.Shape[1] > math.MaxInt32 {
			return nil, fmt.Errorf("%s has no embedding", m.Manifest.Weights)
		}
		return tokenizer.FromJSONWithin(data, int(t.Shape[1]))
	}
	config, err := m.bytes(m.Manifest.beside(configName))
	if err != nil {
		return nil, err
	}
	if n, ok := checkpoint.HFVocab(config); ok {
		return tokenizer.FromJSONWithin(data, n)
	}
	return tokenizer.FromJSON(data)
}

// hasTokenizer reports whether tokenizer.json says how texts are cut.
func (m *Model) hasTokenizer() bool {
	_, beside := m.Manifest.file(m.Manifest.beside(tokenizerName))
	return !m.isGGUF() || m.Manifest.Adapter != "" && beside
}

func (m *Model) isGGUF() bool { return path.Ext(m.Manifest.Weights) == ".gguf" }

// gguf parses GGUF weights once. The caller holds m.mu.
func (m *Model) gguf() (*gguf.File, error) {
	if m.parsed != nil {
		return m.parsed, nil
	}
	data, err := m.bytes(m.Manifest.Weights)
	if err != nil {
		return nil, err
	}
	f, err := gguf.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Manifest.Weights, err)
	}
	m.parsed = f
	return f, nil
}

// vocabulary reads the tokenizer.ggml keys of a GGUF file. All but the
// pre-tokenizer's name are required.
func vocabulary(f *gguf.File) (tokenizer.Vocabulary, error) {
	const prefix = "tokenizer.ggml."
	var v tokenizer.Vocabulary
	var missing []string
	need := func(key string, ok bool) {
		if !ok {
			missing = append(missing, prefix+key)
		}
	}
	var ok bool
	v.Model, ok = f.String(prefix + "model")
	need("model", ok)
	v.Tokens, ok = f.Strings(prefix + "tokens")
	need("tokens", ok)
	if v.Model == "llama" {
		v.Scores, ok = f.Floats(prefix + "scores")
		need("scores", ok)
		space, said := f.Bool(prefix + "add_space_prefix")
		v.NoSpace = said && !space
	} else {
		v.Merges, ok = f.Strings(prefix + "merges")
		need("merges", ok)
	}
	types, ok := f.Ints(prefix + "token_type")
	need("token_type", ok)
	if len(missing) > 0 {
		return v, fmt.Errorf("no tokenizer in the GGUF file: %s missing or of another type", strings.Join(missing, ", "))
	}
	v.Pre, _ = f.String(prefix + "pre")
	v.Types = make([]int32, len(types))
	for i, t := range types {
		if t < 0 || t > math.MaxInt32 {
			return v, fmt.Errorf("token %d has the type %d", i, t)
		}
		v.Types[i] = int32(t)
	}
	return v, nil
}

// shards lists the safetensors files in the folder of the weights: a large
// checkpoint is split over several.
func (m Manifest) shards() []string {
	var names []string
	for _, f := range m.Files {
		if path.Dir(f.Path) == path.Dir(m.Weights) && path.Ext(f.Path) == ".safetensors" {
			names = append(names, f.Path)
		}
	}
	slices.Sort(names)
	return names
}
