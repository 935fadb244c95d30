package convert

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"

	upstream "github.com/ollama/ollama/convert"
	"github.com/ollama/ollama/fs/ggml"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/safetensors"
)

// by names the other converter in a Summary.
const by = "github.com/ollama/ollama/convert"

// foreign writes a model of a family that package checkpoint does not read.
func (f *folder) foreign(unknown *checkpoint.UnsupportedError, config []byte, shards []*safetensors.File, w io.Writer) (Summary, error) {
	fam, ok := families[unknown.Architecture]
	if !ok {
		return Summary{}, fmt.Errorf("%w once llama.cpp's convert_hf_to_gguf.py has made a GGUF file of it", unknown)
	}
	h, err := readConfig(config, fam)
	if err != nil {
		return Summary{}, fmt.Errorf("config.json: %w", err)
	}
	var m converted
	if err := guard(func() error { m, err = h.convert(shards); return err }); err != nil {
		return Summary{}, err
	}
	rows, matrices, err := m.embedding()
	if err != nil {
		return Summary{}, err
	}
	if h.Vocab != nil && *h.Vocab != rows {
		return Summary{}, fmt.Errorf("the embedding has %d rows, and vocab_size is %d", rows, *h.Vocab)
	}
	tokens, err := f.meta(config, rows, matrices)
	if err != nil {
		return Summary{}, err
	}
	for i, t := range tokens {
		if t.Key == "tokenizer.ggml.pre" && fam.pre[t.Value.(string)] != "" {
			tokens[i].Value = fam.pre[t.Value.(string)]
		}
	}
	m.values["vocab_size"] = uint32(rows)
	return Summary{fam.architecture, by}, gguf.Write(w, append(m.meta(fam), tokens...), m.tensors)
}

// converted is a model under llama.cpp's names, without its tokenizer.
type converted struct {
	values  map[string]any // by the key behind the architecture
	tensors []gguf.Content
}

// convert asks the other converter, which may panic.
func (h hybrid) convert(shards []*safetensors.File) (m converted, err error) {
	model, tok, err := upstream.LoadModelMetadata(fstest.MapFS{
		"config.json":    {Data: h.forUpstream},
		"tokenizer.json": {Data: []byte("{}")},
	})
	if err != nil {
		return m, err
	}
	conv, ok := model.(upstream.ModelConverter)
	if !ok {
		return m, errors.New("it is no model that writes")
	}
	list, err := h.tensors(shards, strings.NewReplacer(conv.Replacements()...))
	if err != nil {
		return m, err
	}
	kv := conv.KV
	if c, ok := conv.(upstream.MultimodalConverter); ok {
		kv = c.TextKV
	}
	if m.values, err = h.values(kv(tok)); err != nil {
		return m, err
	}
	for _, t := range conv.Tensors(list) {
		m.tensors = append(m.tensors, content(t))
	}
	slices.SortFunc(m.tensors, func(a, b gguf.Content) int {
		return cmp.Or(cmp.Compare(block(a.Name), block(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	if err := h.complete(m.tensors); err != nil {
		return m, err
	}
	return m, h.mend(m)
}

// tensors lists what the text model needs, under llama.cpp's names. Vision and the
// layers that predict further tokens are left out: nothing here runs them.
func (h hybrid) tensors(shards []*safetensors.File, names *strings.Replacer) ([]upstream.Tensor, error) {
	var list []upstream.Tensor
	for _, shard := range shards {
		for _, t := range shard.Tensors() {
			switch {
			case strings.HasPrefix(t.Name, "mtp."), strings.HasPrefix(t.Name, "model.visual."), strings.HasPrefix(t.Name, "visual."):
				continue
			case t.Name == "lm_head.weight" && h.tied():
				continue
			}
			name := names.Replace(t.Name)
			if t.Name == "lm_head.weight" {
				name = "output.weight"
			}
			made, err := newTensor(name, t)
			if err != nil {
				return nil, err
			}
			list = append(list, made)
		}
	}
	return list, nil
}

// content is a tensor to write, with the shape in the order of a GGUF file.
func content(t *ggml.Tensor) gguf.Content {
	shape := slices.Clone(t.Shape)
	slices.Reverse(shape)
	size := int64(gguf.Type(t.Kind).RowSize(int(shape[0])))
	for _, n := range shape[1:] {
		size *= int64(n)
	}
	return gguf.Content{Name: t.Name, Type: gguf.Type(t.Kind), Shape: shape, Size: size, Write: func(w io.Writer) error {
		return guard(func() error { _, err := t.WriteTo(w); return err })
	}}
}

// block is the number of a tensor's layer, one beyond all for a tensor of none.
func block(name string) int {
	rest, ok := strings.CutPrefix(name, "blk.")
	number, _, _ := strings.Cut(rest, ".")
	if n, err := strconv.Atoi(number); ok && err == nil {
		return n
	}
	return maxLayers
}

// complete demands the tensors that llama.cpp has for the family, and no others.
func (h hybrid) complete(tensors []gguf.Content) error {
	want := map[string]bool{}
	for _, name := range h.fam.top {
		want[name] = true
	}
	if !h.tied() {
		want["output.weight"] = true
	}
	for i, attends := range h.attends {
		parts := h.fam.recurrent
		if attends {
			parts = h.fam.attention
		}
		for _, part := range slices.Concat(h.fam.common, parts) {
			want[fmt.Sprintf("blk.%d.%s", i, part)] = true
		}
	}
	for _, t := range tensors {
		if !want[t.Name] {
			return fmt.Errorf("tensor %q is not one of %s's, or stands twice", t.Name, h.fam.architecture)
		}
		delete(want, t.Name)
	}
	if len(want) > 0 {
		return fmt.Errorf("tensor %q is missing", slices.Min(slices.Collect(maps.Keys(want))))
	}
	return nil
}

// embedding returns the number of tokens, and the type of the matrices.
func (m converted) embedding() (rows int, matrices gguf.Type, err error) {
	i := slices.IndexFunc(m.tensors, func(t gguf.Content) bool { return t.Name == "token_embd.weight" })
	if i < 0 || len(m.tensors[i].Shape) != 2 || m.tensors[i].Shape[1] > maxVocabulary {
		return 0, 0, errors.New("the embedding is no matrix of at most 2^20 rows")
	}
	return int(m.tensors[i].Shape[1]), m.tensors[i].Type, nil
}

func (m converted) meta(fam family) []gguf.Meta {
	list := []gguf.Meta{{Key: "general.architecture", Value: fam.architecture}}
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		list = append(list, gguf.Meta{Key: fam.architecture + "." + key, Value: m.values[key]})
	}
	return list
}

// values takes the model's parameters from what the other converter says. Its
// tokenizer was empty.
func (h hybrid) values(kv upstream.KV) (map[string]any, error) {
	if arch := kv.Architecture(); arch != h.fam.architecture {
		return nil, fmt.Errorf("it is of the architecture %q, which is not converted here", arch)
	}
	values := map[string]any{}
	for key, value := range kv {
		if !strings.HasPrefix(key, "general.") && !strings.HasPrefix(key, "tokenizer.") {
			values[strings.TrimPrefix(key, h.fam.architecture+".")] = value
		}
	}
	return values, nil
}

// mend corrects the parameters by what the weights and the configuration say.
func (h hybrid) mend(m converted) error {
	for _, t := range m.tensors {
		if strings.HasSuffix(t.Name, ".ffn_gate.weight") && len(t.Shape) == 2 {
			m.values["feed_forward_length"] = uint32(t.Shape[1])
		}
	}
	if h.fam.recurrentKey == "" {
		return nil
	}
	recurrent := make([]bool, len(h.attends))
	for i, attends := range h.attends {
		recurrent[i] = !attends
	}
	m.values[h.fam.recurrentKey] = recurrent
	delete(m.values, "full_attention_interval")
	if n := slices.Index(h.attends, true) + 1; slices.Equal(h.attends, everyNth(len(h.attends), n)) {
		m.values["full_attention_interval"] = uint32(n) // what older releases of llama.cpp read
	}
	if m.values["rope.dimension_sections"] == nil {
		m.values["rope.dimension_sections"] = []int32{11, 11, 10, 0} // transformers' default
	}
	return nil
}
