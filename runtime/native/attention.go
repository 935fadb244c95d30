package native

import "cubby/runtime/native/kernel"

// scratch is one thread's working memory for attention.
type scratch struct {
	queries  *kernel.Activations    // a span's query rows
	probs    [2]*kernel.Activations // and their probabilities over each view
	scores   []float32              // [rows of a span][columns]
	out      []float32              // [rows of a span][HeadDim]
	part     []float32              // what a second view adds to it
	gathered []float32              // keys or values of a branch node's ancestors
	single   [kernel.Panel]float32
	gate, up []float32 // a panel of the feed-forward: [rows][Panel]
	line     []int32   // a branch node's ancestors outside the trunk, itself last
	block    [kernel.Block]float32
}

func (t *scratch) open(w *weights, k *kernel.Kernel) {
	t.queries = k.NewActivations(w.kvWeights(), 0, w.cfg.HeadDim, true)
	for i := range t.probs {
		t.probs[i] = k.NewActivations(w.kvWeights(), 0, kernel.Block, true)
	}
}

// rotate finishes queries, keys and values of a few slots: it applies the
// rotary embedding and lays them out by key head.
func (s *pass) rotate(worker, item int) {
	lo := item * s.share
	p := s.planOf(lo)
	for slot := lo; slot < min(lo+s.share, len(s.rowOf)); slot++ {
		for slot >= s.plans[p].at+len(s.plans[p].tree.Tokens) {
			p++
		}
		s.rotateSlot(&s.plans[p], slot)
	}
}

// planOf finds the plan that holds a slot.
func (s *pass) planOf(slot int) int {
	lo, hi := 0, len(s.plans)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if s.plans[mid].at <= slot {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

func (s *pass) rotateSlot(p *plan, slot int) {
	c := &s.w.cfg
	dim, node := c.HeadDim, slot-p.at
	cos, sin := s.w.layers[s.layer].rotary.at(p.start + int(p.depth[node]))
	row := s.qkvRow(slot)
	s.shape(row)
	s.k.Scale(row[:c.Heads*dim], float32(c.QueryScale))
	for h := range c.Heads {
		q := row[h*dim : (h+1)*dim]
		s.k.Rope(q, cos, sin)
		copy(s.query(h/s.group(), slot)[h%s.group()*dim:], q)
	}
	for h := range c.KVHeads {
		key := row[(c.Heads+h)*dim : (c.Heads+h+1)*dim]
		s.k.Rope(key, cos, sin)
		copy(s.value(h, slot), row[(c.Heads+c.KVHeads+h)*dim:])
		if s.into != nil {
			s.keepKey(h, s.into.n+node, key)
		}
		if node < p.trunk {
			panel := s.trunkKeys(p, h)[node/kernel.Panel*kernel.Panel*dim:]
			for d, v := range key {
				panel[d*kernel.Panel+node%kernel.Panel] = v
			}
		}
	}
}

func (s *pass) keepKey(h, pos int, key []float32) {
	m := s.into.head(s.layer, h).keys
	for b := range len(key) / kernel.Block {
		s.k.PackBlock(m, pos, b, key[b*kernel.Block:(b+1)*kernel.Block])
	}
}

// packValues keeps the values of one block of positions of one head. Blocks
// begin at multiples of their length: only the last pass into a prefix ends
// within one.
func (s *pass) packValues(worker, item int) {
	h, b := item%s.w.cfg.KVHeads, item/s.w.cfg.KVHeads
	m := s.into.head(s.layer, h).values
	x := &s.scratch[worker].block
	for d := range s.w.cfg.HeadDim {
		clear(x[:])
		for i := range min(kernel.Block, s.early-b*kernel.Block) {
			x[i] = s.value(h, b*kernel.Block+i)[d]
		}
		s.k.PackBlock(m, d, s.into.n/kernel.Block+b, x[:])
	}
}

func (s *pass) qkvRow(slot int) []float32 {
	n, r := s.qkvWidth(), int(s.rowOf[slot])
	return s.qkv[r*n : (r+1)*n]
}

// key is the rotated key of a slot's head.
func (s *pass) key(h, slot int) []float32 {
	dim := s.w.cfg.HeadDim
	return s.qkvRow(slot)[(s.w.cfg.Heads+h)*dim:][:dim]
}

func (s *pass) value(h, slot int) []float32 {
	dim := s.w.cfg.HeadDim
	return s.values[(h*len(s.rowOf)+slot)*dim:][:dim]
}

// query returns the query rows from a slot on, of the heads that share key head h.
func (s *pass) query(h, slot int) []float32 {
	per := len(s.q) / s.w.cfg.KVHeads
	return s.q[h*per+slot*s.group()*s.w.cfg.HeadDim : (h+1)*per]
}

func (s *pass) trunkKeys(p *plan, h int) []float32 {
	return s.keys[(h*s.keyLen+p.keyAt)*s.w.cfg.HeadDim:]
}

// attend computes one span's attention for one key head: scores against what
// lies before the tree, its trunk and a branch node's own line, softmax, and the
// weighted sum of values, while the scores are in cache. Behind the last layer's
// attention only wanted rows go on.
func (s *pass) attend(worker, item int) {
	h, sp := item/len(s.spans), s.spans[item%len(s.spans)]
	if s.first > 0 && !sp.wanted {
		return
	}
	a := attender{pass: s, scratch: &s.scratch[worker], plan: &s.plans[sp.plan], span: sp, head: h}
	a.open()
	a.score()
	for node := sp.lo; node < sp.hi; node++ {
		a.mask(node)
		for g := range s.group() {
			a.weigh(node, g)
		}
	}
	a.sum()
	a.put()
}

// attender is one span against one key head. A row of scores has columns for
// each view, then for the trunk, then for a branch node's line.
type attender struct {
	*pass
	*scratch
	plan  *plan
	span  span
	head  int
	views [2]view
	n     int // views in use
	own   int // column of the trunk
	trunk int // trunk nodes the span can see
	line  int // column of a branch node's line
	width int // length of a score row
}

// view is what a tree sees of a prefix.
type view struct {
	*headKV
	base int // position of its first key
	n    int // keys
	at   int // score column
}

func (v view) columns() int { return roundUp(v.n, kernel.Block) }

func (a *attender) open() {
	a.see(a.pre, 0, a.plan.seen)
	if before := a.plan.before; before != nil {
		a.see(before, a.plan.seen, before.n)
	}
	a.trunk = min(a.plan.trunk, a.span.hi)
	a.line = a.own + roundUp(a.trunk, kernel.Panel)
	a.width = a.line
	if a.span.lo >= a.plan.trunk {
		a.width += roundUp(a.plan.deepest, kernel.Panel)
	}
}

func (a *attender) see(p *prefix, base, n int) {
	if n == 0 {
		return
	}
	v := view{p.head(a.layer, a.head), base, n, a.own}
	a.views[a.n] = v
	a.n++
	a.own += v.columns()
}

func (a *attender) rowCount() int { return (a.span.hi - a.span.lo) * a.group() }

// rowAt is where a node's query head lies among the span's rows.
func (a *attender) rowAt(node, g int) int { return (node-a.span.lo)*a.group() + g }

func (a *attender) scoreRow(node, g int) []float32 {
	r := a.rowAt(node, g)
	return a.scores[r*a.width : (r+1)*a.width]
}

// score fills the columns of views and trunk.
func (a *attender) score() {
	dim, rows := a.w.cfg.HeadDim, a.rowCount()
	q := a.query(a.head, a.plan.at+a.span.lo)
	if a.n > 0 {
		a.queries.Resize(rows, dim)
		for r := range rows {
			a.k.Quantize(a.queries, r, q[r*dim:(r+1)*dim], nil, 1)
		}
	}
	for _, v := range a.views[:a.n] {
		first := a.firstPanel(v)
		a.k.MulPanels(v.keys, a.queries, first, v.columns()/kernel.Panel, 0, rows, a.scores[v.at+first*kernel.Panel:], a.width)
	}
	keys := a.trunkKeys(a.plan, a.head)
	for c := 0; c < a.trunk; c += kernel.Panel {
		a.k.GemmF32(rows, dim, q, dim, keys[c*dim:], kernel.Panel, a.scores[a.own+c:], a.width, false)
	}
}

// mask hides what a node does not follow, and scores a branch node's own line.
func (a *attender) mask(node int) {
	trunk := node + 1
	if node >= a.plan.trunk {
		trunk = a.lineOf(node) + 1
	}
	for g := range a.group() {
		row := a.scoreRow(node, g)
		for _, v := range a.views[:a.n] {
			hide(row[v.at+v.n : v.at+v.columns()])
		}
		hide(row[a.own+trunk:])
	}
	if node >= a.plan.trunk {
		a.scoreLine(node)
	}
	if a.local() {
		a.hideFar(node)
	}
}

func hide(row []float32) {
	for i := range row {
		row[i] = kernel.Masked
	}
}

// lineOf collects a branch node's ancestors outside the trunk, itself last, and
// returns its last ancestor inside it, -1 for none.
func (a *attender) lineOf(node int) int {
	t := a.scratch
	t.line = t.line[:0]
	n := int32(node)
	for ; int(n) >= a.plan.trunk; n = a.plan.tree.Parents[n] {
		t.line = append(t.line, n)
	}
	for i, j := 0, len(t.line)-1; i < j; i, j = i+1, j-1 {
		t.line[i], t.line[j] = t.line[j], t.line[i]
	}
	return int(n)
}

// scoreLine scores a branch node against its line, whose keys it gathers into
// panels.
func (a *attender) scoreLine(node int) {
	dim, line := a.w.cfg.HeadDim, a.scratch.line
	q := a.query(a.head, a.plan.at+node)
	for lo := 0; lo < len(line); lo += kernel.Panel {
		n := min(kernel.Panel, len(line)-lo)
		for i, m := range line[lo : lo+n] {
			for d, v := range a.key(a.head, a.plan.at+int(m)) {
				a.gathered[d*kernel.Panel+i] = v
			}
		}
		for g := range a.group() {
			a.k.GemmF32(1, dim, q[g*dim:], dim, a.gathered, kernel.Panel, a.single[:], kernel.Panel, false)
			copy(a.scoreRow(node, g)[a.line+lo:], a.single[:n])
		}
	}
}

// weigh turns a row of scores into probabilities.
func (a *attender) weigh(node, g int) {
	row := a.scoreRow(node, g)
	scale := a.k.Exp(row)
	for i, v := range a.views[:a.n] {
		if node == a.span.lo && g == 0 {
			a.probs[i].Resize(a.rowCount(), v.columns())
		}
		a.k.Quantize(a.probs[i], a.rowAt(node, g), row[v.at:v.at+v.columns()], nil, scale)
	}
	a.k.Scale(row[a.own:], scale)
}

// sum writes the weighted sums of values to out.
func (a *attender) sum() {
	dim, rows := a.w.cfg.HeadDim, a.rowCount()
	for i, v := range a.views[:a.n] {
		to := a.out
		if i > 0 {
			to = a.part
		}
		a.k.MulPanels(v.values, a.probs[i], 0, dim/kernel.Panel, 0, rows, to, dim)
		if i > 0 {
			a.k.Add(a.out[:rows*dim], a.part[:rows*dim])
		}
	}
	values := a.values[(a.head*len(a.rowOf)+a.plan.at)*dim:]
	for d := 0; d < dim; d += kernel.Panel {
		a.k.GemmF32(rows, a.trunk, a.scores[a.own:], a.width, values[d:], dim, a.out[d:], dim, a.n > 0)
	}
	for node := max(a.span.lo, a.plan.trunk); node < a.span.hi; node++ {
		a.sumLine(node)
	}
}

// sumLine adds the values of a branch node's line.
func (a *attender) sumLine(node int) {
	dim := a.w.cfg.HeadDim
	a.lineOf(node)
	line := a.scratch.line
	for i, m := range line {
		copy(a.gathered[i*dim:], a.value(a.head, a.plan.at+int(m)))
	}
	for g := range a.group() {
		out := a.out[a.rowAt(node, g)*dim:]
		for d := 0; d < dim; d += kernel.Panel {
			a.k.GemmF32(1, len(line), a.scoreRow(node, g)[a.line:], a.width, a.gathered[d:], dim, a.single[:], kernel.Panel, false)
			a.k.Add(out[d:d+kernel.Panel], a.single[:kernel.Panel])
		}
	}
}

// put lays the heads of each token side by side into att.
func (a *attender) put() {
	dim, heads := a.w.cfg.HeadDim, a.w.cfg.Heads*a.w.cfg.HeadDim
	for node := a.span.lo; node < a.span.hi; node++ {
		to := int(a.rowOf[a.plan.at+node])*heads + a.head*a.group()*dim
		copy(a.att[to:to+a.group()*dim], a.out[a.rowAt(node, 0)*dim:])
	}
}
