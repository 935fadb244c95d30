package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// hfWindow is the part of a config.json that tells which layers attend to a
// sliding window only.
type hfWindow struct {
	Window    json.RawMessage `json:"sliding_window"` // absent and null differ
	Use       bool            `json:"use_sliding_window"`
	From      *int            `json:"max_window_layers"`
	Pattern   *int            `json:"sliding_window_pattern"`
	OldName   *int            `json:"_sliding_window_pattern"`
	LayerType []string        `json:"layer_types"`
}

// hfDefaultWindow stands for an absent sliding_window in every family.
const hfDefaultWindow = 4096

// size is the window in tokens, 0 for none.
func (w hfWindow) size() (n int, err error) {
	switch string(w.Window) {
	case "":
		return hfDefaultWindow, nil
	case "null":
		return 0, nil
	}
	if err := json.Unmarshal(w.Window, &n); err != nil || n < 1 {
		return 0, fmt.Errorf("sliding_window is %s, which is no number of tokens", w.Window)
	}
	return n, nil
}

// window fills in the local layers.
func (h hfConfig) window(c *Config) error {
	if !h.windowed && !h.Use || h.modelType == "llama" {
		return nil
	}
	n, err := h.size()
	if err != nil || n == 0 || c.Layers < 1 || c.Layers > maxLayers {
		return err
	}
	c.Window = n
	switch {
	case len(h.LayerType) > 0:
		c.Local, err = h.localByType(c.Layers)
	case h.architecture == gemma3:
		c.Local = everyNth(c.Layers, max(1, or(h.Pattern, or(h.OldName, gemmaPattern))))
	case h.architecture == llama:
		c.Local = allLocal(c.Layers)
	default:
		c.Local = make([]bool, c.Layers)
		for i := range c.Local {
			c.Local[i] = i >= or(h.From, 28) // qwen's default
		}
	}
	return err
}

func (w hfWindow) localByType(layers int) ([]bool, error) {
	if len(w.LayerType) != layers {
		return nil, fmt.Errorf("layer_types names %d layers of %d", len(w.LayerType), layers)
	}
	local := make([]bool, layers)
	for i, t := range w.LayerType {
		switch t {
		case "sliding_attention":
			local[i] = true
		case "full_attention":
		default:
			return nil, fmt.Errorf("layer %d is of type %q, which the native engine does not compute; llama.cpp may", i, t)
		}
	}
	return local, nil
}

// hfGemma is what only gemma3 has in its config.json.
type hfGemma struct {
	HiddenActivation string   `json:"hidden_activation"`
	QueryScalar      *float64 `json:"query_pre_attn_scalar"`
	LocalRopeBase    *float64 `json:"rope_local_base_freq"`
	FinalCap         *float64 `json:"final_logit_softcapping"`
	ScoreCap         *float64 `json:"attn_logit_softcapping"`
	Bidirectional    bool     `json:"use_bidirectional_attention"`
}

func (g hfGemma) check() error {
	switch {
	case g.HiddenActivation != "" && g.HiddenActivation != "gelu_pytorch_tanh":
		return fmt.Errorf("activation %q is not supported by the native engine, only gelu_pytorch_tanh in gemma3", g.HiddenActivation)
	case or(g.FinalCap, 0) != 0 || or(g.ScoreCap, 0) != 0:
		return errors.New("soft-capped logits are not supported by the native engine; llama.cpp can run the model")
	case g.Bidirectional:
		return errors.New("bidirectional attention is not supported by the native engine; llama.cpp can run the model")
	}
	return nil
}

func (h hfConfig) gemma(c *Config) {
	c.GELU, c.EmbeddingScale = true, rootOf(c.Width)
	c.QueryScale = 0 // refused where the scalar is
	if scalar := or(h.QueryScalar, 256); scalar > 0 {
		c.QueryScale = 1 / math.Sqrt(scalar)
	}
	c.LocalRopeBase = or(h.LocalRopeBase, 10000)
	if h.Rope != nil && h.Rope.Local != nil {
		c.LocalRopeBase = or(h.Rope.Local.Base, c.LocalRopeBase)
	}
}
