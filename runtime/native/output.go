package native

import (
	"math"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/native/kernel"
)

// normalizerRows is how many states are multiplied with the whole output matrix
// at a time: at 49,152 tokens their logits take 19 MB.
const normalizerRows = 96

// outputs reads what the trees asked for off the states of the last pass, which
// lie in the order plan collected them.
func (e *Engine) outputs(trees []engine.Tree) []engine.Output {
	out := make([]engine.Output, len(trees))
	row := 0
	var normalize []normalizer
	for i := range trees {
		t := &trees[i]
		out[i].Logits = make([][]float32, len(t.Wants))
		out[i].LogZ = make([]float64, len(t.Wants))
		for j, w := range t.Wants {
			out[i].Logits[j] = e.logits(e.state(row), w.Columns)
			if w.Normalizer {
				normalize = append(normalize, normalizer{row, &out[i].LogZ[j]})
			}
			row++
		}
		if t.Pooled >= 0 {
			out[i].Scores = e.scores(e.state(row))
			row++
		}
	}
	e.normalize(normalize)
	return out
}

func (e *Engine) state(row int) []float32 {
	return e.pass.states[row*e.info.Width : (row+1)*e.info.Width]
}

func (e *Engine) logits(state []float32, columns []labels.Token) []float32 {
	out := make([]float32, len(columns))
	for i, t := range columns {
		out[i] = e.k.Dot(state, e.outputRow(t))
	}
	return out
}

// outputRow returns the dequantised output row of a token. Rows asked for once
// are kept: they are those of the labels' tokens.
func (e *Engine) outputRow(t labels.Token) []float32 {
	row, ok := e.shown[t]
	if !ok {
		row = make([]float32, e.info.Width)
		e.w.output.Row(row, int(t))
		e.shown[t] = row
	}
	return row
}

func (e *Engine) scores(state []float32) []float32 {
	out := make([]float32, len(e.w.classes))
	for i, c := range e.w.classes {
		out[i] = e.k.Dot(state, c)
	}
	return out
}

type normalizer struct {
	row  int
	logZ *float64
}

// normalize computes log-sum-exp over the vocabulary for the listed states. It
// multiplies quantised states, while logits come from float ones: a node's
// probabilities sum to one within about 1e-4.
func (e *Engine) normalize(list []normalizer) {
	if len(list) == 0 {
		return
	}
	e.pool.begin()
	defer e.pool.end()
	if e.w.vocab == nil {
		e.w.vocab = pack(e.k, e.pool, rowsOf(e.w.output, nil))
	}
	m := e.w.vocab
	width := m.Panels() * kernel.Panel
	n := min(normalizerRows, len(list))
	a := e.k.NewActivations(roundUp(n, kernel.TileRows), e.info.Width)
	logits := make([]float32, roundUp(n, kernel.TileRows)*width)
	for len(list) > 0 {
		n = min(normalizerRows, len(list))
		for i, z := range list[:n] {
			e.k.Quantize(a, i, e.state(z.row), nil, 1)
		}
		e.pool.run(m.Panels(), func(_, panel int) {
			e.k.MulPanels(m, a, panel, panel+1, 0, n, logits, width)
		})
		e.pool.run(n, func(_, i int) {
			row := logits[i*width : i*width+e.info.Vocab]
			top := e.k.Max(row)
			*list[i].logZ = float64(top) + math.Log(float64(e.k.SumExp(row, top)))
		})
		list = list[n:]
	}
}
