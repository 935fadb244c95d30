package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"cubby/internal/workload"
)

// round is a run of n calls of equal length.
func round(clients, n int, each time.Duration) workload.Measured {
	m := workload.Measured{Clients: clients, Batch: 1, Items: n, Seconds: float64(n) * each.Seconds() / float64(clients)}
	for range n {
		m.Times = append(m.Times, each)
	}
	return m
}

func TestAddJoinsRounds(t *testing.T) {
	var l line
	l.add(turn{round(1, 30, 10*time.Millisecond), 200 * time.Millisecond, .02})
	l.add(turn{round(8, 10, time.Second), time.Second, .02})
	l.add(turn{round(1, 10, 30*time.Millisecond), 300 * time.Millisecond, .5})
	if len(l.Figures) != 2 {
		t.Fatalf("%d figures for two numbers of clients", len(l.Figures))
	}
	f := l.figure(1)
	if f.Items != 40 || f.P50 != 10 || f.P95 != 30 || math.Abs(f.ItemsPerSecond-40/.6) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if math.Abs(f.CPUPer1000-12.5) > 1e-9 {
		t.Errorf("%v CPU seconds per 1,000 items; half a second for 40 are 12.5", f.CPUPer1000)
	}
	if math.Abs(f.Others-(.02*.3+.5*.3)/.6) > 1e-9 {
		t.Errorf("others took %v", f.Others)
	}
	if r := (&report{Systems: []*line{&l}}); !r.disturbed() || !strings.Contains(r.markdown(), "not quiet") {
		t.Error("half the processors for others are not called noise")
	}
	if l.figure(32) != nil {
		t.Error("a figure that was not measured")
	}
}

func sampleReport() *report {
	cubby := &line{Key: "cubby-http", Name: "Cubby", Version: "abc", Accuracy: &accuracy{Correct: 9, Rows: 10}, PeakMemory: 100 << 20}
	peer := &line{Key: "peer", Name: "Peer", Against: "cubby-http", Accuracy: &accuracy{Correct: 8, Rows: 10, NoLabel: 1}, PeakMemory: 250 << 20}
	for _, clients := range []int{1, 8} {
		cubby.add(turn{round(clients, 100, 10*time.Millisecond), time.Second, .02})
		peer.add(turn{round(clients, 10, 120*time.Millisecond), time.Second, .02})
	}
	gone := &line{Key: "gone", Name: "Gone", Against: "cubby-http", Skipped: "not | installed:\nname it"}
	return &report{Model: "m", Systems: []*line{cubby, peer, gone}}
}

func TestMarkdown(t *testing.T) {
	md := sampleReport().markdown()
	for _, want := range []string{
		"| 1 | Cubby | 100 | 10.0 | 10.0 | 10.0 | 10.0 | 100 MiB | 9 of 10 | 2 % |\n",
		"| 8 | Peer | 66.7 | 120 | 120 | 120 | 100 | 250 MiB | 8 of 10 (1 no label) | 2 % |\n",
		"| 1 | Peer | 12.0 × | 12.0 × | 12.0 × | 10.0 × | 2.50 × |\n",
		`| Gone |  | left out: not \| installed: name it |` + "\n",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("no line %q in\n%s", want, md)
		}
	}
	if strings.Contains(md, "not quiet") {
		t.Error("2 % for others are called noise")
	}
	columns := 0
	for l := range strings.Lines(md) {
		n := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|")
		if columns > 0 && n > 0 && n != columns {
			t.Errorf("%d bars in a table of %d: %q", n, columns, l)
		}
		columns = n
	}
}

// Without the Cubby that a peer is compared with there are no ratios.
func TestNoRatiosWithoutCubby(t *testing.T) {
	r := sampleReport()
	r.Systems = r.Systems[1:]
	if md := r.markdown(); strings.Contains(md, "×") || !strings.Contains(md, "| 8 | Peer |") {
		t.Error(md)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "–", .1234: "0.12", 9.876: "9.88", 12.34: "12.3", 1234.5: "1234"} {
		if got := number(x); got != want {
			t.Errorf("%v is shown as %s, want %s", x, got, want)
		}
	}
	if got := ratio(1, 0); got != "–" {
		t.Errorf("a ratio to nothing is shown as %s", got)
	}
}

func TestCommandNamesNoFolders(t *testing.T) {
	c := &config{Model: "/a/b/banking", Data: "/secret/texts.csv", Markdown: "docs/benchmark.md"}
	if got, want := c.command(), "go run ./bench -model banking -data texts.csv -markdown docs/benchmark.md"; got != want {
		t.Errorf("got %q", got)
	}
}
