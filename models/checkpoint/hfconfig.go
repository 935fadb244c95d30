package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The ends of the names of transformers' classes.
const (
	causal     = "ForCausalLM"
	classifier = "ForSequenceClassification"
)

// hfFamily is what transformers knows of an architecture: where its class takes
// other values by default than LlamaConfig, they stand here.
type hfFamily struct {
	architecture string // GGUF's name
	modelType    string
	only         string // class name's end, where one of the two is not this one
	heads        int    // attention heads; 0: must be given
	kvHeads      int    // key-value heads; 0: as many as heads
	headDim      int    // 0: hidden size / heads
	context      int
	ropeBase     float64
	tied         bool
	windowed     bool // attends to a sliding window unless told otherwise
}

// hfFamilies are the beginnings of the names of transformers' classes.
var hfFamilies = map[string]hfFamily{
	"Llama":      {architecture: llama, modelType: "llama", context: 2048, ropeBase: 10000},
	"Mistral":    {architecture: llama, modelType: "mistral", windowed: true, kvHeads: 8, context: 131072, ropeBase: 10000},
	"Qwen2":      {architecture: qwen2, modelType: "qwen2", kvHeads: 32, context: 32768, ropeBase: 10000},
	"Qwen3":      {architecture: qwen3, modelType: "qwen3", kvHeads: 32, headDim: 128, context: 32768, ropeBase: 10000},
	"Gemma3":     {architecture: gemma3, modelType: "gemma3_text", only: causal, heads: 8, kvHeads: 4, headDim: 256, context: 131072, ropeBase: 1e6, tied: true, windowed: true},
	"Gemma3Text": {architecture: gemma3, only: classifier, heads: 8, kvHeads: 4, headDim: 256, context: 131072, ropeBase: 1e6, tied: true, windowed: true},
}

// hfConfig is the part of a config.json that has a say in the computation.
type hfConfig struct {
	hfFamily
	Architectures []string          `json:"architectures"`
	ModelType     string            `json:"model_type"`
	Width         int               `json:"hidden_size"`
	FeedForward   int               `json:"intermediate_size"`
	Layers        int               `json:"num_hidden_layers"`
	Heads         *int              `json:"num_attention_heads"`
	KVHeads       *int              `json:"num_key_value_heads"`
	HeadDim       *int              `json:"head_dim"`
	Vocab         *int              `json:"vocab_size"`
	Context       *int              `json:"max_position_embeddings"`
	NormEpsilon   *float64          `json:"rms_norm_eps"`
	RopeBase      *float64          `json:"rope_theta"`
	RopeScaling   *hfRope           `json:"rope_scaling"`
	Rope          *hfRopes          `json:"rope_parameters"` // transformers 5 has both in here
	Activation    string            `json:"hidden_act"`
	Tied          *bool             `json:"tie_word_embeddings"`
	Classes       map[string]string `json:"id2label"`
	Problem       string            `json:"problem_type"`
	Quantization  *struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`

	hfWindow
	hfGemma

	Text       json.RawMessage `json:"text_config"` // of a multimodal model
	multimodal bool
}

// hfRope holds the rotary scaling; the numbers but Factor are those of the type llama3.
type hfRope struct {
	Type       string   `json:"rope_type"`
	OldType    string   `json:"type"`
	Base       *float64 `json:"rope_theta"`
	Factor     float64  `json:"factor"`
	LowFactor  float64  `json:"low_freq_factor"`
	HighFactor float64  `json:"high_freq_factor"`
	Original   float64  `json:"original_max_position_embeddings"`
}

// hfRopes is one scaling for all layers, or one each for global and local ones.
type hfRopes struct {
	hfRope
	Global *hfRope `json:"full_attention"`
	Local  *hfRope `json:"sliding_attention"`
}

// multimodal is the class whose language model is a Gemma3ForCausalLM; its vision
// tower is left out.
const multimodal = "Gemma3ForConditionalGeneration"

func parseHFConfig(data []byte) (hfConfig, error) {
	var h hfConfig
	if err := json.Unmarshal(data, &h); err != nil {
		return h, err
	}
	if len(h.Architectures) > 0 && h.Architectures[0] == multimodal && len(h.Text) > 0 {
		text, quantization := h.Text, h.Quantization
		h = hfConfig{Quantization: quantization, multimodal: true}
		if err := json.Unmarshal(text, &h); err != nil {
			return h, fmt.Errorf("text_config: %w", err)
		}
		h.Architectures = []string{"Gemma3" + causal}
	}
	if err := h.identify(); err != nil {
		return h, err
	}
	switch {
	case h.Quantization != nil:
		return h, fmt.Errorf("weights quantised by %q are not supported; export them as F16 or BF16", h.Quantization.Method)
	case h.Activation != "" && h.Activation != "silu" && h.architecture != gemma3:
		return h, fmt.Errorf("activation %q is not supported by the native engine, only silu", h.Activation)
	case h.classifier() && h.Problem != "" && h.Problem != "single_label_classification":
		return h, fmt.Errorf("problem type %q is not supported, only single_label_classification", h.Problem)
	case h.architecture == gemma3:
		return h, h.hfGemma.check()
	}
	return h, nil
}

// identify finds the family by the class's name, or by the model type where the
// file names no class.
func (h *hfConfig) identify() error {
	if len(h.Architectures) == 0 {
		for name, f := range hfFamilies {
			if f.modelType == h.ModelType && h.ModelType != "" {
				h.Architectures = []string{name + causal}
			}
		}
	}
	if len(h.Architectures) == 0 {
		h.Architectures = []string{h.ModelType}
	}
	name := h.Architectures[0]
	for _, end := range []string{causal, classifier} {
		if f, ok := hfFamilies[strings.TrimSuffix(name, end)]; ok && strings.HasSuffix(name, end) && (f.only == "" || f.only == end) {
			h.hfFamily = f
			return nil
		}
	}
	return &UnsupportedError{Architecture: name}
}

func (h hfConfig) classifier() bool { return strings.HasSuffix(h.Architectures[0], classifier) }

// config fills in the defaults of transformers' configuration classes.
func (h hfConfig) config() (Config, error) {
	heads := or(h.Heads, h.heads)
	c := Config{
		Architecture:   h.architecture,
		Layers:         h.Layers,
		Width:          h.Width,
		FeedForward:    h.FeedForward,
		Heads:          heads,
		KVHeads:        or(h.KVHeads, first(h.kvHeads, heads)),
		HeadDim:        or(h.HeadDim, first(h.headDim, h.Width/max(1, heads))),
		Context:        or(h.Context, h.context),
		NormEpsilon:    or(h.NormEpsilon, 1e-6),
		RopeBase:       or(h.rope().Base, or(h.RopeBase, h.ropeBase)),
		RopeScaling:    h.rope().name(),
		EmbeddingScale: 1,
	}
	c.QueryScale = 1 / rootOf(c.HeadDim)
	if h.architecture == gemma3 {
		h.gemma(&c)
	}
	return c, h.window(&c)
}

// first is a, or b where that is zero.
func first(a, b int) int {
	if a == 0 {
		return b
	}
	return a
}

// or is *p, or the default where that is absent or null.
func or[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

// rope is the scaling from whichever of its places holds it.
func (h hfConfig) rope() hfRope {
	if h.Rope == nil {
		return or(h.RopeScaling, hfRope{})
	}
	return or(h.Rope.Global, h.Rope.hfRope)
}

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

// factors are the divisors of the rotary frequencies; nil where there is no
// scaling that the native engine knows.
func (r hfRope) factors(headDim int, base float64) ([]float32, error) {
	switch r.name() {
	case "llama3":
		return r.llama3(headDim, base)
	case "linear":
		return linear(headDim, r.Factor)
	}
	return nil, nil
}

// llama3 are the divisors of that scaling: waves longer than the original context are slowed by Factor, short ones kept,
// those between blended by how often they turn within it.
func (r hfRope) llama3(headDim int, base float64) ([]float32, error) {
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
