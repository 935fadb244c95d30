package native

import (
	"math"
	"slices"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// normalizerRows is how many states are multiplied with the whole output matrix
// at a time: at 49,152 tokens their logits take 19 MB.
const normalizerRows = 96

// prepare makes what threads share and only read during a pass: the rotations
// of all positions, and the output rows of the labels' tokens.
func (e *Engine) prepare(j job) {
	end := 0
	for i := range j.trees {
		n := j.pre.n + len(j.trees[i].Tokens)
		if j.before != nil {
			n += j.before[i].len()
		}
		end = max(end, n)
		for _, w := range j.trees[i].Wants {
			for _, t := range w.Columns {
				e.show(t)
			}
		}
	}
	e.w.rotations(end)
	e.open = e.open[:0]
}

// read takes what the trees ask for off the states of a pass, which lie in the
// order plan noted.
func (e *Engine) read(p *pass, trees []engine.Tree, out []engine.Output) {
	row := 0
	for i := range trees {
		t := &trees[i]
		out[i].Logits = make([][]float32, len(t.Wants))
		out[i].LogZ = make([]float64, len(t.Wants))
		for j, w := range t.Wants {
			state := p.state(row)
			out[i].Logits[j] = e.logits(state, w.Columns)
			if w.Normalizer {
				e.normalizeLater(state, &out[i].LogZ[j])
			}
			row++
		}
		if t.Pooled >= 0 {
			out[i].Scores = e.scores(p.state(row))
			row++
		}
	}
}

// state is the final state that the row'th want of the pass asks for.
func (s *pass) state(row int) []float32 {
	d := s.w.cfg.Width
	return s.states[s.wanted[row]*d:][:d]
}

func (e *Engine) logits(state []float32, columns []labels.Token) []float32 {
	out := make([]float32, len(columns))
	for i, t := range columns {
		out[i] = e.k.Dot(state, e.shown[t])
	}
	return out
}

// show keeps the dequantised output row of a token. Rows asked for once are kept:
// they are those of the labels' tokens.
func (e *Engine) show(t labels.Token) {
	if _, ok := e.shown[t]; !ok {
		row := make([]float32, e.info.Width)
		e.w.output.Row(row, int(t))
		e.shown[t] = row
	}
}

func (e *Engine) scores(state []float32) []float32 {
	out := make([]float32, len(e.w.classes))
	for i, c := range e.w.classes {
		out[i] = e.k.Dot(state, c)
	}
	return out
}

// normalizer is a state whose logits over the whole vocabulary are to be summed.
type normalizer struct {
	state []float32
	logZ  *float64
}

// normalizeLater notes a state: the product with the whole output matrix serves
// those of all threads at once.
func (e *Engine) normalizeLater(state []float32, logZ *float64) {
	e.opening.Lock()
	defer e.opening.Unlock()
	e.open = append(e.open, normalizer{slices.Clone(state), logZ})
}

// normalize computes log-sum-exp over the vocabulary for the noted states. It
// multiplies quantised states, while logits come from float ones: a node's
// probabilities sum to one within about 1e-4.
func (e *Engine) normalize() {
	list := e.open
	if len(list) == 0 {
		return
	}
	e.pool.begin()
	defer e.pool.end()
	if e.w.vocab == nil {
		e.w.vocab = e.w.pack(e.k, e.pool, rowsOf(e.w.output, nil))
		e.drop()
		e.bytes.Store(e.w.bytes())
	}
	m := e.w.vocab
	width := m.Panels() * kernel.Panel
	n := min(normalizerRows, len(list))
	a := e.k.NewActivations(m.Weights, roundUp(n, e.k.TileRows()), e.info.Width, true)
	logits := make([]float32, roundUp(n, e.k.TileRows())*width)
	for len(list) > 0 {
		n = min(normalizerRows, len(list))
		for i, z := range list[:n] {
			e.k.Quantize(a, i, z.state, nil, 1)
		}
		multiply := task(func(_, panel int) {
			e.k.MulPanels(m, a, panel, panel+1, 0, n, logits[panel*kernel.Panel:], width)
		})
		e.pool.run(m.Panels(), &multiply)
		sum := task(func(_, i int) {
			row := logits[i*width : i*width+e.info.Vocab]
			top := e.k.Max(row)
			*list[i].logZ = float64(top) + math.Log(float64(e.k.SumExp(row, top)))
		})
		e.pool.run(n, &sum)
		list = list[n:]
	}
}
