package lora

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
)

// ErrMergeInstead is in the chain of errors about adapters that can be merged into
// their base, and not kept beside it.
var ErrMergeInstead = errors.New("merge it instead: import it without -keep-adapter")

func notBeside(format string, args ...any) error {
	return fmt.Errorf("%s; %w", fmt.Sprintf(format, args...), ErrMergeInstead)
}

// The keys of an adapter's GGUF file, and the ends of its tensors' names behind
// those of the base's. Source: src/llama-adapter.cpp of llama.cpp.
const (
	architectureKey = "general.architecture"
	typeKey         = "general.type"
	adapterTypeKey  = "adapter.type"
	alphaKey        = "adapter.lora.alpha"
	adapterKeys     = "adapter."

	isAdapter, isLoRA = "adapter", "lora"
	factorA, factorB  = ".lora_a", ".lora_b"
)

// Conversion is an adapter that is ready to be written as llama.cpp reads it.
type Conversion struct {
	adapter      *Adapter
	architecture string
	alpha        float32
	updates      []converted
}

// converted is the update of one of the base's matrices.
type converted struct {
	*pair
	tensor string        // of the base
	factor float64       // what the format cannot say of the scale, for lora_b
	order  func(int) int // row of lora_b in the order of transformers
}

// Convert checks an adapter against its base, a GGUF file of a family that package
// checkpoint reads, in whatever types. Only updates of linear layers can stay beside
// the base: all else is ErrMergeInstead.
//
// llama.cpp computes alpha/rank·B·(A·x), with one alpha for all. Factors are written
// in float32, which holds them exactly. A scale that is not alpha/rank is multiplied
// into lora_b, each product rounded once.
func (a *Adapter) Convert(base *gguf.File) (*Conversion, error) {
	c := &Conversion{adapter: a}
	c.architecture, _ = base.String(architectureKey)
	if alpha := float32(a.Config.alpha); float64(alpha) == a.Config.alpha {
		c.alpha = alpha
	}
	if err := a.linearOnly(); err != nil {
		return nil, err
	}
	matrices, err := matricesOf(base, c.architecture)
	if err != nil {
		return nil, err
	}
	if err := c.assign(base, matrices); err != nil {
		return nil, err
	}
	return c, a.Config.untouched(func(yield func(string) bool) {
		for name, m := range matrices {
			if !slices.ContainsFunc(c.updates, func(u converted) bool { return u.tensor == m.Name }) && !yield(name) {
				return
			}
		}
	})
}

// linearOnly refuses what llama.cpp has no place for.
func (a *Adapter) linearOnly() error {
	if len(a.wholes) > 0 {
		return notBeside("the adapter holds weights that were trained whole (modules_to_save): %s", some(sortedKeys(a.wholes)))
	}
	if a.Config.fanInOut {
		return notBeside("fan_in_fan_out is set")
	}
	for _, module := range sortedKeys(a.pairs) {
		if a.pairs[module].embedding {
			return notBeside("module %q is an embedding", module)
		}
	}
	return nil
}

// matricesOf are the base's, by what an adapter calls them.
func matricesOf(base *gguf.File, architecture string) (map[string]gguf.Tensor, error) {
	found := map[string]gguf.Tensor{}
	for _, t := range base.Tensors() {
		if name, ok := checkpoint.HFName(architecture, t.Name); ok && len(t.Shape) == 2 {
			found[canonical(name)] = t
		}
	}
	if len(found) == 0 {
		return nil, notBeside("the base's architecture %.40q is not one whose tensors are known here by the names that an adapter gives them", architecture)
	}
	return found, nil
}

func (c *Conversion) assign(base *gguf.File, matrices map[string]gguf.Tensor) error {
	var left []string
	for _, module := range sortedKeys(c.adapter.pairs) {
		p := c.adapter.pairs[module]
		t, ok := matrices[canonical(module)+".weight"]
		if !ok && isHead(module+".weight") {
			return notBeside("the adapter changes the output matrix, which in the base is the embedding too")
		}
		if !ok {
			left = append(left, p.a.Name, p.b.Name)
			continue
		}
		u, err := c.update(base, p, t)
		if err != nil {
			return fmt.Errorf("module %q: %w", module, err)
		}
		c.updates = append(c.updates, u)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d adapter tensors have no place in the base, which is another model than the adapter's: %s", len(left), some(left))
	}
	return nil
}

func (c *Conversion) update(base *gguf.File, p *pair, t gguf.Tensor) (u converted, err error) {
	if slices.ContainsFunc(c.updates, func(u converted) bool { return u.tensor == t.Name }) {
		return u, fmt.Errorf("the adapter has another update of the same weights, %s", t.Name)
	}
	rows, cols := p.b.Shape[0], p.a.Shape[1]
	if !slices.Equal(t.Shape, []uint64{uint64(cols), uint64(rows)}) {
		return u, fmt.Errorf("lora_A of shape %v and lora_B of shape %v make an update of %d × %d, and the base's %s is %d × %d: it is another model",
			p.a.Shape, p.b.Shape, rows, cols, t.Name, t.Shape[1], t.Shape[0])
	}
	u = converted{pair: p, tensor: t.Name, factor: c.adapter.Config.factor(p.module, float64(c.alpha)), order: func(i int) int { return i }}
	if checkpoint.Interleaved(c.architecture, t.Name) {
		d, err := headDim(base, c.architecture)
		if err == nil && rows%d != 0 {
			err = fmt.Errorf("%d rows are not whole heads of %d", rows, d)
		}
		if err != nil {
			return u, err
		}
		u.order = func(i int) int { return checkpoint.InterleavedRow(i, d) }
	}
	return u, nil
}

// headDim is the width of an attention head, even.
func headDim(base *gguf.File, architecture string) (int, error) {
	n, ok := base.Uint(architecture + ".attention.key_length")
	if !ok {
		width, _ := base.Uint(architecture + ".embedding_length")
		heads, _ := base.Uint(architecture + ".attention.head_count")
		n = width / max(1, heads)
	}
	if n < 2 || n%2 != 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("the base's heads are %d wide", n)
	}
	return int(n), nil
}

// factor is the scale of a module's product relative to alpha/rank; relative to 1
// where alpha is 0, by which llama.cpp means that.
func (c *Config) factor(module string, alpha float64) float64 {
	if alpha == 0 {
		return c.scale(module)
	}
	f := of(c.alphas, module, c.alpha) / alpha
	if c.rooted {
		f *= math.Sqrt(of(c.ranks, module, float64(c.rank)))
	}
	return f
}

// Write writes the adapter as a GGUF file.
func (c *Conversion) Write(w io.Writer) error {
	meta := []gguf.Meta{
		{Key: architectureKey, Value: c.architecture}, {Key: typeKey, Value: isAdapter}, {Key: adapterTypeKey, Value: isLoRA}, {Key: alphaKey, Value: c.alpha},
	}
	var list []gguf.Content
	for _, u := range c.updates {
		rank, cols, rows := u.a.Shape[0], u.a.Shape[1], u.b.Shape[0]
		list = append(list, matrix(u.tensor+factorA, cols, rank, func() ([]float32, error) { return c.adapter.read(u.a) }),
			matrix(u.tensor+factorB, rank, rows, func() ([]float32, error) { return c.left(u) }))
	}
	return gguf.Write(w, meta, list)
}

// left is a module's lora_b as it is written.
func (c *Conversion) left(u converted) ([]float32, error) {
	values, err := c.adapter.read(u.b)
	if err != nil {
		return nil, err
	}
	rank := u.a.Shape[0]
	out := make([]float32, len(values))
	for i := range len(values) / rank {
		for k, v := range values[u.order(i)*rank:][:rank] {
			out[i*rank+k] = float32(float64(v) * u.factor)
		}
	}
	if !finite(out) {
		return nil, notBeside("adapter tensor %q times its scale is too large for float32", u.b.Name)
	}
	return out, nil
}

// matrix is a tensor in float32.
func matrix(name string, cols, rows int, read func() ([]float32, error)) gguf.Content {
	return gguf.Content{Name: name, Type: gguf.F32, Shape: []uint64{uint64(cols), uint64(rows)}, Size: 4 * int64(cols) * int64(rows), Write: func(w io.Writer) error {
		values, err := read()
		if err != nil {
			return err
		}
		data := make([]byte, 0, 4*len(values))
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		_, err = w.Write(data)
		return err
	}}
}

// CheckGGUF reports why llama.cpp could not put an adapter's GGUF file on a base, or
// would compute something else than a plain LoRA. It reads headers only.
func CheckGGUF(base, adapter *gguf.File) error {
	if kind, _ := adapter.String(typeKey); kind != isAdapter {
		return fmt.Errorf("it is no adapter: %s is %.40q", typeKey, kind)
	}
	if kind, _ := adapter.String(adapterTypeKey); kind != isLoRA {
		return fmt.Errorf("%s is %.40q, not %q", adapterTypeKey, kind, isLoRA)
	}
	if alpha, ok := adapter.Float32(alphaKey); !ok || !(alpha >= 0) || math.IsInf(float64(alpha), 0) {
		return fmt.Errorf("%s is no float32 of 0 or more", alphaKey)
	}
	for _, key := range adapter.Keys() {
		if strings.HasPrefix(key, adapterKeys) && key != adapterTypeKey && key != alphaKey {
			return fmt.Errorf("metadata key %.80q is unknown here and may change what is computed", key)
		}
	}
	of, _ := adapter.String(architectureKey)
	if architecture, _ := base.String(architectureKey); of != architecture {
		return fmt.Errorf("it is for the architecture %.40q, and the base is %.40q", of, architecture)
	}
	return checkFactors(base, adapter)
}

func checkFactors(base, adapter *gguf.File) error {
	list := adapter.Tensors()
	if len(list) == 0 {
		return errors.New("it holds no tensors")
	}
	for _, t := range list {
		name, isA := strings.CutSuffix(t.Name, factorA)
		name, isB := strings.CutSuffix(name, factorB)
		if isA == isB {
			return fmt.Errorf("tensor %.80q is not a factor of an update", t.Name)
		}
		w, ok := base.Tensor(name)
		if !ok {
			return fmt.Errorf("tensor %.80q is for weights that the base lacks: it is another model", t.Name)
		}
		a, hasA := adapter.Tensor(name + factorA)
		b, hasB := adapter.Tensor(name + factorB)
		if !hasA || !hasB {
			return fmt.Errorf("tensor %.80q has no other factor: the file is incomplete", t.Name)
		}
		if err := checkShapes(w, a, b); err != nil {
			return fmt.Errorf("tensor %.80q: %w", t.Name, err)
		}
	}
	return nil
}

func checkShapes(w, a, b gguf.Tensor) error {
	if len(w.Shape) != 2 || len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[1] != b.Shape[0] || a.Shape[0] != w.Shape[0] || b.Shape[1] != w.Shape[1] {
		return fmt.Errorf("factors of shapes %v and %v do not make an update of the base's %v: it is another model", a.Shape, b.Shape, w.Shape)
	}
	if a.Shape[1] > maxRank {
		return fmt.Errorf("rank %d is above %d", a.Shape[1], maxRank)
	}
	if floats := []gguf.Type{gguf.F32, gguf.F16, gguf.BF16}; !slices.Contains(floats, a.Type) || !slices.Contains(floats, b.Type) {
		return fmt.Errorf("factors of type %s and %s are not floats", a.Type, b.Type)
	}
	if strings.HasPrefix(w.Name, "token_embd.") {
		return errors.New("an update of the embedding is not known here")
	}
	return nil
}
