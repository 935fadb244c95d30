package native

import (
	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// plan is where one tree lies in the pass. Its trunk is the longest run of
// nodes, from the first, in which each follows the one before; the nodes behind
// it are branches, few and with few ancestors outside the trunk.
type plan struct {
	tree  *engine.Tree
	at    int // first row
	trunk int
	keyAt int // first key position of the trunk, a multiple of a panel
	seen  int // positions of the prefix that the tree follows
	// depth is each node's distance from the prefix's end; deepest is the
	// longest chain of branch nodes.
	depth   []int
	deepest int
	end     int // positions up to its deepest node
}

// span is a block of one tree's tokens, whose rows attend together.
type span struct{ plan, lo, hi int }

// spanRows is about how many query rows attend together: enough to reuse a key
// panel, few enough that their scores stay in cache.
const spanRows = 24

func (s *pass) plan(trees []engine.Tree) {
	s.plans, s.spans, s.wanted = s.plans[:0], s.spans[:0], s.wanted[:0]
	s.rows, s.keyLen = 0, 0
	for i := range trees {
		p := newPlan(&trees[i], s.rows, s.keyLen, s.pre.n-trees[i].Back)
		s.w.rotations(p.end)
		s.rows += len(p.tree.Tokens)
		s.keyLen += roundUp(p.trunk, kernel.Panel)
		s.plans = append(s.plans, p)
		s.spanTree(i)
		for _, w := range p.tree.Wants {
			s.wanted = append(s.wanted, p.at+w.Node)
		}
		if p.tree.Pooled >= 0 {
			s.wanted = append(s.wanted, p.at+p.tree.Pooled)
		}
	}
}

func newPlan(t *engine.Tree, at, keyAt, seen int) plan {
	p := plan{tree: t, at: at, keyAt: keyAt, seen: seen, depth: make([]int, len(t.Tokens))}
	for p.trunk < len(t.Tokens) && int(t.Parents[p.trunk]) == p.trunk-1 {
		p.trunk++
	}
	branch := make([]int, len(t.Tokens))
	for i, parent := range t.Parents {
		if parent >= 0 {
			p.depth[i] = p.depth[parent] + 1
			branch[i] = branch[parent]
		}
		p.end = max(p.end, seen+p.depth[i]+1)
		if i >= p.trunk {
			branch[i]++
			p.deepest = max(p.deepest, branch[i])
		}
	}
	return p
}

// spanTree cuts a tree's tokens into spans; trunk and branches do not mix.
func (s *pass) spanTree(i int) {
	p := &s.plans[i]
	step := max(1, spanRows/s.group())
	for lo := 0; lo < len(p.tree.Tokens); {
		hi := min(lo+step, len(p.tree.Tokens))
		if lo < p.trunk {
			hi = min(hi, p.trunk)
		}
		s.spans = append(s.spans, span{i, lo, hi})
		lo = hi
	}
}

// reserve grows the buffers to the planned rows, whole tiles.
func (s *pass) reserve() {
	c := &s.w.cfg
	heads, rows := c.Heads*c.HeadDim, roundUp(max(s.rows, len(s.wanted)), kernel.TileRows)
	padded := func(n int) int { return rows * roundUp(n, kernel.Panel) }
	grown(&s.x, rows*c.Width)
	grown(&s.qkv, padded(heads+2*c.KVHeads*c.HeadDim))
	grown(&s.q, c.KVHeads*(rows*s.group()+kernel.TileRows)*c.HeadDim)
	grown(&s.keys, c.KVHeads*s.keyLen*c.HeadDim)
	grown(&s.att, rows*max(heads, c.Width))
	grown(&s.hidden, padded(2*c.FeedForward))
	grown(&s.tmp, padded(c.Width))
	if s.byWidth == nil || s.byWidth.Rows < rows {
		s.byWidth = s.k.NewActivations(rows, c.Width)
		s.byHeads = s.k.NewActivations(rows, heads)
		s.byFF = s.k.NewActivations(rows, c.FeedForward)
	}
	s.reserveScratch()
}

func (s *pass) reserveScratch() {
	deepest, columns := 0, 0
	for i := range s.plans {
		p := &s.plans[i]
		deepest = max(deepest, roundUp(p.deepest, kernel.Panel))
		columns = max(columns, s.pre.padded+roundUp(p.trunk, kernel.Panel)+roundUp(p.deepest, kernel.Panel))
	}
	rows := roundUp(max(spanRows, s.group()), kernel.TileRows) + kernel.TileRows
	for i := range s.scratch {
		t := &s.scratch[i]
		grown(&t.scores, rows*columns)
		grown(&t.out, rows*s.w.cfg.HeadDim)
		grown(&t.gathered, max(deepest, kernel.Panel)*s.w.cfg.HeadDim)
	}
}

// embed looks up the tokens' embeddings into the residual stream.
func (s *pass) embed(trees []engine.Tree) {
	r := 0
	for i := range trees {
		for _, t := range trees[i].Tokens {
			s.w.embedding.Row(s.row(r), int(t))
			r++
		}
	}
}

// grown returns *b with length n, reallocated only when it is too short.
func grown(b *[]float32, n int) []float32 {
	if cap(*b) < n {
		*b = make([]float32, n)
	}
	*b = (*b)[:n]
	return *b
}
