package enginetest

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"testing"

	"cubby/labels"
	"cubby/models/checkpoint"
)

// reference computes a decoder the slow and obvious way: float64, one sequence,
// no cache, no tree.
type reference struct {
	ck      checkpoint.Checkpoint
	cfg     checkpoint.Config
	widened map[string][][]float64 // tensors read so far
	behind  map[string][]float64   // distributions computed so far, by sequence
}

func newReference(ck checkpoint.Checkpoint) reference {
	return reference{ck, ck.Config(), map[string][][]float64{}, map[string][]float64{}}
}

// references are those of the suite's models: engines of every level and setting
// are asked the same things, and the answers take longest. The suite runs one
// test at a time.
var references = map[[sha256.Size]byte]reference{}

func (m Model) reference(t testing.TB) reference {
	key := sha256.Sum256(m.GGUF)
	r, ok := references[key]
	if !ok {
		r = newReference(m.Checkpoint(t))
		references[key] = r
	}
	return r
}

// next is the distribution over the vocabulary behind a sequence.
func (r reference) next(tokens []labels.Token) []float64 {
	key := fmt.Sprint(tokens)
	p, ok := r.behind[key]
	if !ok {
		states := r.states(tokens)
		p = r.logits(states[len(states)-1])
		softmax(p)
		r.behind[key] = p
	}
	return p
}

// states returns the normalised last hidden states of a sequence, [position][Width].
func (r reference) states(tokens []labels.Token) [][]float64 {
	x := make([][]float64, len(tokens))
	for i, t := range tokens {
		x[i] = r.row("token_embd.weight", int(t))
		for j := range x[i] {
			x[i][j] *= r.cfg.EmbeddingScale
		}
	}
	for l := range r.cfg.Layers {
		name := fmt.Sprintf("blk.%d.", l)
		r.attention(x, name, r.cfg.Window > 0 && r.cfg.Local[l])
		r.feedForward(x, name)
	}
	for i := range x {
		x[i] = r.norm(x[i], "output_norm.weight")
	}
	return x
}

// logits are those of a state over the vocabulary.
func (r reference) logits(state []float64) []float64 {
	if r.has("output.weight") {
		return r.product("output.weight", state)
	}
	return r.product("token_embd.weight", state)
}

func (r reference) attention(x [][]float64, name string, local bool) {
	c := r.cfg
	q, k, v := make([][]float64, len(x)), make([][]float64, len(x)), make([][]float64, len(x))
	for i := range x {
		h := r.norm(x[i], name+"attn_norm.weight")
		q[i] = r.rotate(r.heads(name+"attn_q", h), i, local)
		k[i] = r.rotate(r.heads(name+"attn_k", h), i, local)
		v[i] = r.heads(name+"attn_v", h)
	}
	for i := range x {
		first := 0
		if local {
			first = max(0, i-c.Window+1)
		}
		out := make([]float64, c.Heads*c.HeadDim)
		for h := range c.Heads {
			kv := h * c.KVHeads / c.Heads * c.HeadDim
			p := make([]float64, i+1-first)
			for j := range p {
				p[j] = dot(q[i][h*c.HeadDim:(h+1)*c.HeadDim], k[first+j][kv:kv+c.HeadDim]) * c.QueryScale
			}
			softmax(p)
			for j, w := range p {
				for d := range c.HeadDim {
					out[h*c.HeadDim+d] += w * v[first+j][kv+d]
				}
			}
		}
		add(x[i], r.normIf(r.product(name+"attn_output.weight", out), name+"post_attention_norm.weight"))
	}
}

func (r reference) feedForward(x [][]float64, name string) {
	for i := range x {
		h := r.norm(x[i], name+"ffn_norm.weight")
		gate, up := r.product(name+"ffn_gate.weight", h), r.product(name+"ffn_up.weight", h)
		for j, g := range gate {
			if r.cfg.GELU {
				g *= 0.5 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(g+0.044715*g*g*g)))
			} else {
				g /= 1 + math.Exp(-g)
			}
			gate[j] = g * up[j]
		}
		add(x[i], r.normIf(r.product(name+"ffn_down.weight", gate), name+"post_ffw_norm.weight"))
	}
}

// heads is a product with, where the model has them, a bias and a norm of each head.
func (r reference) heads(name string, x []float64) []float64 {
	out := r.product(name+".weight", x)
	if r.has(name + ".bias") {
		add(out, r.row(name+".bias", 0))
	}
	if r.has(name + "_norm.weight") {
		for d := r.cfg.HeadDim; d <= len(out); d += r.cfg.HeadDim {
			copy(out[d-r.cfg.HeadDim:d], r.norm(out[d-r.cfg.HeadDim:d], name+"_norm.weight"))
		}
	}
	return out
}

func (r reference) has(name string) bool {
	_, ok := r.ck.Tensor(name)
	return ok
}

func (r reference) normIf(x []float64, name string) []float64 {
	if !r.has(name) {
		return x
	}
	return r.norm(x, name)
}

func (r reference) matrix(name string) [][]float64 {
	if m, ok := r.widened[name]; ok {
		return m
	}
	t, _ := r.ck.Tensor(name)
	m, buf := make([][]float64, t.Rows), make([]float32, t.Cols)
	for i := range m {
		t.Row(buf, i)
		for _, v := range buf {
			m[i] = append(m[i], float64(v))
		}
	}
	r.widened[name] = m
	return m
}

func (r reference) row(name string, i int) []float64 { return slices.Clone(r.matrix(name)[i]) }

func (r reference) product(name string, x []float64) []float64 {
	m := r.matrix(name)
	out := make([]float64, len(m))
	for i, row := range m {
		out[i] = dot(row, x)
	}
	return out
}

func (r reference) norm(x []float64, name string) []float64 {
	w, out := r.row(name, 0), make([]float64, len(x))
	scale := 1 / math.Sqrt(dot(x, x)/float64(len(x))+r.cfg.NormEpsilon)
	for i, v := range x {
		out[i] = v * scale * w[i]
	}
	return out
}

// rotate applies the rotary embedding to every head of x at one position.
func (r reference) rotate(x []float64, pos int, local bool) []float64 {
	d, base := r.cfg.HeadDim, r.cfg.RopeBase
	factors := slices.Repeat([]float64{1}, d/2)
	if r.has("rope_freqs.weight") {
		factors = r.row("rope_freqs.weight", 0)
	}
	if local && r.cfg.LocalRopeBase > 0 {
		base, factors = r.cfg.LocalRopeBase, slices.Repeat([]float64{1}, d/2)
	}
	for h := 0; h < len(x); h += d {
		for i := range d / 2 {
			a, b := h+i, h+i+d/2
			if r.cfg.RopeInterleaved {
				a, b = h+2*i, h+2*i+1
			}
			sin, cos := math.Sincos(float64(pos) * math.Pow(base, -2*float64(i)/float64(d)) / factors[i])
			x[a], x[b] = x[a]*cos-x[b]*sin, x[a]*sin+x[b]*cos
		}
	}
	return x
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

func add(x, y []float64) {
	for i, v := range y {
		x[i] += v
	}
}

func softmax(p []float64) {
	top, sum := math.Inf(-1), 0.0
	for _, v := range p {
		top = max(top, v)
	}
	for i, v := range p {
		p[i] = math.Exp(v - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
}
