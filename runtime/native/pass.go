package native

import (
	"context"
	"math"

	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// rowChunk is how many rows a thread multiplies with one weight panel at a
// time: their activations stay in the second-level cache.
const rowChunk = 192

// pass computes packed passes. Its buffers are reused and grow to the largest
// pass; rows of every buffer are tokens, in the order of the trees.
type pass struct {
	w    *weights
	k    *kernel.Kernel
	pool *pool

	// The pass that is running.
	pre   *prefix
	plans []plan
	spans []span
	rows  int // tokens
	layer int
	keep  bool // store keys and values into pre

	x       []float32 // residual stream [rows][Width]
	qkv     []float32 // [rows][heads, keys, values]
	q       []float32 // queries, scaled: [kv head][rows × group][HeadDim]
	keys    []float32 // trunk keys in panels: [kv head][key positions][HeadDim]
	keyLen  int       // key positions a kv head
	att     []float32 // [rows][Heads × HeadDim]
	hidden  []float32 // [rows][2 × FeedForward]
	tmp     []float32 // [rows][Width]
	byWidth *kernel.Activations
	byHeads *kernel.Activations
	byFF    *kernel.Activations
	scratch []scratch // one a thread
	states  []float32 // wanted rows after the last norm: [wanted][Width]
	wanted  []int     // rows of the wanted nodes

	mul mulTask
	do  phases
}

// phases are the sections of a layer as function values, made once.
type phases struct{ norm, mul, rotate, attend, quantAtt, addNorm, activate, add func(worker, item int) }

// mulTask is the product that run shares out: c = a·mᵀ.
type mulTask struct {
	m    *kernel.Matrix
	a    *kernel.Activations
	c    []float32
	rows int
}

func newPass(w *weights, k *kernel.Kernel, p *pool) *pass {
	s := &pass{w: w, k: k, pool: p, scratch: make([]scratch, p.threads)}
	s.do = phases{s.norm, s.multiply, s.rotate, s.attend, s.quantizeAttention, s.addNorm, s.activate, s.add}
	return s
}

// group is how many query heads share a key head.
func (s *pass) group() int { return s.w.cfg.Heads / s.w.cfg.KVHeads }

// forward runs all layers over the trees. With keep it appends the keys and
// values of the single chain to pre; otherwise it leaves the normalised states
// of the wanted nodes in s.states. It stops between layers when ctx is done.
func (s *pass) forward(ctx context.Context, pre *prefix, trees []engine.Tree, keep bool) error {
	s.pre, s.keep = pre, keep
	s.plan(trees)
	s.reserve()
	s.embed(trees)
	s.pool.begin()
	defer s.pool.end()
	last := s.w.cfg.Layers - 1
	for s.layer = range s.w.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.attention(s.layer == last && keep)
		if s.layer == last {
			break
		}
		s.feedForward()
	}
	if keep {
		pre.grow(s.rows)
		return nil
	}
	s.gather()
	s.feedForward()
	s.finish()
	return nil
}

// attention adds the block's attention output to tmp; keysOnly stops once the
// keys and values of the last layer are stored.
func (s *pass) attention(keysOnly bool) {
	l := &s.w.layers[s.layer]
	if s.layer == 0 {
		s.perRow(s.do.norm)
	}
	s.product(l.qkv, s.byWidth, s.qkv)
	s.perRow(s.do.rotate)
	if keysOnly {
		return
	}
	s.pool.run(len(s.spans)*s.w.cfg.KVHeads, s.do.attend)
	s.perRow(s.do.quantAtt)
	s.product(l.out, s.byHeads, s.tmp)
}

// feedForward adds the pending attention output, runs the gated feed-forward
// (SwiGLU, Shazeer 2020), and prepares the next layer's input.
func (s *pass) feedForward() {
	l := &s.w.layers[s.layer]
	s.perRow(s.do.addNorm)
	s.product(l.gateUp, s.byWidth, s.hidden)
	s.perRow(s.do.activate)
	s.product(l.down, s.byFF, s.tmp)
	s.perRow(s.do.add)
}

// perRow shares the rows out in tiles.
func (s *pass) perRow(work func(worker, item int)) {
	s.pool.run((s.rows+kernel.TileRows-1)/kernel.TileRows, work)
}

// tile returns the rows of an item of perRow.
func (s *pass) tile(item int) (lo, hi int) {
	lo = item * kernel.TileRows
	return lo, min(lo+kernel.TileRows, s.rows)
}

func (s *pass) product(m *kernel.Matrix, a *kernel.Activations, c []float32) {
	s.mul = mulTask{m, a, c, s.rows}
	s.pool.run(m.Panels()*((s.rows+rowChunk-1)/rowChunk), s.do.mul)
}

func (s *pass) multiply(_, item int) {
	t := &s.mul
	panel, lo := item%t.m.Panels(), item/t.m.Panels()*rowChunk
	s.k.MulPanels(t.m, t.a, panel, panel+1, lo, min(lo+rowChunk, t.rows), t.c, t.m.Panels()*kernel.Panel)
}

// rmsScale is the factor of RMSNorm (Zhang & Sennrich 2019) for one row.
func (s *pass) rmsScale(x []float32) float32 {
	return float32(1 / math.Sqrt(float64(s.k.SumSquares(x))/float64(len(x))+s.w.cfg.NormEpsilon))
}

func (s *pass) row(r int) []float32 { d := s.w.cfg.Width; return s.x[r*d : (r+1)*d] }

func (s *pass) norm(_, item int) {
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.k.Quantize(s.byWidth, r, x, s.w.layers[s.layer].attnNorm, s.rmsScale(x))
	}
}

func (s *pass) addNorm(_, item int) {
	d := s.w.cfg.Width
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.k.Add(x, s.tmp[r*d:(r+1)*d])
		s.k.Quantize(s.byWidth, r, x, s.w.layers[s.layer].ffnNorm, s.rmsScale(x))
	}
}

func (s *pass) activate(_, item int) {
	f := s.w.cfg.FeedForward
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		h := s.hidden[r*2*f : (r+1)*2*f]
		s.k.SiLUMul(h[:f], h[f:])
		s.k.Quantize(s.byFF, r, h[:f], nil, 1)
	}
}

// add closes a block and normalises for the next one, if there is one.
func (s *pass) add(_, item int) {
	d := s.w.cfg.Width
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.k.Add(x, s.tmp[r*d:(r+1)*d])
		if next := s.layer + 1; next < s.w.cfg.Layers {
			s.k.Quantize(s.byWidth, r, x, s.w.layers[next].attnNorm, s.rmsScale(x))
		}
	}
}

func (s *pass) quantizeAttention(_, item int) {
	n := s.w.cfg.Heads * s.w.cfg.HeadDim
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		s.k.Quantize(s.byHeads, r, s.att[r*n:(r+1)*n], nil, 1)
	}
}

// gather keeps the wanted rows only: behind the last attention nothing else is
// needed.
func (s *pass) gather() {
	d := s.w.cfg.Width
	x := grown(&s.states, roundUp(len(s.wanted), kernel.TileRows)*d)
	tmp := s.att[:len(x)] // free by now, and as long: Heads × HeadDim rows
	for i, r := range s.wanted {
		copy(x[i*d:(i+1)*d], s.row(r))
		copy(tmp[i*d:(i+1)*d], s.tmp[r*d:(r+1)*d])
	}
	copy(s.x, x)
	copy(s.tmp, tmp)
	s.rows = len(s.wanted)
}

// finish writes the normalised states of the wanted rows.
func (s *pass) finish() {
	d := s.w.cfg.Width
	for r := range s.rows {
		x, y := s.row(r), s.states[r*d:(r+1)*d]
		scale := s.rmsScale(x)
		for i, v := range x {
			y[i] = v * scale * s.w.outputNorm[i]
		}
	}
}
