package baseline

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/optimize"
)

const (
	// inverseRegularization weighs the rows' loss against the squares of the weights.
	inverseRegularization = 10
	// maxIterations is more than any training set has needed.
	maxIterations = 2000
	// gradientEnd is how flat the loss is, for each row, when the fit is done.
	gradientEnd = 1e-7
)

// score is the linear score of each class.
func score(weights []float64, x vector, classes, width int) []float64 {
	out := make([]float64, classes)
	for k := range out {
		w := weights[k*(width+1) : (k+1)*(width+1)]
		out[k] = w[width]
		for _, f := range x {
			out[k] += w[f.feature] * f.value
		}
	}
	return out
}

// fit minimises half the squared weights, intercepts apart, plus
// inverseRegularization times the rows' cross-entropy.
func fit(rows []vector, truth []int, classes, width int) ([]float64, error) {
	r := &regression{rows: rows, truth: truth, classes: classes, width: width}
	start := make([]float64, classes*(width+1))
	settings := optimize.Settings{MajorIterations: maxIterations, GradientThreshold: gradientEnd * float64(len(rows)), Converger: optimize.NeverTerminate{}}
	res, err := optimize.Minimize(optimize.Problem{Func: r.loss, Grad: r.gradient}, start, &settings, &optimize.LBFGS{})
	if res == nil || res.X == nil {
		return nil, fmt.Errorf("the baseline cannot be fitted: %w", err)
	}
	return res.X, nil // a line search that cannot go on has arrived
}

type regression struct {
	rows           []vector
	truth          []int
	classes, width int
}

func (r *regression) loss(w []float64) float64 {
	sum := 0.0
	for i, x := range r.rows {
		p, top := r.softmax(w, x)
		sum -= top[r.truth[i]] - p
	}
	sum *= inverseRegularization
	for i, v := range w {
		if i%(r.width+1) != r.width {
			sum += v * v / 2
		}
	}
	return sum
}

// softmax returns the logarithm of the sum of the exponentials, and the scores.
func (r *regression) softmax(w []float64, x vector) (float64, []float64) {
	s := score(w, x, r.classes, r.width)
	top := math.Inf(-1)
	for _, v := range s {
		top = max(top, v)
	}
	sum := 0.0
	for _, v := range s {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum), s
}

func (r *regression) gradient(grad, w []float64) {
	for i, v := range w {
		grad[i] = v
		if i%(r.width+1) == r.width {
			grad[i] = 0
		}
	}
	for i, x := range r.rows {
		norm, s := r.softmax(w, x)
		for k := range s {
			d := math.Exp(s[k] - norm)
			if k == r.truth[i] {
				d--
			}
			d *= inverseRegularization
			g := grad[k*(r.width+1) : (k+1)*(r.width+1)]
			g[r.width] += d
			for _, f := range x {
				g[f.feature] += d * f.value
			}
		}
	}
}
