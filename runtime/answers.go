package runtime

import (
	"cmp"
	"math"
	"slices"

	"cubby/labels"
	"cubby/runtime/engine"
)

const (
	// wholeNodes is the most label nodes that are computed behind a text at once,
	// whatever they hold. A trie with more is opened in stages, from the root
	// towards where the probability is.
	wholeNodes = 256
	// stageNodes is about how many nodes a stage opens. Each costs as much as a
	// token, and each stage as much as the text.
	stageNodes = 32
	// maxStages and stageTokens bound the work on one text: a model that is sure of
	// nothing would have a large trie opened to its end, and others would wait.
	maxStages   = 6
	stageTokens = 4096
	// unresolvedMass is the most probability that may lie behind nodes that were not
	// opened, within those bounds: no label's probability is off by more.
	unresolvedMass = 1e-3
)

// answerPlan says which trie nodes a scoring method asks for.
type answerPlan struct {
	trie      *labels.Trie
	asks      []bool  // for each trie node, whether its children's logits decide
	under     []int32 // for each trie node, one behind the last node at or below it
	first     *stage  // what is computed behind every text
	whole     bool    // first holds every node that the method asks for
	dear      bool    // each node costs as much as a text: none is opened on suspicion
	deepest   int     // tokens of the longest answer
	normalize bool
}

// newAnswerPlan plans for the logits behind the wanted trie nodes.
func newAnswerPlan(t *labels.Trie, wants []int32, normalize, dear bool) *answerPlan {
	nodes := t.Nodes()
	p := &answerPlan{trie: t, asks: make([]bool, len(nodes)), under: make([]int32, len(nodes)), normalize: normalize, dear: dear}
	for _, n := range nodes {
		p.deepest = max(p.deepest, int(n.Depth))
	}
	for _, n := range wants {
		p.asks[n] = true
	}
	for n := len(nodes) - 1; n >= 0; n-- {
		p.under[n] = int32(n) + 1
		for _, c := range nodes[n].Children {
			p.under[n] = max(p.under[n], p.under[c])
		}
	}
	if p.first, p.whole = p.stage(wants), true; len(wants) < 2 || !dear && len(p.first.nodes) <= wholeNodes {
		return p
	}
	byDepth := slices.Clone(wants)
	slices.SortStableFunc(byDepth, func(a, b int32) int { return cmp.Compare(nodes[a].Depth, nodes[b].Depth) })
	if dear {
		byDepth = byDepth[:1]
	}
	p.first, p.whole = p.stage(newRoom(t).take(byDepth)), false
	return p
}

// most is the most label nodes that any stage computes.
func (p *answerPlan) most() int {
	if p.whole {
		return len(p.first.nodes)
	}
	return stageNodes + p.deepest
}

// stageLimit is how many stages a text of that many tokens, prompt included, may
// take: where nodes are dear, as many as the way to a label has nodes.
func (p *answerPlan) stageLimit(base int) int {
	if p.dear {
		return p.deepest + 1
	}
	return max(1, min(maxStages, stageTokens/(base+stageNodes)))
}

// cost is what the label nodes behind a text of base tokens add to its cost: where
// they are opened in stages, those of the two that a sure answer takes.
func (p *answerPlan) cost(base int) int {
	n := len(p.first.nodes)
	if !p.whole && !p.dear && p.stageLimit(base) > 1 {
		n += base + stageNodes
	}
	return n
}

// room chooses the nodes of a stage: those that are wanted, with their
// ancestors, while there are less than stageNodes.
type room struct {
	trie *labels.Trie
	in   []bool
	n    int
}

func newRoom(t *labels.Trie) *room { return &room{trie: t, in: make([]bool, len(t.Nodes()))} }

// take returns the wants that still found room.
func (r *room) take(wants []int32) []int32 {
	nodes := r.trie.Nodes()
	for i, w := range wants {
		if r.n >= stageNodes {
			return wants[:i]
		}
		for n := w; n > 0 && !r.in[n]; n = nodes[n].Parent {
			r.in[n] = true
			r.n++
		}
	}
	return wants
}

// stage is one set of label nodes behind a text.
type stage struct {
	nodes   []int32 // trie nodes to compute, parents first; the root is the text's last token
	parents []int32 // position in nodes of each one's parent; -1 for the root
	wants   []int32 // trie nodes whose logits are wanted
	at      []int32 // position in nodes of each want; -1 for the root
	columns [][]labels.Token
}

func (p *answerPlan) stage(wants []int32) *stage {
	nodes := p.trie.Nodes()
	wants = slices.Clone(wants)
	slices.Sort(wants)
	s := &stage{wants: wants}
	place := map[int32]int32{0: -1}
	var put func(n int32)
	put = func(n int32) {
		if _, ok := place[n]; ok {
			return
		}
		put(nodes[n].Parent)
		place[n] = int32(len(s.nodes))
		s.nodes = append(s.nodes, n)
		s.parents = append(s.parents, place[nodes[n].Parent])
	}
	for _, w := range wants {
		put(w)
		s.at = append(s.at, place[w])
		columns := make([]labels.Token, len(nodes[w].Children))
		for i, c := range nodes[w].Children {
			columns[i] = nodes[c].Token
		}
		s.columns = append(s.columns, columns)
	}
	return s
}

// attach appends a stage's nodes behind the first base tokens of a tree, which
// are a chain.
func (p *answerPlan) attach(t *engine.Tree, base int, s *stage) {
	t.Tokens, t.Parents = slices.Clip(t.Tokens[:base]), slices.Clip(t.Parents[:base])
	for i, n := range s.nodes {
		t.Tokens = append(t.Tokens, p.trie.Nodes()[n].Token)
		t.Parents = append(t.Parents, int32(base)+s.parents[i])
	}
	t.Wants = make([]engine.Want, len(s.wants))
	for i, at := range s.at {
		t.Wants[i] = engine.Want{Node: base + int(at), Columns: s.columns[i], Normalizer: p.normalize}
	}
}

// reading is what is known of one text's trie.
type reading struct {
	plan   *answerPlan
	stage  *stage    // the last one
	logp   []float64 // for each node, the log probability of its token behind its parent
	stages int       // read so far
	opened []bool    // the nodes whose children's logp is known, among those that the method asks for
	unseen []float64 // of an opened node's children, the most that was guessed: see engine.Output
}

func (p *answerPlan) newReading() *reading {
	n := len(p.trie.Nodes())
	return &reading{plan: p, stage: p.first, logp: make([]float64, n), opened: make([]bool, n), unseen: make([]float64, n)}
}

// read takes in the logits of the stage: log probabilities normalised over the
// vocabulary, or among siblings. Nodes with no sibling are certain in the latter.
func (r *reading) read(out engine.Output) {
	r.stages++
	for i, w := range r.stage.wants {
		row, z := out.Logits[i], out.LogZ[i]
		if !r.plan.normalize {
			z = logSumExp(row)
		}
		for j, c := range r.plan.trie.Nodes()[w].Children {
			r.logp[c] = float64(row[j]) - z
		}
		r.opened[w] = true
		if out.Unseen != nil {
			r.unseen[w] = out.Unseen[i]
		}
	}
}

// scores returns the log probability of each label, and the nodes that hold
// others' mass back, most probable first. What lies behind such a node is shared
// out evenly among its labels. guessed is the mass, of that of all labels, that an
// engine which does not know all logits may have given to the wrong ones.
func (r *reading) scores() (scores []float64, closed []closedNode, guessed float64) {
	nodes := r.plan.trie.Nodes()
	scores = make([]float64, len(r.plan.trie.Leaves()))
	path := make([]float64, len(nodes))
	for n := 0; n < len(nodes); n++ {
		if n > 0 {
			path[n] = path[nodes[n].Parent] + r.logp[n]
		}
		switch node := &nodes[n]; {
		case node.Label >= 0:
			scores[node.Label] = path[n]
		case r.plan.asks[n] && !r.opened[n]:
			closed = append(closed, closedNode{int32(n), path[n]})
			for _, label := range r.plan.trie.Leaves()[node.Lo:node.Hi] {
				scores[label] = path[n] - math.Log(float64(node.Hi-node.Lo))
			}
			n = int(r.plan.under[n]) - 1
		}
	}
	slices.SortStableFunc(closed, func(a, b closedNode) int { return cmp.Compare(b.logp, a.logp) })
	total := logSumExp(scores)
	for n, share := range r.unseen {
		if share > 0 {
			for _, c := range nodes[n].Children {
				guessed += share * math.Exp(path[c]-total)
			}
		}
	}
	return scores, closed, guessed
}

// closedNode is a node that was reached and not opened.
type closedNode struct {
	node int32
	logp float64 // of the way to it
}

// next returns the labels' scores and the probability behind nodes that are not
// opened. While that is too much, and there are less stages than the limit, it
// sets the next one, which opens the most probable of them and, as far as there is
// room, what lies below.
func (r *reading) next(limit int) (scores []float64, unresolved float64, more bool) {
	scores, closed, guessed := r.scores()
	total := logSumExp(scores)
	for _, c := range closed {
		unresolved += math.Exp(c.logp - total)
	}
	if r.stages >= limit || !(unresolved > unresolvedMass) { // also where a score is not a number
		return scores, min(1, unresolved+guessed), false
	}
	room, left := newRoom(r.plan.trie), unresolved
	var wants []int32
	for _, c := range closed {
		if left <= unresolvedMass || room.n >= stageNodes {
			break
		}
		left -= math.Exp(c.logp - total)
		list := r.below(c.node)
		if r.plan.dear {
			list = list[:1]
		}
		wants = append(wants, room.take(list)...)
	}
	r.stage = r.plan.stage(wants)
	return scores, min(1, unresolved+guessed), true
}

// below lists the nodes to open from n on down, n first.
func (r *reading) below(n int32) []int32 {
	var list []int32
	for m := n; m < r.plan.under[n]; m++ {
		if r.plan.asks[m] {
			list = append(list, m)
		}
	}
	return list
}

func logSumExp[T float32 | float64](x []T) float64 {
	top, sum := float64(slices.Max(x)), 0.0
	if math.IsInf(top, -1) {
		return top
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// innerNodes lists the nodes that have children.
func innerNodes(t *labels.Trie) []int32 {
	var list []int32
	for i, n := range t.Nodes() {
		if len(n.Children) > 0 {
			list = append(list, int32(i))
		}
	}
	return list
}
