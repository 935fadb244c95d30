package checkpoint

import (
	"fmt"
	"math"

	"cubby/models/gguf"
)

// FromGGUF shows the weights of a GGUF file of a dense family: llama (mistral
// too), qwen2, qwen3 or gemma3. The bytes given to gguf.Parse must outlive the
// checkpoint, whose Close does not release them. Another architecture is an
// *UnsupportedError.
func FromGGUF(f *gguf.File) (Checkpoint, error) {
	architecture, ok := f.String("general.architecture")
	if !ok {
		return nil, fmt.Errorf("gguf: metadata key %q is missing; the file holds no language model", "general.architecture")
	}
	if _, ok := families[architecture]; !ok {
		return nil, &UnsupportedError{Architecture: architecture}
	}
	w, err := fromGGUF(f, architecture)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	return w, nil
}

func fromGGUF(f *gguf.File, architecture string) (*weights, error) {
	m := &metadata{file: f, architecture: architecture}
	c := m.config()
	if m.err != nil {
		return nil, m.err
	}
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	var err error
	inv := inventory{tensors: make(map[string]Tensor), spell: func(name string) string { return name }}
	for _, t := range f.Tensors() {
		if inv.tensors[t.Name], err = ggufTensor(t); err != nil {
			return nil, err
		}
	}
	if c.Classes, err = m.classes(inv.tensors); err != nil {
		return nil, err
	}
	if _, ok := inv.tensors[ropeFactors]; ok && c.RopeScaling == "" {
		c.RopeScaling = "llama3"
	}
	if c.RopeScaling == "linear" {
		list, err := linear(c.HeadDim, m.float("rope.scaling.factor", 0))
		if err != nil {
			return nil, err
		}
		inv.tensors[ropeFactors] = vector(list)
	}
	return assemble(c, inv)
}

// ggufTensor folds a shape into rows and columns. ggml drops trailing lengths of 1.
func ggufTensor(t gguf.Tensor) (Tensor, error) {
	shape := append([]uint64{}, t.Shape...)
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	if len(shape) == 1 {
		shape = append(shape, 1)
	}
	if len(shape) > 2 || shape[0] > math.MaxInt32 || shape[1] > math.MaxInt32 {
		return Tensor{}, fmt.Errorf("tensor %q of shape %v is not a matrix", t.Name, t.Shape)
	}
	return Tensor{Type: t.Type, Rows: int(shape[1]), Cols: int(shape[0]), Data: t.Data}, nil
}

// classes names the rows of a classification head, as Hugging Face does
// where the file gives no names.
func (m *metadata) classes(tensors map[string]Tensor) ([]string, error) {
	head, ok := tensors["cls.output.weight"]
	if !ok {
		return nil, nil
	}
	if err := bounded("number of classes", head.Rows, maxClasses); err != nil {
		return nil, err
	}
	key := m.key("classifier.output_labels")
	names, ok := m.file.Strings(key)
	if !ok {
		return defaultClasses(head.Rows), nil
	}
	if len(names) != head.Rows {
		return nil, fmt.Errorf("%q names %d classes, and cls.output.weight has %d rows", key, len(names), head.Rows)
	}
	return names, nil
}

func defaultClasses(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("LABEL_%d", i)
	}
	return names
}

// metadata reads the architecture's keys. Its first error sticks.
type metadata struct {
	file         *gguf.File
	architecture string
	err          error
}

func (m *metadata) config() Config {
	c := Config{
		Architecture:    m.architecture,
		Layers:          m.required("block_count"),
		Width:           m.required("embedding_length"),
		FeedForward:     m.required("feed_forward_length"),
		Heads:           m.required("attention.head_count"),
		Context:         m.required("context_length"),
		RopeBase:        m.float("rope.freq_base", 10000),
		NormEpsilon:     m.float("attention.layer_norm_rms_epsilon", 0),
		RopeInterleaved: m.architecture == llama,
		RopeScaling:     m.scaling(),
		EmbeddingScale:  1,
	}
	c.KVHeads = m.integer("attention.head_count_kv", c.Heads)
	c.HeadDim = m.integer("attention.key_length", c.Width/max(1, c.Heads))
	c.QueryScale = 1 / rootOf(c.HeadDim)
	m.same("attention.value_length", c.HeadDim)
	m.same("rope.dimension_count", c.HeadDim)
	m.same("expert_count", 0)
	if causal, ok := m.file.Bool(m.key("attention.causal")); ok && !causal {
		m.fail("attention.causal", "false, which the native engine does not compute")
	}
	if bound := m.float("final_logit_softcapping", 0); bound != 0 {
		m.cannot("final_logit_softcapping", fmt.Sprintf("%g, and the native engine caps no logits", bound))
	}
	switch m.architecture {
	case gemma3:
		m.gemma(&c)
	case llama:
		if c.Window = m.integer("attention.sliding_window", 0); c.Window > 0 {
			c.Local = allLocal(min(c.Layers, maxLayers))
		}
	default:
		m.same("attention.sliding_window", 0)
	}
	return c
}

// gemma27B is the number of layers of the one gemma3 whose queries are scaled by
// the width of a head as hidden size / heads; the file does not say so, and
// llama.cpp goes by the layers as well.
const gemma27B = 62

func (m *metadata) gemma(c *Config) {
	c.GELU, c.EmbeddingScale = true, rootOf(c.Width)
	if c.Layers == gemma27B {
		c.QueryScale = 1 / rootOf(c.Width/max(1, c.Heads))
	}
	if c.Window = m.integer("attention.sliding_window", 0); c.Window == 0 {
		return
	}
	c.LocalRopeBase = m.float("rope.freq_base_swa", 10000)
	const key = "attention.sliding_window_pattern"
	local, ok := m.file.Bools(m.key(key))
	if !ok {
		local = everyNth(min(c.Layers, maxLayers), max(1, m.integer(key, gemmaPattern)))
	}
	if len(local) != c.Layers {
		m.fail(key, fmt.Sprintf("for %d layers of %d", len(local), c.Layers))
	}
	c.Local = local
}

func (m *metadata) key(name string) string { return m.architecture + "." + name }

func (m *metadata) fail(name, problem string) {
	if m.err == nil {
		m.err = fmt.Errorf("metadata key %q is %s", m.key(name), problem)
	}
}

// cannot is fail for what another engine may compute.
func (m *metadata) cannot(name, problem string) {
	if m.err == nil {
		m.err = cannot("metadata key %q is %s", m.key(name), problem)
	}
}

func (m *metadata) has(name string) bool { return m.file.Has(m.key(name)) }

// integer reads a key that is one integer, or one for each layer, all equal.
func (m *metadata) integer(name string, absent int) int {
	if !m.has(name) {
		return absent
	}
	if n, ok := m.file.Uint(m.key(name)); ok && n <= math.MaxInt32 {
		return int(n)
	}
	list, ok := m.file.Ints(m.key(name))
	if !ok || len(list) == 0 || list[0] < 0 || list[0] > math.MaxInt32 {
		m.fail(name, "no integer in range")
		return 0
	}
	for _, n := range list {
		if n != list[0] {
			m.cannot(name, "not the same in every layer, which the native engine does not compute")
		}
	}
	return int(list[0])
}

func (m *metadata) required(name string) int {
	if !m.has(name) {
		m.fail(name, "missing")
	}
	return m.integer(name, 0)
}

func (m *metadata) float(name string, absent float64) float64 {
	if !m.has(name) {
		return absent
	}
	v, ok := m.file.Float(m.key(name))
	if !ok {
		m.fail(name, "no number")
	}
	return v
}

// same demands that a key, where it is present, has the one value that is computed.
func (m *metadata) same(name string, want int) {
	if n := m.integer(name, want); n != want {
		m.cannot(name, fmt.Sprintf("%d, and the native engine computes only %d here", n, want))
	}
}

func (m *metadata) scaling() string {
	name, _ := m.file.String(m.key("rope.scaling.type"))
	if name == "none" {
		return ""
	}
	return name
}
