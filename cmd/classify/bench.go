package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"cubby/eval"
	"cubby/internal/machine"
	"cubby/internal/rows"
	"cubby/internal/target"
	"cubby/internal/workload"
)

// warmUp is how many texts are answered before anything is timed: enough for
// caches, page faults and the clock speed to settle.
const warmUp = 32

func (p *program) benchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "clients", Usage: "throughput: `N` callers at once", Value: 1, Destination: &p.clients},
		&cli.IntFlag{Name: "batch", Usage: "throughput: `N` texts a call", Value: eval.DefaultBatch, Destination: &p.batch},
		&cli.IntFlag{Name: "passes", Usage: "go `N` times through the file in each mode", Value: 1, Destination: &p.passes},
		&cli.DurationFlag{Name: "duration", Usage: "measure each mode for `TIME` (like 10s) instead of -passes", Destination: &p.duration},
	}
}

// benchReport is the outcome of bench. Its first figures are the ones to
// quote: throughput from the Throughput mode, percentiles from Latency.
type benchReport struct {
	Model    string          `json:"model"`
	Artifact string          `json:"artifact"`
	Scoring  string          `json:"scoring"`
	Server   string          `json:"server,omitempty"`
	Engine   string          `json:"engine"`
	Kernel   string          `json:"kernel"`
	Threads  int             `json:"threads"`
	Machine  machine.Machine `json:"machine"` // this one, wherever the model runs
	Rows     int             `json:"rows"`    // texts in the file

	ItemsPerSecond  float64 `json:"items_per_second"`
	TokensPerSecond float64 `json:"tokens_per_second"` // of the texts alone
	P50             float64 `json:"p50_ms"`
	P95             float64 `json:"p95_ms"`
	P99             float64 `json:"p99_ms"`
	// ColdStart is from opening the model to its first answer; nil for a
	// server, which was started by someone else.
	ColdStart *float64 `json:"cold_start_ms,omitempty"`
	// PeakMemory is the most resident memory this process had, in bytes; 0
	// where the system does not tell, or the model is elsewhere.
	PeakMemory int64 `json:"peak_memory_bytes,omitempty"`

	Latency    workload.Measured `json:"latency"`    // one text at a time
	Throughput workload.Measured `json:"throughput"` // -clients callers of -batch texts
}

// bench measures the target's speed on the texts of -data.
func (p *program) bench(ctx context.Context, args []string) (err error) {
	if err := errors.Join(onlyFlags("bench", args), p.checkBench()); err != nil {
		return err
	}
	list, err := p.allRows(rows.Text)
	if err != nil {
		return err
	}
	texts := textsOf(list)
	start := time.Now()
	t, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer closing(t, &err)
	if _, err := t.Classify(ctx, texts[:1]); err != nil {
		return err
	}
	cold := float64(time.Since(start)) / float64(time.Millisecond)
	report := p.newBenchReport(t.Facts(), len(texts))
	if p.server == "" {
		report.ColdStart = &cold
	}
	if err := p.measure(ctx, t, texts, report); err != nil {
		return err
	}
	return p.writeBench(report)
}

func (p *program) checkBench() error {
	switch {
	case p.clients < 1:
		return usagef("-clients %d: expected 1 or more", p.clients)
	case p.batch < 1:
		return usagef("-batch %d: expected 1 or more", p.batch)
	case p.passes < 1:
		return usagef("-passes %d: expected 1 or more", p.passes)
	case p.duration < 0:
		return usagef("-duration %v: expected more than 0", p.duration)
	}
	return nil
}

// measure warms up and runs both modes.
func (p *program) measure(ctx context.Context, t target.Target, texts []string, report *benchReport) error {
	if _, err := t.Classify(ctx, texts[:min(warmUp, len(texts))]); err != nil {
		return err
	}
	var err error
	one := workload.Load{Texts: texts, Clients: 1, Batch: 1, Passes: p.passes, Duration: p.duration}
	if report.Latency, err = one.Run(ctx, t); err != nil {
		return err
	}
	many := workload.Load{Texts: texts, Clients: p.clients, Batch: p.batch, Passes: p.passes, Duration: p.duration}
	if report.Throughput, err = many.Run(ctx, t); err != nil {
		return err
	}
	if failed := report.Latency.Errors + report.Throughput.Errors; failed == report.Latency.Items+report.Throughput.Items {
		return errors.New("no text got an answer: there is no speed to report")
	}
	report.ItemsPerSecond, report.TokensPerSecond = report.Throughput.ItemsPerSecond, report.Throughput.TokensPerSecond
	report.P50, report.P95, report.P99 = report.Latency.P50, report.Latency.P95, report.Latency.P99
	if p.server == "" {
		report.PeakMemory = machine.PeakMemory()
	}
	return nil
}

func (p *program) newBenchReport(f target.Facts, rows int) *benchReport {
	return &benchReport{
		Model: f.Model, Artifact: f.Artifact, Scoring: f.Scoring, Server: p.server,
		Engine: f.Engine.Engine, Kernel: f.Engine.Kernel, Threads: f.Engine.Threads,
		Machine: machine.This(), Rows: rows,
	}
}

func (p *program) writeBench(r *benchReport) error {
	if p.json {
		return writeJSON(p.stdout, r)
	}
	_, err := io.WriteString(p.stdout, benchText(r))
	return err
}

func benchText(r *benchReport) string {
	var t table
	t.add("model", clean(r.Model)+"  "+r.Artifact)
	t.add("scoring", r.Scoring)
	t.add("engine", clean(fmt.Sprintf("%s, %s, %d threads", r.Engine, r.Kernel, r.Threads)))
	if r.Server != "" {
		t.add("server", r.Server)
		t.add("client", r.Machine.String())
	} else {
		t.add("machine", r.Machine.String())
	}
	t.add("throughput", fmt.Sprintf("%.1f items/s, %.0f tokens/s  (clients %d, batch %d, %d items in %.1f s)",
		r.ItemsPerSecond, r.TokensPerSecond, r.Throughput.Clients, r.Throughput.Batch, r.Throughput.Items, r.Throughput.Seconds))
	t.add("latency", fmt.Sprintf("p50 %.2f ms, p95 %.2f ms, p99 %.2f ms  (one text at a time, %d items)",
		r.P50, r.P95, r.P99, r.Latency.Items))
	if r.ColdStart != nil {
		t.add("cold start", fmt.Sprintf("%.0f ms from opening the model to the first answer", *r.ColdStart))
	}
	if r.PeakMemory > 0 {
		t.add("peak memory", fmt.Sprintf("%.0f MiB", float64(r.PeakMemory)/(1<<20)))
	}
	if failed := r.Latency.Errors + r.Throughput.Errors; failed > 0 {
		t.add("errors", fmt.Sprintf("%d texts got no answer; they count as items", failed))
	}
	return t.String()
}
