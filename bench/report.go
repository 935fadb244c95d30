package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cubby/internal/machine"
	"cubby/internal/workload"
)

// report is the outcome of a comparison.
type report struct {
	Command  string          `json:"command"` // with files by their base names
	Date     string          `json:"date"`
	Revision string          `json:"revision"` // of the source of Cubby; a + where it was changed
	Machine  machine.Machine `json:"machine"`
	Threads  int             `json:"threads"`
	Model    string          `json:"model"`
	Artifact string          `json:"artifact"`
	Weights  string          `json:"weights"`
	Labels   int             `json:"labels"`
	Data     string          `json:"data"` // base name
	Texts    int             `json:"texts"`
	Test     string          `json:"test,omitempty"` // base name
	Seconds  float64         `json:"seconds"`        // of each system and number of clients
	Rounds   int             `json:"rounds"`
	Systems  []*line         `json:"systems"`
}

// line is one system's outcome.
type line struct {
	Key     string `json:"key"`
	Name    string `json:"name"`
	Against string `json:"against,omitempty"`
	Version string `json:"version,omitempty"`
	Setup   string `json:"setup,omitempty"`
	Skipped string `json:"skipped,omitempty"` // why there are no figures
	// PeakMemory is the most resident memory of the system's processes, in
	// bytes; 0 where the operating system does not tell.
	PeakMemory int64     `json:"peak_memory_bytes,omitempty"`
	Accuracy   *accuracy `json:"accuracy,omitempty"`
	Figures    []*figure `json:"figures,omitempty"`
}

type accuracy struct {
	Correct int `json:"correct"`
	Rows    int `json:"rows"`
	NoLabel int `json:"no_label"` // rows whose answer was none of the labels: wrong
}

// figure is what one system did with one number of clients.
type figure struct {
	workload.Measured
	// CPUPer1000 is seconds of all cores per 1,000 items, of the system's
	// processes; 0 where the operating system does not tell.
	CPUPer1000 float64 `json:"cpu_seconds_per_1000"`
	// Others is the share of all processors that other programs took meanwhile.
	Others float64 `json:"others"`

	cpu time.Duration
}

func newReport(b *bench) *report {
	c, m := b.config, b.student.manifest
	r := &report{
		Command: c.command(), Date: time.Now().UTC().Format(time.DateOnly), Revision: revision(), Machine: machine.This(), Threads: c.Threads,
		Model: m.Name, Artifact: b.student.digest, Weights: m.Weights, Labels: b.student.set.Len(),
		Data: filepath.Base(c.Data), Texts: len(b.texts), Seconds: c.Duration.Seconds(), Rounds: c.Rounds,
	}
	if c.Test != "" {
		r.Test = filepath.Base(c.Test)
	}
	if c.Data == "" {
		r.Data = r.Test
	}
	return r
}

// command is the command line that this comparison can be run again with,
// where the files are.
func (c *config) command() string {
	words := []string{"go", "run", "./bench"}
	for _, f := range []struct{ flag, value string }{
		{"-model", c.Model}, {"-data", c.Data}, {"-test", c.Test}, {"-seqcls", c.Seqcls},
	} {
		if f.value != "" {
			words = append(words, f.flag, filepath.Base(f.value))
		}
	}
	for _, f := range []struct{ flag, value string }{{"-markdown", c.Markdown}, {"-json", c.JSON}} {
		if f.value != "" {
			words = append(words, f.flag, filepath.ToSlash(f.value))
		}
	}
	return strings.Join(words, " ")
}

// revision names the source that is measured, where git knows it.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--abbrev=12", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// add joins a turn to the figure of its number of clients.
func (l *line) add(t turn) {
	f := l.figure(t.measured.Clients)
	if f == nil {
		f = &figure{}
		l.Figures = append(l.Figures, f)
	}
	before := f.Seconds
	f.Measured = workload.Join(f.Measured, t.measured)
	if f.Seconds > 0 {
		f.Others = (f.Others*before + t.others*t.measured.Seconds) / f.Seconds
	}
	f.cpu += t.cpu
	if f.Items > 0 {
		f.CPUPer1000 = f.cpu.Seconds() * 1000 / float64(f.Items)
	}
}

// figure returns the one with that number of clients, or nil.
func (l *line) figure(clients int) *figure {
	for _, f := range l.Figures {
		if f.Clients == clients {
			return f
		}
	}
	return nil
}

func (r *report) line(key string) *line {
	for _, l := range r.Systems {
		if l.Key == key {
			return l
		}
	}
	return nil
}

// clients returns the numbers of clients, in the order of measuring.
func (r *report) clients() []int {
	var list []int
	for _, l := range r.Systems {
		if len(l.Figures) > len(list) {
			list = list[:0]
			for _, f := range l.Figures {
				list = append(list, f.Clients)
			}
		}
	}
	return list
}
