package checkpoint

import (
	"fmt"
	"math"

	"cubby/models/gguf"
)

// FromGGUF shows the weights of a llama-family GGUF file. The bytes given to
// gguf.Parse must outlive the checkpoint, whose Close does not release them.
// Another architecture is an *UnsupportedError.
func FromGGUF(f *gguf.File) (Checkpoint, error) {
	architecture, ok := f.String("general.architecture")
	if !ok {
		return nil, fmt.Errorf("gguf: metadata key %q is missing; the file holds no language model", "general.architecture")
	}
	if architecture != llama {
		return nil, &UnsupportedError{architecture}
	}
	w, err := fromGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	return w, nil
}

func fromGGUF(f *gguf.File) (*weights, error) {
	c, err := ggufConfig(f)
	if err != nil {
		return nil, err
	}
	inv := inventory{tensors: make(map[string]Tensor), spell: func(name string) string { return name }}
	for _, t := range f.Tensors() {
		if inv.tensors[t.Name], err = ggufTensor(t); err != nil {
			return nil, err
		}
	}
	if c.Classes, err = ggufClasses(f, inv.tensors); err != nil {
		return nil, err
	}
	if _, ok := inv.tensors[ropeFactors]; ok && c.RopeScaling == "" {
		c.RopeScaling = "llama3"
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

// ggufClasses names the rows of a classification head, as Hugging Face does
// where the file gives no names.
func ggufClasses(f *gguf.File, tensors map[string]Tensor) ([]string, error) {
	head, ok := tensors["cls.output.weight"]
	if !ok {
		return nil, nil
	}
	if err := bounded("number of classes", head.Rows, maxClasses); err != nil {
		return nil, err
	}
	const key = llama + ".classifier.output_labels"
	names, ok := f.Strings(key)
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
	file *gguf.File
	err  error
}

func ggufConfig(f *gguf.File) (Config, error) {
	m := &metadata{file: f}
	c := Config{
		Architecture:    llama,
		Layers:          m.required("block_count"),
		Width:           m.required("embedding_length"),
		FeedForward:     m.required("feed_forward_length"),
		Heads:           m.required("attention.head_count"),
		Context:         m.required("context_length"),
		RopeBase:        m.float("rope.freq_base", 10000),
		NormEpsilon:     m.float("attention.layer_norm_rms_epsilon", 0),
		RopeInterleaved: true,
		RopeScaling:     m.scaling(),
	}
	c.KVHeads = m.integer("attention.head_count_kv", c.Heads)
	c.HeadDim = m.integer("attention.key_length", c.Width/max(1, c.Heads))
	m.same("attention.value_length", c.HeadDim)
	m.same("rope.dimension_count", c.HeadDim)
	m.same("expert_count", 0)
	if causal, ok := f.Bool(m.key("attention.causal")); ok && !causal {
		m.fail("attention.causal", "false, which the native engine does not compute")
	}
	return c, m.err
}

func (m *metadata) key(name string) string { return llama + "." + name }

func (m *metadata) fail(name, problem string) {
	if m.err == nil {
		m.err = fmt.Errorf("metadata key %q is %s", m.key(name), problem)
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
			m.fail(name, "not the same in every layer, which the native engine does not compute")
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
		m.fail(name, fmt.Sprintf("%d, and the native engine computes only %d here", n, want))
	}
}

func (m *metadata) scaling() string {
	name, _ := m.file.String(m.key("rope.scaling.type"))
	if name == "none" {
		return ""
	}
	return name
}
