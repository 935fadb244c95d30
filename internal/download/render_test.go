package download

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cubby/models"
)

// story is one file's way, two seconds a piece.
func story(p Progress, pause func(time.Duration)) {
	const mib = 1 << 20
	sum := models.DigestOf(nil)
	p.Report(Event{Kind: Resumed, File: "m.gguf", Have: 10 * mib, Size: 100 * mib})
	for n := int64(12); n <= 50; n += 2 {
		pause(2 * time.Second)
		p.Report(Event{Kind: Received, File: "m.gguf", Have: n * mib, Size: 100 * mib})
	}
	pause(time.Second)
	p.Report(Event{Kind: Retrying, File: "m.gguf", Have: 50 * mib, Size: 100 * mib, Reason: "no byte came for 30s", Wait: 1234 * time.Millisecond})
	pause(time.Second)
	p.Report(Event{Kind: Renewed, File: "m.gguf", Have: 50 * mib, Size: 100 * mib})
	pause(time.Second)
	p.Report(Event{Kind: Restarted, File: "m.gguf", Size: 100 * mib, Reason: "it changed"})
	pause(time.Second)
	p.Report(Event{Kind: Started, File: "other", Size: -1})
	pause(time.Second)
	p.Report(Event{Kind: Received, File: "other", Have: 5, Size: -1})
	p.Report(Event{Kind: Done, File: "other", Have: 5, Size: 5, SHA256: sum})
	pause(time.Second)
	pause(time.Second)
	p.Report(Event{Kind: Received, File: "m.gguf", Have: 60 * mib, Size: 100 * mib})
	p.Report(Event{Kind: Received, File: "m.gguf", Have: 100 * mib, Size: 100 * mib})
	p.Report(Event{Kind: Done, File: "m.gguf", Have: 100 * mib, Size: 100 * mib, SHA256: sum})
}

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := NewLines(&out)
		story(r, time.Sleep)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		want := `m.gguf: going on at 10 MiB of 100 MiB (10 %)
m.gguf: 20 MiB of 100 MiB (20 %), 1.0 MiB/s, 1m20s left
m.gguf: 30 MiB of 100 MiB (30 %), 1.0 MiB/s, 1m10s left
m.gguf: 40 MiB of 100 MiB (40 %), 1.0 MiB/s, 1m0s left
m.gguf: 50 MiB of 100 MiB (50 %), 1.0 MiB/s, 50s left
m.gguf: no byte came for 30s; trying again in 1.2s, at 50 MiB
m.gguf: the address expired; going on with another one at 50 MiB
m.gguf: starting over: it changed
other: downloading
other: complete, 5 B, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
m.gguf: complete, 100 MiB, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
`
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", &out, want)
		}
	})
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	r := NewJSON(&out)
	story(r, func(time.Duration) {})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`{"event":"resumed","file":"m.gguf","have":10485760,"size":104857600}`,
		`{"event":"received","file":"m.gguf","have":12582912,"size":104857600}`,
		`{"event":"retrying","file":"m.gguf","have":52428800,"size":104857600,"reason":"no byte came for 30s","wait_seconds":1.234}`,
		`{"event":"renewed","file":"m.gguf","have":52428800,"size":104857600}`,
		`{"event":"restarted","file":"m.gguf","have":0,"size":104857600,"reason":"it changed"}`,
		`{"event":"started","file":"other","have":0}`,
		`{"event":"received","file":"other","have":5}`,
		`{"event":"done","file":"other","have":5,"size":5,"sha256":"` + models.DigestOf(nil).Hex() + `"}`,
		`{"event":"done","file":"m.gguf","have":104857600,"size":104857600,"sha256":"` + models.DigestOf(nil).Hex() + `"}`,
	}
	for i, line := range lines {
		if !json.Valid([]byte(line)) || i >= len(want) || line != want[i] {
			t.Errorf("line %d: %s", i, line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines", len(lines))
	}
}

// The bar counts what this call has to bring: 10 of 100 MiB were there, so 90 are to
// come; after starting over the 40 that came in vain count too.
func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := NewBar(&out)
		story(r, time.Sleep)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		for _, want := range []string{
			"\rm.gguf: going on at 10 MiB of 100 MiB (10 %)\n", "0/1 files", "/90 MiB, 1.0 MiB/s", "s:1m", "/140 MiB",
			"\rm.gguf: no byte came for 30s; trying again in 1.2s, at 50 MiB\n", "1/2 files", "\rother: complete, 5 B",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing", want)
			}
		}
		if lines := strings.Split(text, "\r"); strings.TrimSpace(lines[len(lines)-1]) != "" {
			t.Errorf("it ends with %q", lines[len(lines)-1])
		}
		if t.Failed() {
			t.Log(strings.ReplaceAll(text, "\r", "\n"))
		}
	})
}

func TestNewRenderer(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := NewRenderer(f, false).(*lines); !ok {
		t.Error("a file gets no lines")
	}
	if _, ok := NewRenderer(f, true).(*objects); !ok {
		t.Error("no JSON")
	}
}
