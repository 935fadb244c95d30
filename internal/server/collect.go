package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"cubby/runtime"
)

// books shows the counts that each model's scheduler and engine keep, all of one
// moment.
type books struct{ list []Backend }

var (
	schedulerDesc = prometheus.NewDesc("cubby_scheduler_texts_total",
		"Texts at the scheduler. admitted = answered + cancelled + failed + cubby_scheduler_in_flight, exactly.", []string{"model", "state"}, nil)
	inFlightDesc = prometheus.NewDesc("cubby_scheduler_in_flight", "Texts admitted and not finished.", []string{"model"}, nil)
	loadedDesc   = prometheus.NewDesc("cubby_model_loaded", "1 while the model's weights are in memory.", []string{"model"}, nil)
	loadsDesc    = prometheus.NewDesc("cubby_model_loads_total", "How often the model's weights were loaded.", []string{"model"}, nil)
	memoryDesc   = prometheus.NewDesc("cubby_model_memory_bytes", "Memory held now: packed weights, and keys and values of the prompt's prefix.", []string{"model", "kind"}, nil)
	deviceDesc   = prometheus.NewDesc("cubby_device_memory_bytes", "Memory of the GPUs that the model is computed on, of all their users, as of its last pass.", []string{"model", "device", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (b books) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{schedulerDesc, inFlightDesc, loadedDesc, loadsDesc, memoryDesc, deviceDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (b books) Collect(ch chan<- prometheus.Metric) {
	for _, backend := range b.list {
		collect(ch, backend)
	}
}

func collect(ch chan<- prometheus.Metric, b Backend) {
	info, st := b.Info(), b.Stats()
	for state, n := range map[string]uint64{
		"admitted": st.Admitted, "answered": st.Answered, "cancelled": st.Cancelled, "failed": st.Failed, "refused": st.Refused,
	} {
		ch <- counted(schedulerDesc, n, info.Model, state)
	}
	ch <- now(inFlightDesc, st.InFlight, info.Model)
	m := info.Engine.Memory
	loaded, weights := 0, int64(0)
	if m.Loaded {
		loaded, weights = 1, m.Weights
	}
	ch <- now(loadedDesc, loaded, info.Model)
	ch <- counted(loadsDesc, uint64(m.Loads), info.Model)
	ch <- now(memoryDesc, weights, info.Model, "weights")
	ch <- now(memoryDesc, m.KV, info.Model, "kv")
	for _, d := range info.Engine.Devices {
		ch <- now(deviceDesc, d.Free, info.Model, d.Name, "free")
		ch <- now(deviceDesc, d.Total, info.Model, d.Name, "total")
	}
}

// cached shows the cache's counts.
type cached struct{ cache *runtime.Cache }

var (
	lookupsDesc   = prometheus.NewDesc("cubby_cache_lookups_total", "Texts looked up in the cache of answers, by result: hit or miss.", []string{"result"}, nil)
	evictionsDesc = prometheus.NewDesc("cubby_cache_evictions_total", "Answers that were dropped to make room.", nil, nil)
	entriesDesc   = prometheus.NewDesc("cubby_cache_entries", "Answers that are kept.", nil, nil)
	bytesDesc     = prometheus.NewDesc("cubby_cache_bytes", "Memory of the answers that are kept.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c cached) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lookupsDesc, evictionsDesc, entriesDesc, bytesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c cached) Collect(ch chan<- prometheus.Metric) {
	st := c.cache.Stats()
	ch <- counted(lookupsDesc, st.Hits, "hit")
	ch <- counted(lookupsDesc, st.Misses, "miss")
	ch <- counted(evictionsDesc, st.Evictions)
	ch <- now(entriesDesc, st.Entries)
	ch <- now(bytesDesc, st.Bytes)
}

func counted(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func now[T int | int64 | uint64](d *prometheus.Desc, n T, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}
