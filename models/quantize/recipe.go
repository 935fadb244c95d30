package quantize

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cubby/models/gguf"
)

// kept are parts of names of matrices that are never rounded: they are small, and
// much depends on them (tensor_allows_quantization of llama.cpp).
var kept = []string{
	"_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
	"ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
	"time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
	"time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
	"time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
	"attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger",
	"a.rvq.codebook", "mm.a.code_embd",
}

// rounded reports whether a tensor is rounded at all: matrices, and stacks of them,
// whose names end in weight.
func rounded(t gguf.Tensor) bool {
	n := len(t.Shape)
	for n > 1 && t.Shape[n-1] == 1 {
		n--
	}
	if n < 2 || !strings.HasSuffix(t.Name, "weight") || t.Name == "position_embd.weight" || t.Name == "token_types.weight" {
		return false
	}
	return !slices.ContainsFunc(kept, func(part string) bool { return strings.Contains(t.Name, part) })
}

// part is what a tensor is to the model, as far as its type depends on it.
type part int

const (
	other part = iota
	embedding
	head
	values // attention values, also where they are one matrix with queries and keys
	keys
	attentionOut
	down // of the feed-forward block
)

// parts says which parts of names make which part, the first that is found.
var parts = []struct {
	in   string
	part part
}{
	{"attn_qkv.weight", values}, {"attn_kv_b.weight", values}, {"attn_v.weight", values}, {"attn_k.weight", keys},
	{"attn_q.weight", other}, {"attn_output.weight", attentionOut}, {"ffn_up", other}, {"ffn_gate", other}, {"ffn_down", down},
}

func partOf(name string) part {
	switch name {
	case "output.weight":
		return head
	case "token_embd.weight", "per_layer_token_embd.weight":
		return embedding
	}
	for _, p := range parts {
		if strings.Contains(name, p.in) {
			return p.part
		}
	}
	return other
}

// recipe chooses the types of one file's tensors, in the order of their layers
// (llama_tensor_get_type_impl of llama.cpp, as far as the schemes need it).
type recipe struct {
	scheme          Scheme
	architecture    string
	layers, experts int
	tied            bool // the embedding is the head
	shared          bool // 80 layers whose eight heads share their values: a model of 70B
	values          int  // matrices of attention values

	seenValues, seenDown int
}

func newRecipe(f *gguf.File, s Scheme) *recipe {
	architecture, _ := f.String("general.architecture")
	number := func(key string) int {
		n, _ := f.Uint(architecture + "." + key)
		return int(min(n, 1<<20))
	}
	r := &recipe{scheme: s, architecture: architecture, layers: number("block_count"), experts: number("expert_count"), tied: true}
	for _, t := range f.Tensors() {
		switch partOf(t.Name) {
		case head:
			r.tied = false
		case values:
			r.values++
		}
	}
	if r.layers == 80 {
		heads := number("attention.head_count")
		kv := number("attention.head_count_kv")
		r.shared = slices.Contains([]string{"qwen2", "deci", "olmo"}, architecture) || architecture == "llama" && kv != 0 && kv != heads
	}
	return r
}

// choose returns the type of a rounded tensor.
func (r *recipe) choose(t gguf.Tensor) (gguf.Type, error) {
	base := schemes[r.scheme].base
	if r.scheme == F16 {
		return base, nil
	}
	typ := base
	mixed := r.scheme == Q4_K_M || r.scheme == Q5_K_M
	switch p := partOf(t.Name); {
	case p == head, p == embedding && r.tied:
		typ = r.headType(t, base)
	case p == values:
		if mixed && moreBits(r.seenValues, r.values) {
			typ = gguf.Q6_K
		}
		if r.shared && typ == gguf.Q4_K {
			typ = gguf.Q5_K
		}
		if r.experts == 8 {
			typ = gguf.Q8_0
		}
		r.seenValues++
	case p == keys && r.experts == 8:
		typ = gguf.Q8_0
	case p == attentionOut && r.experts == 8 && r.scheme == Q4_K_M && r.architecture != "falcon":
		typ = gguf.Q5_K
	case p == down:
		layer, err := r.downLayer(t.Name)
		if err != nil {
			return typ, err
		}
		if mixed {
			typ = r.downType(layer, base)
		}
		r.seenDown++
	}
	return fallback(typ, t.Shape[0]), nil
}

func (r *recipe) headType(t gguf.Tensor, base gguf.Type) gguf.Type {
	if r.architecture == "falcon" || base == gguf.Q8_0 || t.Shape[0]%uint64(base.BlockSize()) != 0 {
		return gguf.Q8_0
	}
	return gguf.Q6_K
}

// downLayer is which layer of how many a matrix of the feed-forward block belongs
// to. Those of experts do not come one a layer: their names tell.
func (r *recipe) downLayer(name string) (int, error) {
	if r.experts <= 1 {
		return r.seenDown, nil
	}
	layer := layerOf(name)
	if layer < 0 || layer >= r.layers {
		return 0, fmt.Errorf("tensor %q belongs to none of the model's %d layers", name, r.layers)
	}
	return layer, nil
}

func (r *recipe) downType(layer int, base gguf.Type) gguf.Type {
	more := moreBits(layer, r.layers)
	switch {
	case r.architecture == "falcon" && r.scheme == Q4_K_M && layer < r.layers/16:
		return gguf.Q6_K
	case r.architecture == "falcon" && r.scheme == Q4_K_M && more:
		return gguf.Q5_K
	case more:
		return gguf.Q6_K
	}
	return base
}

// moreBits picks the first and the last eighth of the layers, and every third one
// between.
func moreBits(layer, layers int) bool {
	return layer < layers/8 || layer >= 7*layers/8 || (layer-layers/8)%3 == 2
}

// fallbacks are the types for rows that are no whole blocks of 256 values.
var fallbacks = map[gguf.Type]gguf.Type{gguf.Q4_K: gguf.Q5_0, gguf.Q5_K: gguf.Q5_1, gguf.Q6_K: gguf.Q8_0}

func fallback(t gguf.Type, cols uint64) gguf.Type {
	fits := func() bool { return cols%uint64(t.BlockSize()) == 0 }
	if other, ok := fallbacks[t]; ok && !fits() {
		t = other
	}
	if !fits() {
		return gguf.F16
	}
	return t
}

// layerOf is the layer that a tensor's name gives, -1 where it gives none.
func layerOf(name string) int {
	layer := -1
	_, _ = fmt.Sscanf(name, "blk.%d.", &layer)
	return layer
}

// byLayer orders tensors as the recipe counts them: by layer, then by name.
func byLayer(a, b gguf.Tensor) int {
	return cmp.Or(cmp.Compare(layerOf(a.Name), layerOf(b.Name)), strings.Compare(a.Name, b.Name))
}
