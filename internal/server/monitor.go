package server

import (
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"cubby/eval"
	"cubby/labels"
	"cubby/runtime"
)

const (
	// windowSize is how many of the last answers, and of the last feedback, drift and
	// accuracy are measured over.
	windowSize = 1000
	// windowLeast is how many there must be before anything is said, and binLeast how many
	// for each bin of drift, as far as the window holds as many.
	windowLeast = 100
	binLeast    = 5
)

// monitor watches one model's answers and what people say of them.
type monitor struct {
	mu        sync.Mutex
	reference *reference // nil where no evaluation has been kept
	answers   ring[seen]
	labels    []int // counts of the answers in the window
	bins      []int
	right     ring[bool]
	hits      int
}

// seen is what is kept of an answer.
type seen struct{ label, bin int }

// reference counts the answers of the model's last evaluation.
type reference struct{ labels, bins []int }

// ring keeps the last windowSize values.
type ring[T any] struct {
	list []T
	next int
}

// push returns the value that fell out, if one did.
func (r *ring[T]) push(v T) (old T, full bool) {
	if len(r.list) < windowSize {
		r.list = append(r.list, v)
		return old, false
	}
	old, r.list[r.next] = r.list[r.next], v
	r.next = (r.next + 1) % windowSize
	return old, true
}

func newMonitor(set *labels.Set, report []byte) *monitor {
	return &monitor{reference: readReference(set, report), labels: make([]int, set.Len()), bins: make([]int, len(eval.ConfidenceEdges)+1)}
}

// readReference reads what drift is measured against out of a report.
func readReference(set *labels.Set, report []byte) *reference {
	var r struct {
		PerClass    map[string]struct{ Predicted int } `json:"per_class"`
		Confidences []int                              `json:"confidences"`
	}
	if json.Unmarshal(report, &r) != nil || len(r.Confidences) != len(eval.ConfidenceEdges)+1 || len(r.PerClass) != set.Len() {
		return nil
	}
	ref := &reference{bins: r.Confidences}
	for _, name := range set.Names() {
		ref.labels = append(ref.labels, r.PerClass[name].Predicted)
	}
	return ref
}

// answered notes a request's answers.
func (m *monitor) answered(results []runtime.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range results {
		if label, p := results[i].Distribution.Best(); results[i].Err == nil && label >= 0 {
			m.note(seen{label, eval.ConfidenceBin(p)})
		}
	}
}

func (m *monitor) note(now seen) {
	if old, full := m.answers.push(now); full {
		m.labels[old.label]--
		m.bins[old.bin]--
	}
	m.labels[now.label]++
	m.bins[now.bin]++
}

// judged notes whether an answer was right.
func (m *monitor) judged(right bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, full := m.right.push(right); full && old {
		m.hits--
	}
	if right {
		m.hits++
	}
}

var (
	noiseMetric    = prometheus.NewDesc("cubby_drift_noise", "What cubby_drift_psi stays below in 95 of 100 windows without drift.", []string{"model", "of"}, nil)
	driftMetric    = prometheus.NewDesc("cubby_drift_psi", "Population stability index of the last 1,000 answers against the model's last evaluation: of the labels and of the confidences.", []string{"model", "of"}, nil)
	accuracyMetric = prometheus.NewDesc("cubby_feedback_accuracy", "Share of right answers among the last 1,000 that feedback came to.", []string{"model"}, nil)
)

// collect sends what can be said.
func (m *monitor) collect(model string, to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reference != nil {
		m.drift(m.reference.labels, m.labels, model, "labels", to)
		m.drift(m.reference.bins, m.bins, model, "confidences", to)
	}
	if n := len(m.right.list); n >= windowLeast {
		to <- prometheus.MustNewConstMetric(accuracyMetric, prometheus.GaugeValue, float64(m.hits)/float64(n), model)
	}
}

// drift sends how far counts are from those of the reference, and what of it is chance.
func (m *monitor) drift(reference, counts []int, model, of string, to chan<- prometheus.Metric) {
	if len(m.answers.list) < min(max(windowLeast, binLeast*len(counts)), windowSize) {
		return
	}
	to <- prometheus.MustNewConstMetric(driftMetric, prometheus.GaugeValue, eval.PSI(reference, counts), model, of)
	to <- prometheus.MustNewConstMetric(noiseMetric, prometheus.GaugeValue, eval.PSINoise(reference, counts), model, of)
}

// watch begins to watch the models.
func (s *Server) watch(list []Backend) {
	all := monitors{}
	for _, b := range list {
		info := b.Info()
		var report []byte
		if s.opt.Report != nil {
			report, _ = s.opt.Report(info.Artifact) // without one, drift is not told
		}
		all[info.Model] = newMonitor(info.Labels, report)
	}
	s.watched.Store(&all)
	s.opt.Metrics.registry.MustRegister(all)
}

func (s *Server) monitors() monitors { return *s.watched.Load() }

// monitors are those of all models, by their names.
type monitors map[string]*monitor

// Describe implements prometheus.Collector.
func (l monitors) Describe(to chan<- *prometheus.Desc) {
	to <- driftMetric
	to <- noiseMetric
	to <- accuracyMetric
}

// Collect implements prometheus.Collector.
func (l monitors) Collect(to chan<- prometheus.Metric) {
	for model, m := range l {
		m.collect(model, to)
	}
}
