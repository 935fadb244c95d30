package lora

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"cubby/models/safetensors"
)

// Adapter is an opened adapter.
type Adapter struct {
	Config Config

	file   io.ReaderAt
	pairs  map[string]*pair  // by module
	wholes map[string]*whole // by tensor
}

// pair is the two factors of one module's update: rank × inputs and outputs ×
// rank.
type pair struct {
	module    string
	a, b      *safetensors.Header
	embedding bool // the base's matrix is inputs × outputs
}

// whole is a tensor that takes the place of the base's.
type whole struct {
	name   string
	header safetensors.Header
	// original says that it is what the update is added to, not what was trained.
	original bool
}

const prefix = "base_model.model."

// Names of PEFT behind the name of a module.
const (
	linearA, linearB = ".lora_A.weight", ".lora_B.weight"
	embedA, embedB   = ".lora_embedding_A", ".lora_embedding_B"
	magnitude        = ".lora_magnitude_vector"
	factorBias       = ".lora_B.bias"
	baseLayer        = ".base_layer."
)

// Open reads an adapter: its adapter_config.json, and the header of its
// adapter_model.safetensors, a file of size bytes. The file is read until the
// merge is done.
func Open(config []byte, file io.ReaderAt, size int64) (*Adapter, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := safetensors.Scan(file, size)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, file: file, pairs: map[string]*pair{}, wholes: map[string]*whole{}}
	for i := range list {
		if err := a.take(&list[i]); err != nil {
			return nil, err
		}
	}
	return a, a.check()
}

// take finds out what a tensor is.
func (a *Adapter) take(h *safetensors.Header) error {
	name, ok := strings.CutPrefix(h.Name, prefix)
	if !ok {
		return fmt.Errorf("adapter tensor %q does not begin with %q: PEFT did not save it", h.Name, prefix)
	}
	for _, end := range []string{linearA, linearB, embedA, embedB} {
		if module, ok := strings.CutSuffix(name, end); ok {
			return a.factor(module, end, h)
		}
	}
	switch {
	case strings.Contains(name, magnitude):
		return unsupported("adapter tensor %q: DoRA is not merged here", h.Name)
	case strings.HasSuffix(name, factorBias):
		return unsupported("adapter tensor %q: a bias of lora_B is not merged here", h.Name)
	case strings.Contains(name, ".lora_"):
		return unsupported("adapter tensor %q is of a kind of LoRA that is not merged here", h.Name)
	}
	w := &whole{name: name, header: *h}
	if i := strings.LastIndex(name, baseLayer); i >= 0 {
		w.name, w.original = name[:i]+name[i+len(baseLayer)-1:], true
	}
	if !w.original && !a.Config.saves(moduleOf(w.name)) && !isEmbedding(w.name) && !isHead(w.name) {
		return fmt.Errorf("adapter tensor %q belongs to no update, and modules_to_save does not name its module", h.Name)
	}
	if other := a.wholes[w.name]; other != nil {
		return fmt.Errorf("adapter tensors %q and %q are the same weights", other.header.Name, h.Name)
	}
	a.wholes[w.name] = w
	return nil
}

func (a *Adapter) factor(module, end string, h *safetensors.Header) error {
	p := a.pairs[module]
	if p == nil {
		p = &pair{module: module, embedding: end == embedA || end == embedB}
		a.pairs[module] = p
	}
	slot := &p.a
	if end == linearB || end == embedB {
		slot = &p.b
	}
	if *slot != nil || p.embedding != (end == embedA || end == embedB) {
		return fmt.Errorf("module %q has the factors of an embedding and of a linear layer", module)
	}
	*slot = h
	return nil
}

// check wants pairs to be complete, and to be what the configuration says.
func (a *Adapter) check() error {
	if len(a.pairs) == 0 && len(a.wholes) == 0 {
		return errors.New("the adapter has no tensors")
	}
	for _, module := range sortedKeys(a.pairs) {
		if err := a.checkPair(a.pairs[module]); err != nil {
			return fmt.Errorf("module %q: %w", module, err)
		}
	}
	return nil
}

func (a *Adapter) checkPair(p *pair) error {
	switch {
	case p.a == nil:
		return errors.New("lora_B is there without lora_A: the adapter's file is incomplete")
	case p.b == nil:
		return errors.New("lora_A is there without lora_B: the adapter's file is incomplete")
	case len(p.a.Shape) != 2 || len(p.b.Shape) != 2:
		return unsupported("lora_A of shape %v and lora_B of shape %v are not of a linear layer", p.a.Shape, p.b.Shape)
	case p.a.Shape[0] != p.b.Shape[1]:
		return fmt.Errorf("lora_A of shape %v and lora_B of shape %v have no common rank", p.a.Shape, p.b.Shape)
	}
	if r := a.Config.rankOf(p.module); r != p.a.Shape[0] {
		return fmt.Errorf("its factors have rank %d, and adapter_config.json says %d", p.a.Shape[0], r)
	}
	if a.Config.targets.excludes(p.module) || a.Config.saves(p.module) {
		return errors.New("it has factors, and by its target_modules or modules_to_save adapter_config.json is of an adapter without")
	}
	if p.embedding && a.Config.keepTied {
		return unsupported("ensure_weight_tying with factors of an embedding is not merged here")
	}
	return nil
}

// moduleOf is the name of the module that a tensor belongs to.
func moduleOf(tensor string) string {
	i := strings.LastIndexByte(tensor, '.')
	return tensor[:max(i, 0)]
}

// The names that transformers gives the embedding, the output matrix and the head
// of a classifier.
const (
	embeddingName = "model.embed_tokens.weight"
	headName      = "lm_head.weight"
	scoreName     = "score.weight"
)

func isEmbedding(tensor string) bool { return canonical(tensor) == embeddingName }
func isHead(tensor string) bool      { return canonical(tensor) == headName }

// languageModel is the part of a multimodal model that is merged into. Where it
// stands in a name differs between files and running models, and between releases
// of transformers.
const languageModel = "language_model"

// canonical is a tensor's name in a model of language alone.
func canonical(name string) string {
	if !strings.Contains(name, languageModel) {
		return name
	}
	parts := slices.DeleteFunc(strings.Split(name, "."), func(s string) bool { return s == languageModel })
	return strings.Join(parts, ".")
}
