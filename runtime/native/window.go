package native

import "cubby/runtime/native/kernel"

func (a *attender) local() bool { return a.w.layers[a.layer].local }

// low is the first position in the window of a node of that depth; it may be
// negative.
func (a *attender) low(depth int32) int { return a.plan.start + int(depth) - a.w.cfg.Window + 1 }

// firstPanel is the first panel of a view's keys that the span attends to: 0, or
// in a local layer the one that its farthest window reaches.
func (a *attender) firstPanel(v view) int {
	if !a.local() {
		return 0
	}
	nearest := a.plan.depth[a.span.lo]
	for _, d := range a.plan.depth[a.span.lo:a.span.hi] {
		nearest = min(nearest, d)
	}
	return min(max(a.low(nearest)-v.base, 0), v.n) / kernel.Panel
}

// hideFar hides what lies before a node's window: in the views, in the trunk, and
// in the node's own line.
func (a *attender) hideFar(node int) {
	low := a.low(a.plan.depth[node])
	trunk := min(max(low-a.plan.start, 0), a.trunk)
	line := a.line
	if node >= a.plan.trunk {
		line += max(0, len(a.scratch.line)-a.w.cfg.Window)
	}
	for g := range a.group() {
		row := a.scoreRow(node, g)
		for _, v := range a.views[:a.n] {
			hide(row[v.at : v.at+min(max(low-v.base, 0), v.n)])
		}
		hide(row[a.own : a.own+trunk])
		hide(row[a.line:line])
	}
}
