package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cubby/models/gguf"
	"cubby/models/safetensors"
)

// FromHF shows the weights of a Hugging Face model folder: config is its
// config.json, files its safetensors file or all shards of one. The bytes given
// to safetensors.Parse must outlive the checkpoint, whose Close does not release
// them. Another architecture is an *UnsupportedError.
func FromHF(config []byte, files ...*safetensors.File) (Checkpoint, error) {
	h, err := parseHFConfig(config)
	var unsupported *UnsupportedError
	if errors.As(err, &unsupported) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	w, err := fromHF(h, files)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return w, nil
}

// HFVocab is the vocabulary size that a config.json gives; false where it gives
// none, or is none that FromHF reads.
func HFVocab(config []byte) (int, bool) {
	h, err := parseHFConfig(config)
	if err != nil || h.Vocab == nil {
		return 0, false
	}
	return *h.Vocab, true
}

// HFForeign reports whether a config.json is of an architecture that FromHF does not
// read.
func HFForeign(config []byte) bool {
	_, err := parseHFConfig(config)
	unknown, _ := errors.AsType[*UnsupportedError](err)
	return unknown != nil && unknown.Architecture != ""
}

// HFTied reports whether by a config.json the embedding is the output matrix too.
func HFTied(config []byte) bool {
	if h, err := parseHFConfig(config); err == nil {
		return or(h.Tied, h.tied)
	}
	var said struct { // of a family that is not known here
		Tied bool `json:"tie_word_embeddings"`
	}
	return json.Unmarshal(config, &said) == nil && said.Tied
}

func fromHF(h hfConfig, files []*safetensors.File) (*weights, error) {
	tensors, err := hfTensors(files, h.multimodal)
	if err != nil {
		return nil, err
	}
	c, err := h.config()
	if err != nil {
		return nil, err
	}
	tied := or(h.Tied, h.tied) || h.classifier()
	inv := inventory{tensors: tensors, spell: hfNames(h.architecture), tied: tied}
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	if h.classifier() {
		head, ok := tensors["score.weight"]
		if !ok {
			return nil, missing("score.weight")
		}
		if c.Classes, err = h.classes(head.Rows); err != nil {
			return nil, err
		}
	}
	list, err := h.rope().factors(c.HeadDim, c.RopeBase)
	if err != nil {
		return nil, err
	}
	if list != nil {
		tensors[ropeFactors] = vector(list)
	}
	if h.architecture == gemma3 {
		shiftNorms(tensors)
	}
	if _, ok := tensors["lm_head.weight"]; !ok && !tied {
		return nil, fmt.Errorf("tensor %q is missing, and tie_word_embeddings is not true", "lm_head.weight")
	}
	w, err := assemble(c, inv)
	if err == nil && h.Vocab != nil && *h.Vocab != w.config.Vocab {
		err = fmt.Errorf("the embedding has %d rows, and vocab_size is %d", w.config.Vocab, *h.Vocab)
	}
	return w, err
}

// vector makes a tensor of values that no file holds.
func vector(values []float32) Tensor {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, values) // a Buffer takes everything
	return Tensor{Type: gguf.F32, Rows: 1, Cols: len(values), Data: b.Bytes()}
}

// shiftNorms adds the 1 that gemma3's norms lack as transformers stores them.
func shiftNorms(tensors map[string]Tensor) {
	for name, t := range tensors {
		if t.Rows != 1 || !strings.HasSuffix(name, "norm.weight") {
			continue
		}
		w := make([]float32, t.Cols)
		t.Row(w, 0)
		for i := range w {
			w[i]++
		}
		tensors[name] = vector(w)
	}
}

var hfTypes = map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

// hfTensors gathers the tensors of all shards, under the file's names. The
// rotary frequencies that old exports carry follow from the configuration.
func hfTensors(files []*safetensors.File, multimodal bool) (map[string]Tensor, error) {
	all := make(map[string]Tensor)
	for _, f := range files {
		for _, t := range f.Tensors() {
			if strings.HasSuffix(t.Name, ".rotary_emb.inv_freq") {
				continue
			}
			if multimodal {
				t.Name = languageName(t.Name)
			}
			if t.Name == "" {
				continue
			}
			if _, seen := all[t.Name]; seen {
				return nil, fmt.Errorf("tensor %q stands in two shards", t.Name)
			}
			if len(t.Shape) < 1 || len(t.Shape) > 2 {
				return nil, fmt.Errorf("tensor %q of shape %v is not a matrix", t.Name, t.Shape)
			}
			rows, cols := 1, t.Shape[len(t.Shape)-1]
			if len(t.Shape) == 2 {
				rows = t.Shape[0]
			}
			all[t.Name] = Tensor{Type: hfTypes[t.DType], Rows: rows, Cols: cols, Data: t.Data}
		}
	}
	return all, nil
}

// languageName is the name that a tensor of a multimodal model has in its language
// model alone; "" where it belongs to the vision tower. Releases of transformers
// before and from 4.52 name them differently.
func languageName(name string) string {
	if strings.Contains(name, "vision_tower.") || strings.Contains(name, "multi_modal_projector.") {
		return ""
	}
	if rest, ok := strings.CutPrefix(name, "model.language_model."); ok {
		return "model." + rest
	}
	return strings.TrimPrefix(name, "language_model.")
}

// hfTensorNames maps the names of GGUF to those of transformers; the parts of a
// layer without "blk.N." and ".weight".
var hfTensorNames = map[string]string{
	"token_embd.weight":  "model.embed_tokens.weight",
	"output_norm.weight": "model.norm.weight",
	"output.weight":      "lm_head.weight",
	"cls.output.weight":  "score.weight",

	"attn_norm":           "input_layernorm",
	"attn_q":              "self_attn.q_proj",
	"attn_k":              "self_attn.k_proj",
	"attn_v":              "self_attn.v_proj",
	"attn_q_norm":         "self_attn.q_norm",
	"attn_k_norm":         "self_attn.k_norm",
	"attn_output":         "self_attn.o_proj",
	"post_attention_norm": "post_attention_layernorm",
	"ffn_norm":            "post_attention_layernorm",
	"ffn_gate":            "mlp.gate_proj",
	"ffn_up":              "mlp.up_proj",
	"ffn_down":            "mlp.down_proj",
	"post_ffw_norm":       "post_feedforward_layernorm",
}

var layerName = regexp.MustCompile(`^blk\.(\d+)\.(\w+)\.(weight|bias)$`)

// hfNames returns the function from GGUF's name of a tensor to transformers'.
func hfNames(architecture string) func(string) string {
	return func(name string) string {
		m := layerName.FindStringSubmatch(name)
		if m == nil {
			return cmp.Or(hfTensorNames[name], name)
		}
		part := hfTensorNames[m[2]]
		if architecture == gemma3 && m[2] == "ffn_norm" {
			part = "pre_feedforward_layernorm"
		}
		return "model.layers." + m[1] + "." + part + "." + m[3]
	}
}

// HFName is what transformers calls a tensor of a GGUF file; false where it has
// none such, or the family is not known here.
func HFName(architecture, name string) (string, bool) {
	if _, known := families[architecture]; !known {
		return "", false
	}
	m := layerName.FindStringSubmatch(name)
	if m != nil && hfTensorNames[m[2]] == "" || m == nil && hfTensorNames[name] == "" {
		return "", false
	}
	return hfNames(architecture)(name), true
}
