package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cubby/runtime"
)

// Metrics holds what /metrics shows, in a registry of its own. Every label
// value comes from a closed set: routes, statuses, codes, the model's labels.
// Nothing of a text or of a client's headers gets in. It is the
// runtime.Observer of the served model.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
	texts    *prometheus.CounterVec
	labels   *prometheus.CounterVec
	queued   prometheus.Gauge
	items    prometheus.Histogram
	tokens   prometheus.Histogram
	open     prometheus.Gauge

	parse, tokenize, queue, compute prometheus.Observer
}

// outcomeAnswered is the outcome of a text that has a label; every other
// outcome is an error code.
const outcomeAnswered = "answered"

// secondsBuckets span 0.1 ms to 30 s, from a parse to a deadline.
var secondsBuckets = []float64{.0001, .0003, .001, .003, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}

// NewMetrics registers everything but what needs a model.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("cubby_requests_total", "Requests by route and status.", "route", "status"),
		duration: histograms("cubby_request_seconds", "Time from a request's headers to its answer.", "route"),
		stages:   histograms("cubby_stage_seconds", "Time in each stage: parse and tokenize by request, queue by text, compute by pass.", "stage"),
		texts:    counters("cubby_texts_total", "Texts by outcome: answered, or the code of their error.", "outcome"),
		labels:   counters("cubby_labels_total", "Texts by the label they were given.", "label"),
		queued:   gauge("cubby_queue_tokens", "Tokens of all unfinished texts, waiting and running."),
		open:     gauge("cubby_requests_in_flight", "Requests being handled."),
		items:    histogram("cubby_pass_items", "Texts in each pass of the engine.", prometheus.ExponentialBuckets(1, 2, 11)),
		tokens:   histogram("cubby_pass_tokens", "Tokens in each pass of the engine.", prometheus.ExponentialBuckets(8, 2, 12)),
	}
	m.registry.MustRegister(m.requests, m.duration, m.stages, m.texts, m.labels, m.queued, m.open, m.items, m.tokens,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.parse, m.tokenize = m.stages.WithLabelValues("parse"), m.stages.WithLabelValues("tokenize")
	m.queue, m.compute = m.stages.WithLabelValues("queue"), m.stages.WithLabelValues("compute")
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: secondsBuckets}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

// serveModel adds what a loaded model knows: its name, a zero for each label,
// and its books.
func (m *Metrics) serveModel(b Backend) {
	info := b.Info()
	model := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cubby_model_info", Help: "The model that is served; always 1."},
		[]string{"model", "artifact", "scoring", "engine", "kernel", "threads"})
	model.WithLabelValues(info.Model, info.Artifact, string(info.Scoring), info.Engine.Engine, info.Engine.Kernel,
		strconv.Itoa(info.Engine.Threads)).Set(1)
	for _, name := range info.Labels.Names() {
		m.labels.WithLabelValues(name)
	}
	m.registry.MustRegister(model, books{b})
}

// Tokenized implements runtime.Observer.
func (m *Metrics) Tokenized(took time.Duration) { m.tokenize.Observe(took.Seconds()) }

// Queued implements runtime.Observer.
func (m *Metrics) Queued(tokens int) { m.queued.Set(float64(tokens)) }

// Pass implements runtime.Observer.
func (m *Metrics) Pass(items, tokens int, took time.Duration) {
	m.items.Observe(float64(items))
	m.tokens.Observe(float64(tokens))
	m.compute.Observe(took.Seconds())
}

// request counts one finished request.
func (m *Metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// text counts one result by its outcome, and by its label, which is a name of
// the model's closed set.
func (m *Metrics) text(r *runtime.Result, label string) {
	if r.Err != nil {
		m.texts.WithLabelValues(string(r.Err.Code)).Inc()
		return
	}
	m.texts.WithLabelValues(outcomeAnswered).Inc()
	m.labels.WithLabelValues(label).Inc()
	m.queue.Observe(r.Queue.Seconds())
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// books shows the scheduler's counts, all of one moment.
type books struct{ backend Backend }

var (
	admittedDesc = prometheus.NewDesc("cubby_scheduler_texts_total",
		"Texts at the scheduler. admitted = answered + cancelled + failed + cubby_scheduler_in_flight, exactly.", []string{"state"}, nil)
	inFlightDesc = prometheus.NewDesc("cubby_scheduler_in_flight", "Texts admitted and not finished.", nil, nil)
)

// Describe implements prometheus.Collector.
func (b books) Describe(ch chan<- *prometheus.Desc) { ch <- admittedDesc; ch <- inFlightDesc }

// Collect implements prometheus.Collector.
func (b books) Collect(ch chan<- prometheus.Metric) {
	st := b.backend.Stats()
	for state, n := range map[string]uint64{
		"admitted": st.Admitted, "answered": st.Answered, "cancelled": st.Cancelled, "failed": st.Failed, "refused": st.Refused,
	} {
		ch <- prometheus.MustNewConstMetric(admittedDesc, prometheus.CounterValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(st.InFlight))
}
