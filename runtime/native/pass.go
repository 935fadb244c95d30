package native

import (
	"context"
	"math"

	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// pieces is how many runs of panels a product is cut into for each thread: few,
// because a thread has the next panel fetched while it uses one, but enough to
// share out what is left when a thread is disturbed.
const pieces = 4

// pass computes packed passes. Its buffers are reused and grow to the largest
// pass, so that a pass allocates nothing once it has seen one as large.
type pass struct {
	w    *weights
	k    *kernel.Kernel
	team *Pool // computes the sections; nil: one thread alone

	// The pass that is running.
	pre     *prefix
	into    *prefix // takes the keys and values; nil if they are not kept
	precise bool    // 16-bit activations for all rows, not just the wanted ones
	apart   bool    // wanted rows are rounded more finely than the others
	share   int     // rows that a thread takes at once
	plans   []plan
	spans   []span
	rowOf   []int32 // the row of each slot
	depths  []int32 // of all plans
	wanted  []int   // for each want, the late row that answers it, from 0
	early   int     // rows that nothing is wanted of
	late    int     // wanted rows, from lateAt on
	lateAt  int     // behind the early rows; where they are apart, a multiple of a tile
	layer   int
	first   int // first row that the sections compute: 0, or in the end that of lateAt's tile

	x       []float32 // residual stream [rows][Width]
	qkv     []float32 // [rows][heads, keys, values]
	q       []float32 // queries, scaled: [kv head][slots × group][HeadDim]
	keys    []float32 // trunk keys in panels: [kv head][key positions][HeadDim]
	keyLen  int       // key positions a kv head
	values  []float32 // [kv head][slots][HeadDim]
	att     []float32 // [rows][Heads × HeadDim]
	hidden  []float32 // [rows][FeedForward]
	tmp     []float32 // [rows][Width]
	states  []float32 // wanted rows after the last norm: [late][Width]
	inputs  map[inputKind]*kernel.Activations
	to      rowInputs
	scratch []scratch // one a thread

	mul mulTask
	do  phases
}

// phases are the sections of a layer as tasks, made once.
type phases struct {
	norm, mul, rotate, keepValues, attend, quantAtt, addNorm, gateUp, quantGate, add task
}

// mulTask is the product that run shares out: c = a·mᵀ.
type mulTask struct {
	m *kernel.Matrix
	c []float32
}

// rowInputs are the inputs of a product: of the early rows and of the late ones,
// or of all rows in early.
type rowInputs struct{ early, late *kernel.Activations }

// inputKind is what a product asks of its inputs.
type inputKind struct {
	width   int
	weights kernel.Weights
	late    bool
	precise bool
}

// write sets where the running sections quantise rows to: the inputs of m.
func (s *pass) write(m *kernel.Matrix) {
	if !s.apart {
		s.to = rowInputs{early: s.inputsOf(m, false, s.rows())}
		return
	}
	s.to = rowInputs{s.inputsOf(m, false, s.early), s.inputsOf(m, true, s.late)}
}

// inputsOf returns room for the inputs of the products with m. Wanted rows are
// precise: their errors go into the answer as they are. So are those of a
// prefix, which is computed once and would hand its error on to every text.
func (s *pass) inputsOf(m *kernel.Matrix, late bool, rows int) *kernel.Activations {
	kind := inputKind{m.K, m.Weights, late, late || s.precise}
	a := s.inputs[kind]
	if a == nil {
		a = s.k.NewActivations(m.Weights, rows, m.K, kind.precise)
		s.inputs[kind] = a
	}
	a.Resize(rows, m.K)
	return a
}

// newPass makes a pass for the threads of a pool, or for one alone.
func newPass(w *weights, k *kernel.Kernel, team *Pool) *pass {
	threads := 1
	if team != nil {
		threads = team.threads
	}
	s := &pass{w: w, k: k, team: team, scratch: make([]scratch, threads), inputs: map[inputKind]*kernel.Activations{}}
	s.do = phases{s.norm, s.multiply, s.rotate, s.packValues, s.attend, s.quantizeAttention, s.addNorm, s.gateUp, s.quantizeGate, s.add}
	for i := range s.scratch {
		s.scratch[i].open(w, k)
	}
	return s
}

// run computes a section.
func (s *pass) run(items int, work *task) {
	if s.team != nil {
		s.team.run(items, work)
		return
	}
	for i := range items {
		(*work)(0, i)
	}
}

// group is how many query heads share a key head.
func (s *pass) group() int { return s.w.cfg.Heads / s.w.cfg.KVHeads }

// job is what a pass is to compute.
type job struct {
	pre    *prefix
	before []*prefix // one a tree, see plan; nil for none
	trees  []engine.Tree
	into   *prefix // takes the keys and values of the single chain, if not nil
}

// forward runs all layers over the trees. It leaves the normalised states of the
// wanted nodes in s.states, or the keys and values in j.into. It stops between
// layers when ctx is done. It runs within a turn of the pool.
func (s *pass) forward(ctx context.Context, j job) error {
	s.pre, s.into = j.pre, j.into
	s.precise = s.w.precision != Int8 || j.into != nil && j.into == j.pre
	s.apart = !s.precise && s.w.coarse
	s.share = fewRows
	if s.apart {
		s.share = s.k.TileRows()
	}
	s.early, s.late, s.first = 0, 0, 0
	s.plan(j.trees, j.before)
	s.reserve()
	s.embed(j.trees)
	last := s.w.cfg.Layers - 1
	for s.layer = range s.w.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.attention(s.layer == last)
		if s.layer == last {
			break
		}
		s.feedForward()
	}
	if s.into != nil {
		s.into.n += s.early
		return nil
	}
	s.feedForward()
	s.finish()
	return nil
}

// attention leaves the block's attention output in tmp. In the last layer it
// stops at the keys and values if they are all that is kept, and goes on with
// the wanted rows alone otherwise.
func (s *pass) attention(last bool) {
	l := &s.w.layers[s.layer]
	if s.layer == 0 {
		s.write(l.qkv)
		s.perRow(&s.do.norm)
	}
	s.product(l.qkv, s.qkv)
	s.run((len(s.rowOf)+s.share-1)/s.share, &s.do.rotate)
	if s.into != nil {
		s.run(s.w.cfg.KVHeads*roundUp(s.early, kernel.Block)/kernel.Block, &s.do.keepValues)
	}
	if last && s.into != nil {
		return
	}
	if last {
		s.first = s.lateAt / s.k.TileRows() * s.k.TileRows()
	}
	s.run(len(s.spans)*s.w.cfg.KVHeads, &s.do.attend)
	s.write(l.out)
	s.perRow(&s.do.quantAtt)
	s.product(l.out, s.tmp)
}

// feedForward adds the pending attention output, runs the gated feed-forward,
// and prepares the next layer's input.
func (s *pass) feedForward() {
	l := &s.w.layers[s.layer]
	s.write(l.gateUp)
	s.perRow(&s.do.addNorm)
	s.run(s.pieces(l.gateUp.Panels()/2), &s.do.gateUp)
	s.write(l.down)
	s.perRow(&s.do.quantGate)
	s.product(l.down, s.tmp)
	if next := s.layer + 1; next < s.w.cfg.Layers {
		s.write(s.w.layers[next].qkv)
	}
	s.perRow(&s.do.add)
}

// rows is the number of rows in the buffers.
func (s *pass) rows() int { return s.lateAt + s.late }

// fewRows is how many rows are shared out at once where no tile must be.
const fewRows = 4

// perRow shares the rows out.
func (s *pass) perRow(work *task) {
	s.run((s.rows()-s.first+s.share-1)/s.share, work)
}

// tile returns the rows of an item of perRow: early or late ones where those are
// apart.
func (s *pass) tile(item int) (lo, hi int) {
	lo = s.first + item*s.share
	if s.apart && lo < s.lateAt {
		return lo, min(lo+s.share, s.early)
	}
	return lo, min(lo+s.share, s.rows())
}

// product multiplies the inputs written last with m.
func (s *pass) product(m *kernel.Matrix, c []float32) {
	s.mul = mulTask{m, c}
	s.run(s.pieces(m.Panels()), &s.do.mul)
}

// pieces is how many pieces that many panels are shared out in.
func (s *pass) pieces(panels int) int {
	if s.team == nil {
		return 1
	}
	return min(panels, pieces*s.team.threads)
}

// piece returns the panels of one of them.
func (s *pass) piece(item, panels int) (lo, hi int) {
	n := s.pieces(panels)
	return item * panels / n, (item + 1) * panels / n
}

// multiply takes all rows' products with one piece of the panels.
func (s *pass) multiply(_, item int) {
	lo, hi := s.piece(item, s.mul.m.Panels())
	s.mulPanels(s.mul.m, lo, hi, s.mul.c[lo*kernel.Panel:], s.mul.m.Panels()*kernel.Panel)
}

// mulPanels multiplies all rows with panels [lo, hi); c begins with the first
// row's product with the first of them, and its rows are width apart.
func (s *pass) mulPanels(m *kernel.Matrix, lo, hi int, c []float32, width int) {
	if !s.apart {
		s.k.MulPanels(m, s.to.early, lo, hi, s.first, s.rows(), c, width)
		return
	}
	for p := lo; p < hi; p++ { // a panel serves the late rows, too, while it is near
		to := c[(p-lo)*kernel.Panel:]
		if s.first == 0 {
			s.k.MulPanels(m, s.to.early, p, p+1, 0, s.early, to, width)
		}
		s.k.MulPanels(m, s.to.late, p, p+1, 0, s.late, to[s.lateAt*width:], width)
	}
}

// gateUp makes one piece of the gated unit, panel by panel: both products of a
// panel are at hand when they meet.
func (s *pass) gateUp(worker, item int) {
	m, f, t := s.w.layers[s.layer].gateUp, s.w.cfg.FeedForward, &s.scratch[worker]
	half := m.Panels() / 2
	lo, hi := s.piece(item, half)
	for p := lo; p < hi; p++ {
		s.mulPanels(m, p, p+1, t.gate, kernel.Panel)
		s.mulPanels(m, half+p, half+p+1, t.up, kernel.Panel)
		from, to := s.first*kernel.Panel, s.rows()*kernel.Panel
		s.gate(t.gate[from:to], t.up[from:to])
		for r := s.first; r < s.rows(); r++ {
			copy(s.hidden[r*f+p*kernel.Panel:], t.gate[r*kernel.Panel:][:kernel.Panel])
		}
	}
}

// quantize stores x × scale × w as row r of the next product's inputs.
func (s *pass) quantize(r int, x, w []float32, scale float32) {
	if !s.apart || r < s.lateAt {
		s.k.Quantize(s.to.early, r, x, w, scale)
	} else {
		s.k.Quantize(s.to.late, r-s.lateAt, x, w, scale)
	}
}

// rmsScale is the factor of RMSNorm (Zhang & Sennrich 2019) for one row.
func (s *pass) rmsScale(x []float32) float32 {
	return float32(1 / math.Sqrt(float64(s.k.SumSquares(x))/float64(len(x))+s.w.cfg.NormEpsilon))
}

func (s *pass) row(r int) []float32 { d := s.w.cfg.Width; return s.x[r*d : (r+1)*d] }

// output is the row of a block's output.
func (s *pass) output(r int) []float32 {
	d := s.w.cfg.Width
	return s.tmp[r*d : (r+1)*d]
}

func (s *pass) norm(_, item int) {
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.quantize(r, x, s.w.layers[s.layer].attnNorm, s.rmsScale(x))
	}
}

func (s *pass) addNorm(_, item int) {
	l := &s.w.layers[s.layer]
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.residual(x, s.output(r), l.postAttention)
		s.quantize(r, x, l.ffnNorm, s.rmsScale(x))
	}
}

func (s *pass) quantizeGate(_, item int) {
	f := s.w.cfg.FeedForward
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		s.quantize(r, s.hidden[r*f:(r+1)*f], nil, 1)
	}
}

// add closes a block and normalises for the next one, if there is one.
func (s *pass) add(_, item int) {
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		x := s.row(r)
		s.residual(x, s.output(r), s.w.layers[s.layer].postForward)
		if next := s.layer + 1; next < s.w.cfg.Layers {
			s.quantize(r, x, s.w.layers[next].attnNorm, s.rmsScale(x))
		}
	}
}

func (s *pass) quantizeAttention(_, item int) {
	n := s.w.cfg.Heads * s.w.cfg.HeadDim
	lo, hi := s.tile(item)
	for r := lo; r < hi; r++ {
		s.quantize(r, s.att[r*n:(r+1)*n], nil, 1)
	}
}

// finish writes the normalised states of the wanted rows.
func (s *pass) finish() {
	d := s.w.cfg.Width
	for i := range s.late {
		x, y := s.row(s.lateAt+i), s.states[i*d:(i+1)*d]
		scale := s.rmsScale(x)
		for j, v := range x {
			y[j] = v * scale * s.w.outputNorm[j]
		}
	}
}
