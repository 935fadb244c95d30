package native

import (
	"math"

	"cubby/runtime/native/kernel"
)

// scratch is one thread's working memory for attention.
type scratch struct {
	scores   []float32 // [rows of a span][columns]
	out      []float32 // [rows of a span][HeadDim]
	gathered []float32 // keys or values of a branch node's ancestors
	single   [kernel.TileRows * kernel.Panel]float32
	line     []int32 // a branch node's ancestors outside the trunk, itself last
}

// rotate applies the rotary embedding to one tile of rows, lays the queries out
// by key head, and packs the keys.
func (s *pass) rotate(_, item int) {
	lo, hi := s.tile(item)
	p := s.planOf(lo)
	for r := lo; r < hi; r++ {
		for r >= s.plans[p].at+len(s.plans[p].tree.Tokens) {
			p++
		}
		s.rotateRow(&s.plans[p], r)
	}
}

// planOf finds the plan that holds a row.
func (s *pass) planOf(row int) int {
	lo, hi := 0, len(s.plans)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if s.plans[mid].at <= row {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

func (s *pass) rotateRow(p *plan, r int) {
	c := &s.w.cfg
	dim, half, node := c.HeadDim, c.HeadDim/2, r-p.at
	pos := p.seen + p.depth[node]
	cos, sin := s.w.cos[pos*half:(pos+1)*half], s.w.sin[pos*half:(pos+1)*half]
	row := s.qkvRow(r)
	scale := float32(1 / math.Sqrt(float64(dim)))
	for h := range c.Heads {
		q := row[h*dim : (h+1)*dim]
		s.k.Rope(q, cos, sin)
		to := s.query(h/s.group(), r)[h%s.group()*dim:]
		for d, v := range q {
			to[d] = v * scale
		}
	}
	for h := range c.KVHeads {
		key, value := s.keyValue(row, h)
		s.k.Rope(key, cos, sin)
		if s.keep {
			s.pre.head(s.layer, h).store(dim, pos, key, value)
		}
		if node < p.trunk {
			panel := s.trunkKeys(p, h)[node/kernel.Panel*kernel.Panel*dim:]
			for d, v := range key {
				panel[d*kernel.Panel+node%kernel.Panel] = v
			}
		}
	}
}

func (s *pass) qkvWidth() int { return s.w.layers[0].qkv.Panels() * kernel.Panel }

func (s *pass) qkvRow(r int) []float32 { n := s.qkvWidth(); return s.qkv[r*n : (r+1)*n] }

func (s *pass) keyValue(row []float32, h int) (key, value []float32) {
	dim := s.w.cfg.HeadDim
	k, v := (s.w.cfg.Heads+h)*dim, s.valueAt(h)
	return row[k : k+dim], row[v : v+dim]
}

// valueAt is where the values of key head h start in a row of qkv.
func (s *pass) valueAt(h int) int { return (s.w.cfg.Heads + s.w.cfg.KVHeads + h) * s.w.cfg.HeadDim }

// query returns the query rows from row r on, of the heads that share key head h.
func (s *pass) query(h, r int) []float32 {
	per := len(s.q) / s.w.cfg.KVHeads
	return s.q[h*per+r*s.group()*s.w.cfg.HeadDim : (h+1)*per]
}

func (s *pass) trunkKeys(p *plan, h int) []float32 {
	dim := s.w.cfg.HeadDim
	return s.keys[(h*s.keyLen+p.keyAt)*dim:]
}

// attend computes one span's attention for one key head: scores against the
// prefix, the trunk and a branch node's own line, softmax, and the weighted sum
// of values, while the scores are in cache.
func (s *pass) attend(worker, item int) {
	h, sp := item/len(s.spans), s.spans[item%len(s.spans)]
	p, t := &s.plans[sp.plan], &s.scratch[worker]
	a := attender{pass: s, scratch: t, plan: p, span: sp, head: h, kv: s.pre.head(s.layer, h)}
	a.trunk = min(p.trunk, sp.hi)
	a.columns = s.pre.padded + roundUp(a.trunk, kernel.Panel)
	a.width = a.columns
	if sp.lo >= p.trunk {
		a.width += roundUp(p.deepest, kernel.Panel)
	}
	a.score()
	for node := sp.lo; node < sp.hi; node++ {
		a.mask(node)
		for g := range s.group() {
			s.k.Softmax(a.scoreRow(node, g))
		}
	}
	a.sum()
	a.write()
}

// attender is one span against one key head.
type attender struct {
	*pass
	*scratch
	plan    *plan
	span    span
	head    int
	kv      *headKV
	trunk   int // trunk nodes the span can see
	columns int // score columns of prefix and trunk
	width   int // length of a score row
}

func (a *attender) rowCount() int { return (a.span.hi - a.span.lo) * a.group() }

func (a *attender) scoreRow(node, g int) []float32 {
	r := (node-a.span.lo)*a.group() + g
	return a.scores[r*a.width : (r+1)*a.width]
}

// score fills the columns of prefix and trunk.
func (a *attender) score() {
	dim := a.w.cfg.HeadDim
	q := a.query(a.head, a.plan.at+a.span.lo)
	for c := 0; c < a.pre.padded; c += kernel.Panel {
		a.k.GemmF32(a.rowCount(), dim, q, dim, a.kv.keys[c*dim:], kernel.Panel, a.scores[c:], a.width, false)
	}
	keys := a.trunkKeys(a.plan, a.head)
	for c := 0; c < a.trunk; c += kernel.Panel {
		a.k.GemmF32(a.rowCount(), dim, q, dim, keys[c*dim:], kernel.Panel, a.scores[a.pre.padded+c:], a.width, false)
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
		hide(row[a.plan.seen:a.pre.padded])
		hide(row[a.pre.padded+trunk:])
	}
	if node >= a.plan.trunk {
		a.scoreLine(node)
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
	a.line = a.line[:0]
	n := int32(node)
	for ; int(n) >= a.plan.trunk; n = a.plan.tree.Parents[n] {
		a.line = append(a.line, n)
	}
	for i, j := 0, len(a.line)-1; i < j; i, j = i+1, j-1 {
		a.line[i], a.line[j] = a.line[j], a.line[i]
	}
	return int(n)
}

// scoreLine scores a branch node against its line, whose keys it gathers into
// panels.
func (a *attender) scoreLine(node int) {
	dim := a.w.cfg.HeadDim
	q := a.query(a.head, a.plan.at+node)
	for lo := 0; lo < len(a.line); lo += kernel.Panel {
		n := min(kernel.Panel, len(a.line)-lo)
		for i, m := range a.line[lo : lo+n] {
			key, _ := a.keyValue(a.qkvRow(a.plan.at+int(m)), a.head)
			for d, v := range key {
				a.gathered[d*kernel.Panel+i] = v
			}
		}
		for g := range a.group() {
			a.k.GemmF32(1, dim, q[g*dim:], dim, a.gathered, kernel.Panel, a.single[:], kernel.Panel, false)
			copy(a.scoreRow(node, g)[a.columns+lo:], a.single[:n])
		}
	}
}

// sum writes the weighted sums of values to out.
func (a *attender) sum() {
	dim, n := a.w.cfg.HeadDim, a.qkvWidth()
	values := a.qkv[a.plan.at*n+a.valueAt(a.head):]
	for d := 0; d < dim; d += kernel.Panel {
		if a.plan.seen > 0 {
			a.k.GemmF32(a.rowCount(), a.plan.seen, a.scores, a.width, a.kv.values[d:], dim, a.out[d:], dim, false)
		}
		a.k.GemmF32(a.rowCount(), a.trunk, a.scores[a.pre.padded:], a.width, values[d:], n, a.out[d:], dim, a.plan.seen > 0)
	}
	for node := max(a.span.lo, a.plan.trunk); node < a.span.hi; node++ {
		a.sumLine(node)
	}
}

// sumLine adds the values of a branch node's line.
func (a *attender) sumLine(node int) {
	dim := a.w.cfg.HeadDim
	a.lineOf(node)
	for i, m := range a.line {
		_, value := a.keyValue(a.qkvRow(a.plan.at+int(m)), a.head)
		copy(a.gathered[i*dim:], value)
	}
	for g := range a.group() {
		out := a.out[((node-a.span.lo)*a.group()+g)*dim:]
		for d := 0; d < dim; d += kernel.Panel {
			a.k.GemmF32(1, len(a.line), a.scoreRow(node, g)[a.columns:], a.width, a.gathered[d:], dim, a.single[:], kernel.Panel, false)
			a.k.Add(out[d:d+kernel.Panel], a.single[:kernel.Panel])
		}
	}
}

// write puts the heads of each token side by side into att.
func (a *attender) write() {
	dim, heads := a.w.cfg.HeadDim, a.w.cfg.Heads*a.w.cfg.HeadDim
	for node := a.span.lo; node < a.span.hi; node++ {
		r := (node - a.span.lo) * a.group() * dim
		to := (a.plan.at+node)*heads + a.head*a.group()*dim
		copy(a.att[to:to+a.group()*dim], a.out[r:])
	}
}
