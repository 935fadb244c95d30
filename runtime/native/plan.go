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
	at    int // first slot
	trunk int
	keyAt int // first key position of the trunk, a multiple of a panel
	seen  int // positions of the prefix that the tree follows
	// before holds the text's own positions in front of the tree, where it is too
	// long for one pass; nil otherwise.
	before *prefix
	start  int     // position of the tree's first nodes
	depth  []int32 // each node's distance from start
	// deepest is the longest chain of branch nodes.
	deepest int
}

// span is a block of one tree's tokens, whose rows attend together.
type span struct {
	plan, lo, hi int
	wanted       bool // holds a wanted node
}

// spanRows is about how many query rows attend together: enough that what a
// product costs beside them counts for little, few enough that their scores stay
// in the second-level cache.
const spanRows = 72

// plan lays the trees out. A node's slot is its place in the order of the trees;
// its row is its place in the buffers of the layers: wanted nodes come behind all
// others, so that they can be computed more finely, and alone in the end.
func (s *pass) plan(trees []engine.Tree, before []*prefix) {
	s.plans, s.spans, s.wanted, s.rowOf = s.plans[:0], s.spans[:0], s.wanted[:0], s.rowOf[:0]
	s.keyLen = 0
	slots := 0
	for i := range trees {
		slots += len(trees[i].Tokens)
	}
	s.depths = resize(s.depths, slots)
	for i := range trees {
		p := plan{tree: &trees[i], at: len(s.rowOf), keyAt: s.keyLen, seen: s.pre.n - trees[i].Back}
		if before != nil {
			p.before = before[i]
		}
		s.measure(&p)
		s.keyLen += roundUp(p.trunk, kernel.Panel)
		s.plans = append(s.plans, p)
		for range p.tree.Tokens {
			s.rowOf = append(s.rowOf, 0)
		}
		s.want(&p)
		s.spanTree(i)
	}
	s.assignRows()
}

func (s *pass) measure(p *plan) {
	t := p.tree
	p.start = p.seen
	if p.before != nil {
		p.start += p.before.n
	}
	p.depth = s.depths[p.at : p.at+len(t.Tokens)]
	for p.trunk < len(t.Tokens) && int(t.Parents[p.trunk]) == p.trunk-1 {
		p.trunk++
	}
	for i, parent := range t.Parents {
		p.depth[i] = 0
		if parent >= 0 {
			p.depth[i] = p.depth[parent] + 1
		}
		if i >= p.trunk {
			p.deepest = max(p.deepest, p.branch(i))
		}
	}
}

// branch is the length of a node's line outside the trunk, itself included.
func (p *plan) branch(node int) int {
	n := 0
	for ; node >= p.trunk; node = int(p.tree.Parents[node]) {
		n++
	}
	return n
}

// want marks the rows of wanted nodes, and notes for each want which of the
// late rows answers it.
func (s *pass) want(p *plan) {
	mark := func(node int) {
		row := &s.rowOf[p.at+node]
		if *row == 0 {
			s.late++
			*row = int32(-s.late)
		}
		s.wanted = append(s.wanted, int(-*row)-1)
	}
	for _, w := range p.tree.Wants {
		mark(w.Node)
	}
	if p.tree.Pooled >= 0 {
		mark(p.tree.Pooled)
	}
}

// assignRows turns the marks into rows.
func (s *pass) assignRows() {
	early := int32(0)
	for i, mark := range s.rowOf {
		if mark == 0 {
			s.rowOf[i] = early
			early++
		}
	}
	s.early = int(early)
	s.lateAt = s.early
	if s.apart {
		s.lateAt = roundUp(s.early, s.k.TileRows())
	}
	for i, mark := range s.rowOf {
		if mark < 0 {
			s.rowOf[i] = int32(s.lateAt) - mark - 1
		}
	}
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
		sp := span{plan: i, lo: lo, hi: hi}
		for _, mark := range s.rowOf[p.at+lo : p.at+hi] {
			sp.wanted = sp.wanted || mark < 0
		}
		s.spans = append(s.spans, sp)
		lo = hi
	}
}

// reserve grows the buffers to the planned rows, whole tiles.
func (s *pass) reserve() {
	c := &s.w.cfg
	slots, heads, rows := len(s.rowOf), c.Heads*c.HeadDim, roundUp(s.rows(), s.k.TileRows())
	s.x = resize(s.x, rows*c.Width)
	s.qkv = resize(s.qkv, rows*s.qkvWidth())
	s.q = resize(s.q, slots*heads)
	s.keys = resize(s.keys, c.KVHeads*s.keyLen*c.HeadDim)
	s.values = resize(s.values, c.KVHeads*slots*c.HeadDim)
	s.att = resize(s.att, rows*heads)
	s.hidden = resize(s.hidden, rows*c.FeedForward)
	s.tmp = resize(s.tmp, rows*c.Width)
	s.states = resize(s.states, s.late*c.Width)
	s.reserveScratch()
	for i := range s.scratch {
		t := &s.scratch[i]
		t.gate, t.up = resize(t.gate, rows*kernel.Panel), resize(t.up, rows*kernel.Panel)
	}
}

func (s *pass) qkvWidth() int { return (s.w.cfg.Heads + 2*s.w.cfg.KVHeads) * s.w.cfg.HeadDim }

func (s *pass) reserveScratch() {
	deepest, columns := 0, 0
	for i := range s.plans {
		p := &s.plans[i]
		deepest = max(deepest, roundUp(p.deepest, kernel.Panel))
		n := roundUp(p.seen, kernel.Panel) + roundUp(p.trunk, kernel.Panel) + roundUp(p.deepest, kernel.Panel)
		if p.before != nil {
			n += roundUp(p.before.n, kernel.Panel)
		}
		columns = max(columns, n)
	}
	rows := roundUp(max(spanRows, s.group()), s.k.TileRows()) + s.k.TileRows()
	for i := range s.scratch {
		t := &s.scratch[i]
		t.scores = resize(t.scores, rows*columns)
		t.out = resize(t.out, rows*s.w.cfg.HeadDim)
		t.part = resize(t.part, rows*s.w.cfg.HeadDim)
		t.gathered = resize(t.gathered, max(deepest, kernel.Panel)*s.w.cfg.HeadDim)
	}
}

// embed looks up the tokens' embeddings into the residual stream.
func (s *pass) embed(trees []engine.Tree) {
	slot := 0
	for i := range trees {
		for _, t := range trees[i].Tokens {
			x := s.row(int(s.rowOf[slot]))
			s.w.embedding.Row(x, int(t))
			s.k.Scale(x, float32(s.w.cfg.EmbeddingScale))
			slot++
		}
	}
}

// resize returns b with length n, reallocated only when it is too short.
func resize[T any](b []T, n int) []T {
	if cap(b) < n {
		return make([]T, n)
	}
	return b[:n]
}
