package llama

import (
	"context"
	"math"
	"slices"

	"cubby/labels"
	"cubby/runtime/engine"
)

// part is one tree, or as many of its leaves as there are sequences for, with
// the nodes on their ways, and as many of the wanted ones among these as there are
// outputs for.
type part struct {
	tree   int
	back   int
	nodes  []int // ascending, so that parents come first
	leaves []int
	wanted map[int]bool
}

// group splits the trees into parts and packs these into passes, in order. Those of
// a recurrent model leave out few different numbers of the prefix's last tokens.
func (e *Engine) group(trees []engine.Tree) [][]part {
	room := e.sequences() - int(e.variants())
	if e.facts.Recurrent {
		room /= 2 // a part of n leaves has at most 2n-1 segments
	}
	var groups [][]part
	var tokens, leaves, wanted int
	backs := map[int]bool{}
	for i := range trees {
		for _, p := range split(i, &trees[i], room) {
			backs[p.back] = true
			full := tokens+len(p.nodes) > e.opt.Pass || leaves+len(p.leaves) > room || wanted+len(p.wanted) > outputs ||
				e.facts.Recurrent && len(backs) > maxVariants
			if len(groups) == 0 || full {
				groups = append(groups, nil)
				tokens, leaves, wanted = 0, 0, 0
				backs = map[int]bool{p.back: true}
			}
			groups[len(groups)-1] = append(groups[len(groups)-1], p)
			tokens, leaves, wanted = tokens+len(p.nodes), leaves+len(p.leaves), wanted+len(p.wanted)
		}
	}
	return groups
}

// split cuts a tree into parts of at most most leaves, and of at most outputs wanted
// nodes. A node is wanted in one part.
func split(index int, t *engine.Tree, most int) []part {
	inner := make([]bool, len(t.Tokens))
	for _, p := range t.Parents {
		if p >= 0 {
			inner[p] = true
		}
	}
	var leaves []int
	for i, has := range inner {
		if !has {
			leaves = append(leaves, i)
		}
	}
	var parts []part
	asked := wants(t)
	for some := range slices.Chunk(leaves, most) {
		p := part{tree: index, back: t.Back, leaves: some}
		on := make([]bool, len(t.Tokens))
		for _, leaf := range some {
			for n := leaf; n >= 0 && !on[n]; n = int(t.Parents[n]) {
				on[n] = true
			}
		}
		var wanted []int
		for n, there := range on {
			if there {
				p.nodes = append(p.nodes, n)
			}
			if there && asked[n] {
				wanted = append(wanted, n)
				asked[n] = false
			}
		}
		for few := range slices.Chunk(wanted, outputs) {
			p.wanted = map[int]bool{}
			for _, n := range few {
				p.wanted[n] = true
			}
			parts = append(parts, p)
		}
	}
	return parts
}

// compute runs one group.
func (e *Engine) compute(ctx context.Context, pre *prefix, trees []engine.Tree, group []part, out []engine.Output) error {
	from := make([]int32, len(group))
	for i, p := range group {
		seq, err := e.begin(ctx, pre, p.back)
		if err != nil {
			return err
		}
		from[i] = seq
	}
	for s := e.variants(); s < e.variants()+e.used; s++ {
		e.ctx.Forget(s)
	}
	e.used = 0
	lay := e.sharing
	if e.facts.Recurrent {
		lay = e.rounds
	}
	return lay(ctx, pre, trees, group, from, out)
}

// sequence returns a sequence that nothing of the group uses.
func (e *Engine) sequence() int32 {
	e.used++
	return e.variants() + e.used - 1
}

// sharing computes a group in one pass: each leaf is a sequence, and a node
// belongs to those of all leaves behind it.
func (e *Engine) sharing(ctx context.Context, pre *prefix, trees []engine.Tree, group []part, from []int32, out []engine.Output) error {
	e.ctx.Begin()
	var places []placed
	for i, p := range group {
		t := &trees[p.tree]
		start := pre.Len() - t.Back
		of := make([][]int32, len(t.Tokens))
		for _, leaf := range p.leaves {
			seq := e.sequence()
			e.ctx.Share(from[i], seq, start)
			for n := leaf; n >= 0; n = int(t.Parents[n]) {
				of[n] = append(of[n], seq)
			}
		}
		position := positions(t, start)
		for _, n := range p.nodes {
			place := e.ctx.Add(t.Tokens[n], position[n], of[n], p.wanted[n])
			if p.wanted[n] {
				places = append(places, placed{p.tree, n, place})
			}
		}
	}
	if err := e.ctx.Decode(ctx); err != nil {
		return err
	}
	return e.read(trees, places, out)
}

// segment is a run of nodes of which each but the last has one child.
type segment struct {
	part   int
	nodes  []int
	parent int // segment before it; -1 for the prefix
	round  int
	seq    int32
}

// rounds computes a group of a recurrent model, whose sequences cannot share a
// state within a pass: segments first that follow the prefix, then those behind
// them, which begin as copies of their states.
func (e *Engine) rounds(ctx context.Context, pre *prefix, trees []engine.Tree, group []part, from []int32, out []engine.Output) error {
	var list []segment
	position := make([][]int, len(group))
	for i, p := range group {
		t := &trees[p.tree]
		list = segments(list, i, t, p.nodes)
		position[i] = positions(t, pre.Len()-p.back)
	}
	for round := 0; ; round++ {
		e.ctx.Begin()
		var places []placed
		for i := range list {
			s := &list[i]
			if s.round != round {
				continue
			}
			p, at := &group[s.part], position[s.part]
			s.seq = e.sequence()
			before := from[s.part]
			if s.parent >= 0 {
				before = list[s.parent].seq
			}
			e.ctx.Share(before, s.seq, at[s.nodes[0]])
			for _, n := range s.nodes {
				place := e.ctx.Add(trees[p.tree].Tokens[n], at[n], []int32{s.seq}, p.wanted[n])
				if p.wanted[n] {
					places = append(places, placed{p.tree, n, place})
				}
			}
		}
		if e.ctx.Len() == 0 {
			return nil
		}
		if err := e.ctx.Decode(ctx); err != nil {
			return err
		}
		if err := e.read(trees, places, out); err != nil {
			return err
		}
	}
}

// segments appends those of a part, parents first.
func segments(list []segment, index int, t *engine.Tree, nodes []int) []segment {
	children := make([]int, len(t.Tokens)+1) // of a node, at its number + 1; of the prefix, at 0
	for _, n := range nodes {
		children[t.Parents[n]+1]++
	}
	of := make([]int, len(t.Tokens)) // segment of each node
	for _, n := range nodes {
		parent := int(t.Parents[n])
		if parent >= 0 && children[parent+1] == 1 {
			of[n] = of[parent]
			list[of[n]].nodes = append(list[of[n]].nodes, n)
			continue
		}
		s := segment{part: index, nodes: []int{n}, parent: -1}
		if parent >= 0 {
			s.parent = of[parent]
			s.round = list[s.parent].round + 1
		}
		of[n] = len(list)
		list = append(list, s)
	}
	return list
}

// positions returns that of each node.
func positions(t *engine.Tree, start int) []int {
	list := make([]int, len(t.Tokens))
	for i, p := range t.Parents {
		list[i] = start
		if p >= 0 {
			list[i] = list[p] + 1
		}
	}
	return list
}

// wants marks the nodes whose logits are wanted.
func wants(t *engine.Tree) []bool {
	on := make([]bool, len(t.Tokens))
	for _, w := range t.Wants {
		on[w.Node] = true
	}
	if t.Pooled >= 0 {
		on[t.Pooled] = true
	}
	return on
}

// placed is a wanted node and its place in the pass.
type placed struct{ tree, node, place int }

// read fills the outputs from the rows of the pass.
func (e *Engine) read(trees []engine.Tree, places []placed, out []engine.Output) error {
	for _, at := range places {
		row, err := e.ctx.Logits(at.place)
		if err != nil {
			return err
		}
		t, o := &trees[at.tree], &out[at.tree]
		for i, w := range t.Wants {
			if w.Node != at.node {
				continue
			}
			o.Logits[i] = pick(row, w.Columns)
			if w.Normalizer {
				o.LogZ[i] = logSumExp(row[:e.info.Vocab])
			}
		}
		if t.Pooled == at.node {
			o.Scores = slices.Clone(row[e.info.Vocab:])
		}
	}
	return nil
}

func pick(row []float32, columns []labels.Token) []float32 {
	list := make([]float32, len(columns))
	for i, c := range columns {
		list[i] = row[c]
	}
	return list
}

func logSumExp(row []float32) float64 {
	top, sum := slices.Max(row), 0.0
	for _, v := range row {
		sum += math.Exp(float64(v - top))
	}
	return float64(top) + math.Log(sum)
}
