package native

import (
	"fmt"
	"math"

	"cubby/models/checkpoint"
)

// extras are what some families add to a layer of llama's; nil is none.
type extras struct {
	bias               []float32 // of queries, keys and values: a row of qkv
	queryNorm, keyNorm []float32 // RMSNorm of each head, before rotation
	// RMSNorm of the outputs of attention and feed-forward, before they are added.
	postAttention, postForward []float32
	local                      bool // attends to the sliding window only
	rotary                     *rotary
}

func (w *weights) extras(ck checkpoint.Checkpoint, i int) extras {
	get := func(part string) []float32 {
		t, ok := ck.Tensor(fmt.Sprintf("blk.%d.%s", i, part))
		if !ok {
			return nil
		}
		return vector(t)
	}
	e := extras{
		queryNorm: get("attn_q_norm.weight"), keyNorm: get("attn_k_norm.weight"),
		postAttention: get("post_attention_norm.weight"), postForward: get("post_ffw_norm.weight"),
		local:  w.cfg.Window > 0 && w.cfg.Local[i],
		rotary: &w.global,
	}
	if bias := get("attn_q.bias"); bias != nil {
		e.bias = append(append(bias, get("attn_k.bias")...), get("attn_v.bias")...)
	}
	if e.local {
		e.rotary = &w.local
	}
	return e
}

// shape adds the biases to a row of qkv and normalises its heads.
func (s *pass) shape(row []float32) {
	l, c := &s.w.layers[s.layer], &s.w.cfg
	if l.bias != nil {
		s.k.Add(row[:len(l.bias)], l.bias)
	}
	if l.queryNorm == nil {
		return
	}
	for h := range c.Heads + c.KVHeads {
		w := l.queryNorm
		if h >= c.Heads {
			w = l.keyNorm
		}
		s.rmsNorm(row[h*c.HeadDim:(h+1)*c.HeadDim], w)
	}
}

func (s *pass) rmsNorm(x, w []float32) { s.k.ScaleMul(x, w, s.rmsScale(x)) }

// residual adds a block's output y to the residual stream x, normalised where
// the family does so; y is lost.
func (s *pass) residual(x, y, norm []float32) {
	if norm != nil {
		s.rmsNorm(y, norm)
	}
	s.k.Add(x, y)
}

// gate is the gated unit of the feed-forward (Shazeer 2020): SwiGLU or GeGLU.
func (s *pass) gate(g, u []float32) {
	if s.w.cfg.GELU {
		s.k.GELUMul(g, u)
	} else {
		s.k.SiLUMul(g, u)
	}
}

// rotary is a table of the rotary embedding (Su et al. 2021, RoFormer).
type rotary struct {
	freqs    []float64 // rotations a position, [HeadDim/2]
	cos, sin []float32 // [position][HeadDim/2], for the positions met so far
}

// newRotary computes the frequencies. They are divided by the factors that
// models carry for a context longer than they were first trained on.
func newRotary(headDim int, base float64, factors []float32) rotary {
	half := headDim / 2
	r := rotary{freqs: make([]float64, half)}
	for i := range half {
		r.freqs[i] = math.Pow(base, -float64(i)/float64(half))
		if factors != nil {
			r.freqs[i] /= float64(factors[i])
		}
	}
	return r
}

// extend grows the table to n positions: with what is asked, not with the
// context that a file claims.
func (r *rotary) extend(n int) {
	for pos := len(r.cos) / len(r.freqs); pos < n; pos++ {
		for _, f := range r.freqs {
			s, c := math.Sincos(float64(pos) * f)
			r.cos, r.sin = append(r.cos, float32(c)), append(r.sin, float32(s))
		}
	}
}

// at returns the cosines and sines of a position.
func (r *rotary) at(pos int) (cos, sin []float32) {
	half := len(r.freqs)
	return r.cos[pos*half : (pos+1)*half], r.sin[pos*half : (pos+1)*half]
}

// rope makes the tables of global and of local layers.
func (w *weights) rope(ck checkpoint.Checkpoint) {
	var factors []float32
	if t, ok := ck.Tensor("rope_freqs.weight"); ok {
		factors = vector(t)
	}
	w.global = newRotary(w.cfg.HeadDim, w.cfg.RopeBase, factors)
	w.local = w.global
	if w.cfg.LocalRopeBase > 0 {
		w.local = newRotary(w.cfg.HeadDim, w.cfg.LocalRopeBase, nil)
	}
}

// rotations extends the tables to n positions.
func (w *weights) rotations(n int) {
	w.global.extend(n)
	if w.cfg.Window > 0 {
		w.local.extend(n)
	}
}
