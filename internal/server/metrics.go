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
// value comes from a closed set: routes, statuses, codes, the models' names and
// labels. Nothing of a text or of a client's headers gets in.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
	texts    *prometheus.CounterVec
	labels   *prometheus.CounterVec
	feedback *prometheus.CounterVec
	queued   *prometheus.GaugeVec
	items    *prometheus.HistogramVec
	tokens   *prometheus.HistogramVec
	info     *prometheus.GaugeVec
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
		texts:    counters("cubby_texts_total", "Texts by outcome: answered, or the code of their error.", "model", "outcome"),
		labels:   counters("cubby_labels_total", "Texts by the label they were given.", "model", "label"),
		feedback: counters("cubby_feedback_total", "Feedback: whether the answer was right, or is not remembered.", "model", "outcome"),
		queued:   gauges("cubby_queue_tokens", "Tokens of all unfinished texts, waiting and running.", "model"),
		open:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "cubby_requests_in_flight", Help: "Requests being handled."}),
		items:    sizes("cubby_pass_items", "Texts in each pass of the engine, equal ones counted once.", prometheus.ExponentialBuckets(1, 2, 11)),
		tokens:   sizes("cubby_pass_tokens", "Tokens in each pass of the engine.", prometheus.ExponentialBuckets(8, 2, 12)),
		info: gauges("cubby_model_info", "The models that are served; always 1.",
			"model", "artifact", "scoring", "engine", "device", "kernel", "threads"),
	}
	m.registry.MustRegister(m.requests, m.duration, m.stages, m.texts, m.labels, m.feedback, m.queued, m.open, m.items, m.tokens, m.info,
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

func sizes(name, help string, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"model"})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

// serveModels adds what loaded models know: their names, a zero for each label,
// their books and their memory.
func (m *Metrics) serveModels(list []Backend) {
	for _, b := range list {
		i := b.Info()
		m.info.WithLabelValues(i.Model, i.Artifact, string(i.Scoring), i.Engine.Engine, i.Engine.Device, i.Engine.Kernel, strconv.Itoa(i.Engine.Threads)).Set(1)
		for _, name := range i.Labels.Names() {
			m.labels.WithLabelValues(i.Model, name)
		}
	}
	m.registry.MustRegister(books{list})
}

// serveCache adds the counts of the answers that are kept.
func (m *Metrics) serveCache(c *runtime.Cache) { m.registry.MustRegister(cached{c}) }

// Observer returns the runtime.Observer of one model.
func (m *Metrics) Observer(model string) runtime.Observer {
	return observer{
		tokenize: m.tokenize, compute: m.compute,
		queued: m.queued.WithLabelValues(model), items: m.items.WithLabelValues(model), tokens: m.tokens.WithLabelValues(model),
	}
}

type observer struct {
	tokenize, compute, items, tokens prometheus.Observer
	queued                           prometheus.Gauge
}

// Tokenized implements runtime.Observer.
func (o observer) Tokenized(took time.Duration) { o.tokenize.Observe(took.Seconds()) }

// Queued implements runtime.Observer.
func (o observer) Queued(tokens int) { o.queued.Set(float64(tokens)) }

// Pass implements runtime.Observer.
func (o observer) Pass(items, tokens int, took time.Duration) {
	o.items.Observe(float64(items))
	o.tokens.Observe(float64(tokens))
	o.compute.Observe(took.Seconds())
}

// request counts one finished request.
func (m *Metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// text counts one result by its outcome, and by its label, which is a name of
// the model's closed set.
func (m *Metrics) text(model string, r *runtime.Result, label string) {
	if r.Err != nil {
		m.texts.WithLabelValues(model, string(r.Err.Code)).Inc()
		return
	}
	m.texts.WithLabelValues(model, outcomeAnswered).Inc()
	m.labels.WithLabelValues(model, label).Inc()
	if !r.Cached {
		m.queue.Observe(r.Queue.Seconds())
	}
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
