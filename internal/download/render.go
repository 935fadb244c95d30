package download

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// How often renderers say how far a download is.
const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second
	jsonEvery = time.Second
)

// Renderer shows progress; Close ends it.
type Renderer interface {
	Progress
	Close() error
}

// NewRenderer chooses: JSON where it is asked for, a bar on a terminal, else lines.
func NewRenderer(f *os.File, asJSON bool) Renderer {
	switch {
	case asJSON:
		return NewJSON(f)
	case term.IsTerminal(int(f.Fd())):
		return NewBar(f)
	}
	return NewLines(f)
}

// sentence tells an event in words; bytes that came are none.
func (e Event) sentence() string {
	switch e.Kind {
	case Started:
		if e.Size >= 0 {
			return fmt.Sprintf("%s: downloading %s", e.File, bytesOf(e.Size))
		}
		return fmt.Sprintf("%s: downloading", e.File)
	case Resumed:
		return fmt.Sprintf("%s: going on at %s", e.File, e.amount())
	case Retrying:
		return fmt.Sprintf("%s: %s; trying again in %s, at %s", e.File, e.Reason, e.Wait.Round(100*time.Millisecond), bytesOf(e.Have))
	case Restarted:
		return fmt.Sprintf("%s: starting over: %s", e.File, e.Reason)
	case Renewed:
		return fmt.Sprintf("%s: the address expired; going on with another one at %s", e.File, bytesOf(e.Have))
	case Done:
		return fmt.Sprintf("%s: complete, %s, sha256 %s", e.File, bytesOf(e.Size), e.SHA256.Hex())
	}
	return ""
}

// amount is how much of the file is there.
func (e Event) amount() string {
	if e.Size <= 0 {
		return bytesOf(e.Have)
	}
	return fmt.Sprintf("%s of %s (%d %%)", bytesOf(e.Have), bytesOf(e.Size), int(100*float64(e.Have)/float64(e.Size)))
}

// pace measures one file between two lines.
type pace struct {
	since time.Time
	have  int64
}

// lines writes a line for every event, and one now and then while bytes come.
type lines struct {
	w     io.Writer
	every time.Duration
	paces map[string]pace
}

// NewLines is for logs.
func NewLines(w io.Writer) Renderer {
	return &lines{w: w, every: lineEvery, paces: make(map[string]pace)}
}

func (l *lines) Report(e Event) {
	if e.Kind != Received {
		l.paces[e.File] = pace{time.Now(), e.Have}
		fmt.Fprintln(l.w, e.sentence())
		return
	}
	p := l.paces[e.File]
	took := time.Since(p.since)
	if took < l.every {
		return
	}
	l.paces[e.File] = pace{time.Now(), e.Have}
	rate := float64(e.Have-p.have) / took.Seconds()
	line := fmt.Sprintf("%s: %s, %s/s", e.File, e.amount(), bytesOf(int64(rate)))
	if e.Size > 0 && rate > 0 {
		left := min(float64(e.Size-e.Have)/rate, math.MaxInt32)
		line += fmt.Sprintf(", %s left", (time.Duration(left) * time.Second).String())
	}
	fmt.Fprintln(l.w, line)
}

func (l *lines) Close() error { return nil }

// objects writes every event as an object of JSON on its line.
type objects struct {
	out   *json.Encoder
	every time.Duration
	last  map[string]time.Time
}

// NewJSON is for programs: {"event":"received","file":"…","have":1,"size":2}.
func NewJSON(w io.Writer) Renderer {
	return &objects{out: json.NewEncoder(w), every: jsonEvery, last: make(map[string]time.Time)}
}

func (o *objects) Report(e Event) {
	if e.Kind == Received {
		if time.Since(o.last[e.File]) < o.every {
			return
		}
		o.last[e.File] = time.Now()
	}
	object := struct {
		Event  EventKind `json:"event"`
		File   string    `json:"file"`
		Have   int64     `json:"have"`
		Size   *int64    `json:"size,omitempty"`
		Reason string    `json:"reason,omitempty"`
		Wait   float64   `json:"wait_seconds,omitempty"`
		SHA256 string    `json:"sha256,omitempty"`
	}{Event: e.Kind, File: e.File, Have: e.Have, Reason: e.Reason, Wait: e.Wait.Seconds()}
	if e.Size >= 0 {
		object.Size = &e.Size
	}
	if e.Kind == Done {
		object.SHA256 = e.SHA256.Hex()
	}
	_ = o.out.Encode(object) // progress that nobody can read stops no download
}

func (o *objects) Close() error { return nil }

// bar is one bar for all files. It counts the bytes that this call has to bring, so
// that the rate and the time left are true after a resumption.
type bar struct {
	w     io.Writer
	bar   *progressbar.ProgressBar
	files map[string]*onBar
	max   int64 // as the bar was told; -1: nobody knows
	base  int64 // bytes that had come when the bar was made
	done  int
}

// onBar is what the bar knows of a file.
type onBar struct{ from, have, size int64 }

// NewBar is for a terminal.
func NewBar(w io.Writer) Renderer {
	b := &bar{w: w, files: make(map[string]*onBar)}
	b.renew(1, 0)
	return b
}

// renew makes the bar: one without a length cannot become one with, nor the other
// way. It must not turn its wheel by itself: that would be done without our lock.
func (b *bar) renew(max, came int64) {
	b.max, b.base = max, came
	b.bar = progressbar.NewOptions64(max,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(max >= 0),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionThrottle(barEvery),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(20),
	)
	b.describe()
}

func (b *bar) describe() { b.bar.Describe(fmt.Sprintf("%d/%d files", b.done, len(b.files))) }

func (b *bar) Report(e Event) {
	f := b.files[e.File]
	if f == nil {
		f = &onBar{from: e.Have, have: e.Have}
		b.files[e.File] = f
	}
	if e.Kind == Restarted {
		f.from -= f.have // what came in vain came nevertheless
	}
	f.have, f.size = e.Have, e.Size
	if e.Kind == Done {
		b.done++
	}
	if e.Kind != Received {
		b.say(e)
		b.describe()
	}
	b.draw()
}

// say writes a line above the bar.
func (b *bar) say(e Event) {
	_ = b.bar.Clear()
	fmt.Fprintf(b.w, "\r%s\n", e.sentence())
}

// draw shows the sum of the files.
func (b *bar) draw() {
	var came, all int64
	for _, f := range b.files {
		came += f.have - f.from
		if f.size < 0 {
			all = -1
		} else if all >= 0 {
			all += f.size - f.from
		}
	}
	if all >= 0 {
		all += 1 - b.base // one byte is held back: a full bar would be over, and files may follow
	}
	switch {
	case (all < 0) != (b.max < 0):
		_ = b.bar.Clear()
		b.renew(max(all, -1), came)
		return
	case all != b.max:
		b.max = all
		b.bar.ChangeMax64(all)
	}
	_ = b.bar.Set64(came - b.base)
}

// Close takes the bar away; what was said stays.
func (b *bar) Close() error { return b.bar.Clear() }
