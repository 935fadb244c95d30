package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The classes of the transformers library whose weights are read.
const (
	hfCausal     = "LlamaForCausalLM"
	hfClassifier = "LlamaForSequenceClassification"
)

// hfConfig is the part of a config.json that has a say in the computation.
type hfConfig struct {
	Architectures []string          `json:"architectures"`
	ModelType     string            `json:"model_type"`
	Width         int               `json:"hidden_size"`
	FeedForward   int               `json:"intermediate_size"`
	Layers        int               `json:"num_hidden_layers"`
	Heads         int               `json:"num_attention_heads"`
	KVHeads       *int              `json:"num_key_value_heads"`
	HeadDim       *int              `json:"head_dim"`
	Vocab         *int              `json:"vocab_size"`
	Context       *int              `json:"max_position_embeddings"`
	NormEpsilon   *float64          `json:"rms_norm_eps"`
	RopeBase      *float64          `json:"rope_theta"`
	RopeScaling   *hfRope           `json:"rope_scaling"`
	Rope          *hfRope           `json:"rope_parameters"` // transformers 5 has both in here
	Activation    string            `json:"hidden_act"`
	Tied          bool              `json:"tie_word_embeddings"`
	Classes       map[string]string `json:"id2label"`
	Problem       string            `json:"problem_type"`
	Quantization  *struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`
}

// hfRope holds the rotary scaling; the numbers are those of the type llama3.
type hfRope struct {
	Type       string   `json:"rope_type"`
	OldType    string   `json:"type"`
	Base       *float64 `json:"rope_theta"`
	Factor     float64  `json:"factor"`
	LowFactor  float64  `json:"low_freq_factor"`
	HighFactor float64  `json:"high_freq_factor"`
	Original   float64  `json:"original_max_position_embeddings"`
}

func parseHFConfig(data []byte) (hfConfig, error) {
	var h hfConfig
	if err := json.Unmarshal(data, &h); err != nil {
		return h, err
	}
	if len(h.Architectures) == 0 && h.ModelType == llama {
		h.Architectures = []string{hfCausal}
	}
	if len(h.Architectures) == 0 {
		h.Architectures = []string{h.ModelType}
	}
	if name := h.Architectures[0]; name != hfCausal && name != hfClassifier {
		return h, &UnsupportedError{name}
	}
	switch {
	case h.Quantization != nil:
		return h, fmt.Errorf("weights quantised by %q are not supported; export them as F16 or BF16", h.Quantization.Method)
	case h.Activation != "" && h.Activation != "silu":
		return h, fmt.Errorf("activation %q is not supported by the native engine, only silu", h.Activation)
	case h.classifier() && h.Problem != "" && h.Problem != "single_label_classification":
		return h, fmt.Errorf("problem type %q is not supported, only single_label_classification", h.Problem)
	}
	return h, nil
}

func (h hfConfig) classifier() bool { return h.Architectures[0] == hfClassifier }

// config fills in the defaults of transformers' LlamaConfig.
func (h hfConfig) config() Config {
	c := Config{
		Architecture: llama,
		Layers:       h.Layers,
		Width:        h.Width,
		FeedForward:  h.FeedForward,
		Heads:        h.Heads,
		KVHeads:      or(h.KVHeads, h.Heads),
		HeadDim:      or(h.HeadDim, h.Width/max(1, h.Heads)),
		Context:      or(h.Context, 2048),
		NormEpsilon:  or(h.NormEpsilon, 1e-6),
		RopeBase:     or(h.RopeBase, 10000),
		RopeScaling:  h.rope().name(),
	}
	if h.Rope != nil {
		c.RopeBase = or(h.Rope.Base, c.RopeBase)
	}
	return c
}

// or is *p, or the default where that is absent or null.
func or[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

// rope is the scaling from whichever of its two places holds it.
func (h hfConfig) rope() hfRope { return or(h.Rope, or(h.RopeScaling, hfRope{})) }

// name is the scaling's, empty for none.
func (r hfRope) name() string {
	name := r.Type
	if name == "" {
		name = r.OldType
	}
	if name == "default" {
		return ""
	}
	return name
}

// factors are the divisors of the rotary frequencies for the scaling llama3:
// waves longer than the original context are slowed by Factor, short ones kept,
// those between blended by how often they turn within it.
func (r hfRope) factors(headDim int, base float64) ([]float32, error) {
	if !(r.Factor >= 1 && r.LowFactor > 0 && r.HighFactor > r.LowFactor && r.Original > 0) {
		return nil, errors.New("rope_scaling llama3 lacks factor, low_freq_factor, high_freq_factor or original_max_position_embeddings")
	}
	list := make([]float32, headDim/2)
	for i := range list {
		wave := 2 * math.Pi * math.Pow(base, float64(2*i)/float64(headDim))
		turns := r.Original / wave
		blend := min(1, max(0, (turns-r.LowFactor)/(r.HighFactor-r.LowFactor)))
		list[i] = float32(1 / ((1-blend)/r.Factor + blend))
	}
	return list, nil
}

// classes returns the names in the order of their indices, which must be 0 to
// n-1; rows is the head's, for names by default.
func (h hfConfig) classes(rows int) ([]string, error) {
	if len(h.Classes) == 0 {
		return defaultClasses(rows), nil
	}
	if len(h.Classes) != rows {
		return nil, fmt.Errorf("id2label names %d classes, and score.weight has %d rows", len(h.Classes), rows)
	}
	names := make([]string, rows)
	for i := range names {
		name, ok := h.Classes[strconv.Itoa(i)]
		if !ok {
			return nil, fmt.Errorf("id2label has no class %d", i)
		}
		names[i] = name
	}
	if i := slices.Index(names, ""); i >= 0 {
		return nil, fmt.Errorf("id2label has an empty name for class %d", i)
	}
	return names, nil
}
