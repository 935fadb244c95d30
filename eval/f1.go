package eval

// tally counts what the figures of the classes follow from.
type tally struct {
	hits, predicted, support []int
}

func newTally(classes int) tally {
	return tally{make([]int, classes), make([]int, classes), make([]int, classes)}
}

func (t tally) reset() {
	clear(t.hits)
	clear(t.predicted)
	clear(t.support)
}

func (t tally) add(o outcome, rows int) {
	t.support[o.truth] += rows
	if o.answered() {
		t.predicted[o.best] += rows
	}
	if o.right() {
		t.hits[o.truth] += rows
	}
}

func (t tally) f1(class int) float64 {
	return ratio(2*t.hits[class], t.predicted[class]+t.support[class])
}

// macro is the mean F1 of the labels that occur as a truth or as a prediction.
func (t tally) macro() float64 {
	sum, counted := 0.0, 0
	for i := range t.support {
		if t.support[i]+t.predicted[i] > 0 {
			sum += t.f1(i)
			counted++
		}
	}
	return sum / float64(max(1, counted))
}

// weighted is the mean F1 of the labels, each as often as it is the truth.
func (t tally) weighted() float64 {
	sum, rows := 0.0, 0
	for i, n := range t.support {
		sum += float64(n) * t.f1(i)
		rows += n
	}
	return sum / float64(max(1, rows))
}

// f1Intervals sets the intervals of all that is made of F1.
func (r *Report) f1Intervals(list []outcome) {
	classes := len(r.PerClass)
	perClass := make([][]float64, classes)
	var macro, weighted []float64
	t := newTally(classes)
	bootstrap(len(list), func(counts []int32) {
		t.reset()
		for i, n := range counts {
			if n > 0 {
				t.add(list[i], int(n))
			}
		}
		macro, weighted = append(macro, t.macro()), append(weighted, t.weighted())
		for i := range perClass {
			if t.support[i]+t.predicted[i] > 0 {
				perClass[i] = append(perClass[i], t.f1(i))
			}
		}
	})
	r.MacroF1Interval, r.WeightedF1Interval = percentiles(macro), percentiles(weighted)
	for i, values := range perClass {
		r.PerClass[i].F1Interval = [2]float64{0, 1}
		if len(values) > 0 {
			r.PerClass[i].F1Interval = percentiles(values)
		}
	}
}
