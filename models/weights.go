package models

import (
	"fmt"
	"math"
	"path"
	"slices"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/safetensors"
	"cubby/models/tokenizer"
)

const (
	configName    = "config.json"    // Hugging Face model configuration
	tokenizerName = "tokenizer.json" // Hugging Face tokenizer
)

// Checkpoint opens the weights. A classification head must have one output for
// each label.
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

// Tokenizer builds the tokenizer, from tokenizer.json beside safetensors
// weights, or from the vocabulary in a GGUF file.
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
	if m.isGGUF() {
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
	return tokenizer.FromJSON(data)
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

// vocabulary reads the tokenizer.ggml keys of a GGUF file.
func vocabulary(f *gguf.File) (tokenizer.Vocabulary, error) {
	var v tokenizer.Vocabulary
	var ok [4]bool
	v.Model, ok[0] = f.String("tokenizer.ggml.model")
	v.Pre, _ = f.String("tokenizer.ggml.pre")
	v.Tokens, ok[1] = f.Strings("tokenizer.ggml.tokens")
	v.Merges, ok[2] = f.Strings("tokenizer.ggml.merges")
	types, isList := f.Ints("tokenizer.ggml.token_type")
	ok[3] = isList
	for _, t := range types {
		if t < 0 || t > math.MaxInt32 {
			return v, fmt.Errorf("token type %d is out of range", t)
		}
		v.Types = append(v.Types, int32(t))
	}
	for i, key := range []string{"model", "tokens", "merges", "token_type"} {
		if !ok[i] {
			return v, fmt.Errorf("GGUF key %q is missing or of another type, so there is no tokenizer", "tokenizer.ggml."+key)
		}
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
