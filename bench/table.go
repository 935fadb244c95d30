package main

import (
	"fmt"
	"strings"
)

// markdown renders the report for docs.
func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Comparison with other engines\n\n")
	fmt.Fprintf(&b, "Generated; run it again instead of editing. `go doc ./bench` says how the other engines are found.\n```\n%s\n```\n\n", r.Command)
	fmt.Fprintf(&b, "%s, %s, %d threads. Cubby at revision %s. Model %s (%s, %d labels, %s).\n",
		r.Date, r.Machine, r.Threads, r.Revision, r.Model, r.Weights, r.Labels, r.Artifact)
	fmt.Fprintf(&b, "%d texts of %s, one a call; every system is measured for %.0f s with each number of clients, in %d turns that alternate between the systems.\n",
		r.Texts, r.Data, r.Seconds, r.Rounds)
	b.WriteString("Take the ratios: absolute figures belong to this machine. \"Others\" is the share of its processors that other programs took meanwhile.\n")
	if r.disturbed() {
		fmt.Fprintf(&b, "\n**The machine was not quiet**: where others took more than %.0f %%, neither figures nor ratios hold. Engines that wait by spinning suffer most.\n", 100*quietShare)
	}
	b.WriteString("\n## Speed\n" + r.speed())
	if ratios := r.ratios(); ratios != "" {
		b.WriteString("\n## Cubby against each\nOver HTTP against servers, in process against libraries, with the same number of clients. Above 1 Cubby is better.\n\n" + ratios)
	}
	b.WriteString("\n## Systems\n" + r.systems())
	return b.String()
}

func (r *report) disturbed() bool {
	for _, l := range r.Systems {
		for _, f := range l.Figures {
			if f.Others > quietShare {
				return true
			}
		}
	}
	return false
}

func (r *report) speed() string {
	t := mdTable{}
	t.add("clients", "system", "items/s", "p50 ms", "p95 ms", "p99 ms", "CPU s per 1,000 items", "peak memory", "accuracy", "others")
	for _, clients := range r.clients() {
		for _, l := range r.Systems {
			if f := l.figure(clients); f != nil {
				t.add(fmt.Sprint(clients), l.Name, number(f.ItemsPerSecond), number(f.P50), number(f.P95), number(f.P99),
					number(f.CPUPer1000), memory(l.PeakMemory), l.Accuracy.String(), fmt.Sprintf("%.0f %%", 100*f.Others))
			}
		}
	}
	return t.String()
}

func (r *report) ratios() string {
	t := mdTable{}
	t.add("clients", "against", "items/s", "p50", "p95", "CPU an item", "memory")
	for _, clients := range r.clients() {
		for _, l := range r.Systems {
			own, peer := r.line(l.Against), l.figure(clients)
			if own == nil || peer == nil || own.figure(clients) == nil {
				continue
			}
			cubby := own.figure(clients)
			t.add(fmt.Sprint(clients), l.Name, ratio(cubby.ItemsPerSecond, peer.ItemsPerSecond), ratio(peer.P50, cubby.P50), ratio(peer.P95, cubby.P95),
				ratio(peer.CPUPer1000, cubby.CPUPer1000), ratio(float64(l.PeakMemory), float64(own.PeakMemory)))
		}
	}
	if len(t.rows) == 1 {
		return ""
	}
	return t.String()
}

func (r *report) systems() string {
	t := mdTable{}
	t.add("system", "version", "setup")
	for _, l := range r.Systems {
		if l.Skipped != "" {
			t.add(l.Name, l.Version, "left out: "+l.Skipped)
			continue
		}
		t.add(l.Name, l.Version, l.Setup)
	}
	return t.String()
}

// String is "correct of rows", or a dash where nothing was labelled.
func (a *accuracy) String() string {
	if a == nil {
		return "–"
	}
	s := fmt.Sprintf("%d of %d", a.Correct, a.Rows)
	if a.NoLabel > 0 {
		s += fmt.Sprintf(" (%d no label)", a.NoLabel)
	}
	return s
}

// number shows three digits that mean something, and a dash for what was not
// measured.
func number(x float64) string {
	switch {
	case x == 0:
		return "–"
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "–"
	}
	return number(a/b) + " ×"
}

func memory(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// mdTable is a table in Markdown; its first row is the header.
type mdTable struct{ rows [][]string }

func (t *mdTable) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *mdTable) String() string {
	var b strings.Builder
	for i, row := range t.rows {
		for _, cell := range row {
			b.WriteString("| " + cleanCell(cell) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}

// cleanCell keeps a cell one cell.
func cleanCell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
