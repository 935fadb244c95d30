package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// What the other converter allocates for is bounded by what models have.
const (
	maxLayers     = 1024
	maxVocabulary = 1 << 20
	maxLength     = 1 << 20
)

// family is what llama.cpp has of an architecture.
type family struct {
	architecture string
	class        string // name of the class that the other converter knows
	modelType    string
	nested       bool // its configuration stands in a text_config
	// pre renames pre-tokenisers that have a name of their own in this family.
	pre map[string]string
	top []string
	// The parts of a layer: of each, and of those with attention and without.
	common, attention, recurrent []string
	// recurrentKey tells which layers have no attention; empty where the number of
	// key-value heads does.
	recurrentKey string
	tied         bool // unless the configuration says otherwise
	every        int  // layer has attention where the configuration does not say which; 1: all
}

var attention = []string{"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "attn_q_norm.weight", "attn_k_norm.weight"}

var lfm2 = family{
	architecture: "lfm2", class: "Lfm2ForCausalLM", modelType: "lfm2", pre: map[string]string{"llama-bpe": "lfm2"},
	top:       []string{"token_embd.weight", "token_embd_norm.weight"},
	common:    []string{"attn_norm.weight", "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"},
	attention: attention,
	recurrent: []string{"shortconv.conv.weight", "shortconv.in_proj.weight", "shortconv.out_proj.weight"},
	tied:      true, every: 1,
}

var qwen35 = family{
	architecture: "qwen35", class: "Qwen3_5ForConditionalGeneration", modelType: "qwen3_5", nested: true,
	top:       []string{"token_embd.weight", "output_norm.weight"},
	common:    []string{"attn_norm.weight", "post_attention_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"},
	attention: attention,
	recurrent: []string{"attn_qkv.weight", "attn_gate.weight", "ssm_alpha.weight", "ssm_beta.weight", "ssm_conv1d.weight", "ssm_a", "ssm_dt.bias",
		"ssm_norm.weight", "ssm_out.weight"},
	recurrentKey: "attention.recurrent_layers", every: 4,
}

// families are the ones that are converted, by transformers' name of the class, or
// by the model type where a config.json names no class.
var families = map[string]family{
	"Lfm2ForCausalLM": lfm2, "lfm2": lfm2,
	"Qwen3_5ForCausalLM": qwen35, "Qwen3_5ForConditionalGeneration": qwen35, "qwen3_5": qwen35, "qwen3_5_text": qwen35,
}

// hybrid is the part of a config.json that is checked here.
type hybrid struct {
	fam     family
	attends []bool // by layer

	Layers   int             `json:"num_hidden_layers"`
	Width    int             `json:"hidden_size"`
	Heads    int             `json:"num_attention_heads"`
	KVHeads  int             `json:"num_key_value_heads"`
	HeadDim  *int            `json:"head_dim"`
	KeyHeads *int            `json:"linear_num_key_heads"`
	Values   *int            `json:"linear_num_value_heads"`
	KeyDim   *int            `json:"linear_key_head_dim"`
	ValueDim *int            `json:"linear_value_head_dim"`
	Kernel   *int            `json:"linear_conv_kernel_dim"`
	Vocab    *int            `json:"vocab_size"`
	Types    []string        `json:"layer_types"`
	Full     []int           `json:"full_attn_idxs"`
	Interval *int            `json:"full_attention_interval"`
	Tied     *bool           `json:"tie_word_embeddings"`
	OldTied  *bool           `json:"tie_embedding"`
	Act      string          `json:"hidden_act"`
	Rope     scaling         `json:"rope_parameters"`
	OldRope  scaling         `json:"rope_scaling"`
	Quant    json.RawMessage `json:"quantization_config"`

	forUpstream []byte // the configuration as the other converter is given it
}

type scaling struct {
	Type    string `json:"rope_type"`
	OldType string `json:"type"`
}

func (h hybrid) tied() bool {
	for _, said := range []*bool{h.OldTied, h.Tied} {
		if said != nil {
			return *said
		}
	}
	return h.fam.tied
}

// readConfig checks a config.json and writes it anew for the other converter.
func readConfig(config []byte, fam family) (hybrid, error) {
	h := hybrid{fam: fam}
	top, fields := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &top); err != nil {
		return h, err
	}
	text := json.RawMessage(config)
	if inner, ok := top["text_config"]; ok && fam.nested {
		text = inner
	}
	if err := json.Unmarshal(config, &h); err != nil {
		return h, err
	}
	outer := h.Tied // of the whole model, where it has a vision tower
	if err := errors.Join(json.Unmarshal(text, &fields), json.Unmarshal(text, &h)); err != nil {
		return h, fmt.Errorf("text_config: %w", err)
	}
	if outer != nil && *outer {
		h.Tied = outer
	}
	if err := h.check(); err != nil {
		return h, err
	}
	var err error
	h.forUpstream, err = json.Marshal(h.upstream(fields))
	return h, err
}

// copied are the fields that the other converter gets as they are.
var copied = []string{"max_position_embeddings", "rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor", "norm_eps", "rms_norm_eps", "conv_L_cache"}

// upstream is the configuration for the other converter: checked numbers, and
// nothing that is not named here, in whatever spelling.
func (h *hybrid) upstream(fields map[string]json.RawMessage) map[string]any {
	text := map[string]any{}
	for name, n := range h.lengths() {
		if n != nil {
			text[name] = *n
		}
	}
	for _, name := range copied {
		if value, ok := fields[name]; ok {
			text[name] = value
		}
	}
	types := make([]string, len(h.attends))
	for i, attends := range h.attends {
		types[i] = "linear_attention"
		if attends {
			types[i] = "full_attention"
		}
	}
	text["layer_types"] = types
	top := text
	if h.fam.nested {
		top = map[string]any{"text_config": text}
	}
	top["architectures"], top["model_type"] = []string{h.fam.class}, h.fam.modelType
	return top
}

// lengths are the numbers that something is allocated by.
func (h *hybrid) lengths() map[string]*int {
	return map[string]*int{
		"num_hidden_layers": &h.Layers, "hidden_size": &h.Width, "num_attention_heads": &h.Heads, "num_key_value_heads": &h.KVHeads, "head_dim": h.HeadDim,
		"linear_num_key_heads": h.KeyHeads, "linear_num_value_heads": h.Values, "linear_key_head_dim": h.KeyDim, "linear_value_head_dim": h.ValueDim,
		"linear_conv_kernel_dim": h.Kernel, "full_attention_interval": h.Interval,
	}
}

func (h *hybrid) check() error {
	for name, n := range h.lengths() {
		if n != nil && (*n < 1 || *n > maxLength) {
			return fmt.Errorf("%s is %d, which no model has", name, *n)
		}
	}
	switch {
	case h.Layers > maxLayers:
		return fmt.Errorf("%d layers are more than %d", h.Layers, maxLayers)
	case len(h.Quant) > 0 && string(h.Quant) != "null":
		return errors.New("quantised weights are not converted; export them as F16 or BF16")
	case h.Act != "" && h.Act != "silu":
		return fmt.Errorf("activation %q is not what llama.cpp computes for %s", h.Act, h.fam.architecture)
	}
	for _, s := range []string{h.Rope.Type, h.OldRope.Type, h.OldRope.OldType} {
		if s != "" && s != "default" {
			return fmt.Errorf("rotary scaling %q is not converted", s)
		}
	}
	return h.layers()
}

// layers finds out which layers attend to all positions.
func (h *hybrid) layers() error {
	switch {
	case len(h.Types) > 0:
		if len(h.Types) != h.Layers {
			return fmt.Errorf("layer_types names %d layers of %d", len(h.Types), h.Layers)
		}
		for i, t := range h.Types {
			if !slices.Contains([]string{"full_attention", "linear_attention", "conv"}, t) {
				return fmt.Errorf("layer %d is of type %q, which is not known", i, t)
			}
			h.attends = append(h.attends, t == "full_attention")
		}
	case h.Full != nil:
		h.attends = make([]bool, h.Layers)
		for _, i := range h.Full {
			if i < 0 || i >= h.Layers {
				return fmt.Errorf("full_attn_idxs names layer %d of %d", i, h.Layers)
			}
			h.attends[i] = true
		}
	case h.Interval != nil:
		h.attends = everyNth(h.Layers, *h.Interval)
	default:
		h.attends = everyNth(h.Layers, h.fam.every)
	}
	return nil
}

// everyNth marks each nth layer.
func everyNth(layers, n int) []bool {
	list := make([]bool, layers)
	for i := range list {
		list[i] = n > 0 && (i+1)%n == 0
	}
	return list
}
