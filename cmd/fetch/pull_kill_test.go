//go:build unix

package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
)

// lockstep serves packages no further than a window beyond what the program has on
// disk, and counts: what is counted is there, however slow the program is.
type lockstep struct {
	root   string // of the store
	served atomic.Int64
}

const window = 256 << 10

func (l *lockstep) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".tar") {
			w = &step{w, r.Context(), l, -1}
		}
		h.ServeHTTP(w, r)
	})
}

// onDisk is how much of a package the program has.
func (l *lockstep) onDisk() (most int64) {
	parts, _ := filepath.Glob(filepath.Join(l.root, "staging", "pull-*", ".*.part-*", "data"))
	for _, name := range parts {
		if info, err := os.Stat(name); err == nil {
			most = max(most, info.Size())
		}
	}
	return most
}

// step is one answer.
type step struct {
	http.ResponseWriter
	ctx context.Context
	*lockstep
	at int64 // in the package; -1 before the first byte
}

func (s *step) Write(b []byte) (int, error) {
	if s.at < 0 {
		s.at = rangeStart(s.Header().Get("Content-Range"))
	}
	for s.at+int64(len(b)) > s.onDisk()+window {
		select {
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	n, err := s.ResponseWriter.Write(b)
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	s.at += int64(n)
	s.served.Add(int64(n))
	return n, err
}

// rangeStart reads "bytes START-END/SIZE"; without one, an answer is the whole.
func rangeStart(header string) int64 {
	start, _, _ := strings.Cut(strings.TrimPrefix(header, "bytes "), "-")
	n, _ := strconv.ParseInt(start, 10, 64)
	return n
}

// killCost is what a kill may have served again: what no mark vouches for, and what
// was on its way.
const killCost = 1<<20 + window

// The program is killed at random instants of pulls, from the first request to the
// end of the import, and started again until the model is there: whole, with nothing
// left beside it, and with little downloaded twice.
func TestPullKilled(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	packages := demoPackages(t)
	var server lockstep
	p := newPulling(t, localplatform.Options{Packages: packages}, server.wrap)
	server.root = p.store.Root()
	info, err := os.Stat(filepath.Join(packages, "demo", "gguf.tar"))
	if err != nil {
		t.Fatal(err)
	}
	k := newKilling(t, p.store.Root(), "pull", p.platform.Models()[0].ID, "-as", "sorted")
	k.finish()
	p.whole("sorted")
	killed, pulls, worst := 0, 0, 0.0
	during := map[string]int{}
	for killed < kills {
		if err := os.RemoveAll(k.root); err != nil {
			t.Fatal(err)
		}
		server.served.Store(0)
		n := 0
		for ; n < 5 && killed < kills && k.kill(); n++ {
			killed++
			during[p.phase()]++
			if err := p.store.Verify("sorted"); err == nil {
				during["installed"]++
			}
		}
		k.finish()
		pulls++
		p.whole("sorted")
		served := server.served.Load()
		worst = max(worst, float64(served)/float64(info.Size()))
		if most := info.Size() + int64(n)*killCost + 1<<10; served > most {
			t.Errorf("%d bytes were served of a package of %d, with %d kills", served, info.Size(), n)
		}
	}
	t.Logf("killed %d times in %d pulls, of which %d ended before a kill: %v; at most %.2f times the size was served", killed, pulls, k.early, during, worst)
}

// phase is how far a killed pull had come.
func (p *pulling) phase() string {
	work, _ := filepath.Glob(filepath.Join(p.store.Root(), "staging", "pull-*"))
	if len(work) == 0 {
		return "before or behind"
	}
	if _, err := os.Stat(filepath.Join(work[0], "store")); err == nil {
		return "importing"
	}
	if tars, _ := filepath.Glob(filepath.Join(work[0], "*.tar")); len(tars) > 0 {
		return "downloaded"
	}
	if parts, _ := filepath.Glob(filepath.Join(work[0], ".*.part-*")); len(parts) > 0 {
		return "downloading"
	}
	return "asking"
}
