package enginetest

import (
	"math"
	"slices"

	"cubby/labels"
	"cubby/models/checkpoint"
)

// reference computes a llama-family decoder the slow and obvious way: float64,
// one sequence, no cache, no tree.
type reference struct {
	ck      checkpoint.Checkpoint
	cfg     checkpoint.Config
	widened map[string][][]float64 // tensors read so far
}

// states returns the normalised last hidden states of a sequence, [position][Width].
func (r reference) states(tokens []labels.Token) [][]float64 {
	x := make([][]float64, len(tokens))
	for i, t := range tokens {
		x[i] = r.row("token_embd.weight", int(t))
	}
	for l := range r.cfg.Layers {
		r.layer(x, "blk."+string(rune('0'+l))+".")
	}
	for i := range x {
		x[i] = r.norm(x[i], "output_norm.weight")
	}
	return x
}

func (r reference) layer(x [][]float64, name string) {
	c := r.cfg
	q, k, v := make([][]float64, len(x)), make([][]float64, len(x)), make([][]float64, len(x))
	for i := range x {
		h := r.norm(x[i], name+"attn_norm.weight")
		q[i] = r.rotate(r.product(name+"attn_q.weight", h), i)
		k[i] = r.rotate(r.product(name+"attn_k.weight", h), i)
		v[i] = r.product(name+"attn_v.weight", h)
	}
	for i := range x {
		out := make([]float64, c.Heads*c.HeadDim)
		for h := range c.Heads {
			kv := h * c.KVHeads / c.Heads * c.HeadDim
			p := make([]float64, i+1)
			for j := range p {
				p[j] = dot(q[i][h*c.HeadDim:(h+1)*c.HeadDim], k[j][kv:kv+c.HeadDim]) / math.Sqrt(float64(c.HeadDim))
			}
			softmax(p)
			for j, w := range p {
				for d := range c.HeadDim {
					out[h*c.HeadDim+d] += w * v[j][kv+d]
				}
			}
		}
		add(x[i], r.product(name+"attn_output.weight", out))
		h := r.norm(x[i], name+"ffn_norm.weight")
		gate, up := r.product(name+"ffn_gate.weight", h), r.product(name+"ffn_up.weight", h)
		for j, g := range gate {
			gate[j] = g / (1 + math.Exp(-g)) * up[j]
		}
		add(x[i], r.product(name+"ffn_down.weight", gate))
	}
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
func (r reference) rotate(x []float64, pos int) []float64 {
	d := r.cfg.HeadDim
	factors := r.row("rope_freqs.weight", 0)
	for h := 0; h < len(x); h += d {
		for i := range d / 2 {
			a, b := h+i, h+i+d/2
			if r.cfg.RopeInterleaved {
				a, b = h+2*i, h+2*i+1
			}
			sin, cos := math.Sincos(float64(pos) * math.Pow(r.cfg.RopeBase, -2*float64(i)/float64(d)) / factors[i])
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
