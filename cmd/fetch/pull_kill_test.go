//go:build unix

package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
	"cubby/models"
)

// lockstep serves packages no further than a window beyond what the program has on
// disk, and counts: what is counted is there, however slow the program is.
type lockstep struct {
	root   string       // of the store
	all    bool         // every body is counted, not those of tars alone
	parts  []string     // where the partial downloads lie below root; nil for those of packages
	hold   atomic.Int64 // no more than so many bytes of a package are served; 0: all
	served atomic.Int64
}

const window = 256 << 10

func (l *lockstep) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.all || strings.HasSuffix(r.URL.Path, ".tar") {
			w = &step{w, r.Context(), l, -1}
		}
		h.ServeHTTP(w, r)
	})
}

// onDisk is how much of a package the program has.
func (l *lockstep) onDisk() (most int64) {
	pattern := l.parts
	if pattern == nil {
		pattern = []string{"staging", "pull-*"}
	}
	parts, _ := filepath.Glob(filepath.Join(append(append([]string{l.root}, pattern...), ".*.part-*", "data")...))
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
	for end := s.at + int64(len(b)); end > s.onDisk()+window || s.hold.Load() > 0 && end > s.hold.Load(); {
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

// killsVariable says how often pulls are killed.
const killsVariable = "CUBBY_KILLS"

// pullKills is how often, without it: a few times in each phase.
func pullKills(t *testing.T) int {
	if text := os.Getenv(killsVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q, which is no number of kills", killsVariable, text)
		}
		return n
	}
	if testing.Short() {
		return 6
	}
	return 36
}

// Whenever the program is killed while it pulls, the store holds the older version of
// the model, or none where there was none, or the new one, under its name and whole; no
// other; and the same command finishes, downloading little twice.
func TestPullKilled(t *testing.T) {
	s := small{hidden: 256, layers: 6, seed: 1}
	base := filepath.Join(t.TempDir(), "Small")
	files := s.base(t)
	writeFolder(t, base, files)
	rows := []struct {
		name  string
		files map[string][]byte // of the package
		args  []string
	}{
		{"GGUF", map[string][]byte{"model/model.gguf": demoWeights(t)}, nil},
		{"merged", inFolder("model", files), nil},
		{"adapter", inFolder("model-adapter", s.adapter(t)), []string{"-base", base}},
	}
	kills := pullKills(t)
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			maps.Copy(row.files, around())
			packages := t.TempDir()
			tar := filepath.Join(packages, "task", "merged.tar")
			writeTar(t, tar, row.files)
			newPullKilling(t, packages, tar, row.args).run(kills*(i+1)/len(rows) - kills*i/len(rows))
		})
	}
}

// pullKilling kills pulls of one package.
type pullKilling struct {
	*killing
	*pulling
	t        *testing.T
	server   *lockstep
	size     int64          // of the package
	old      string         // store with an older version of the model
	versions []string       // of the model: the old one, and the new one when there is one
	during   map[string]int // kills by phase
	ratio    float64        // of what was served and the size, at most
}

const pulled = "sorted" // name in the store

func newPullKilling(t *testing.T, packages, tar string, args []string) *pullKilling {
	info, err := os.Stat(tar)
	if err != nil {
		t.Fatal(err)
	}
	p := &pullKilling{t: t, server: &lockstep{}, size: info.Size(), old: t.TempDir(), during: map[string]int{}}
	p.pulling = newPulling(t, localplatform.Options{Packages: packages}, p.server.wrap)
	p.server.root = p.store.Root()
	p.killing = newKilling(t, p.store.Root(), append([]string{"pull", p.platform.Models()[0].ID, "-as", pulled}, args...)...)
	p.phase = p.stage

	before := filepath.Join(t.TempDir(), "before.tar")
	files := inFolder("model", small{hidden: smallHead, layers: 1, seed: 2}.base(t))
	maps.Copy(files, around())
	writeTar(t, before, files)
	p.want(exitOK, "installed "+pulled, "", "import", before, "-name", pulled)
	p.versions = append(p.versions, p.version())
	if err := os.CopyFS(p.old, os.DirFS(p.root)); err != nil {
		t.Fatal(err)
	}
	return p
}

// version is what the name points to, empty where there is no such name.
func (p *pullKilling) version() string {
	entries, err := p.store.List()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name == pulled {
			return e.Digest.String()
		}
	}
	return ""
}

// begin makes the store what it was before the model was pulled.
func (p *pullKilling) begin(older bool) {
	p.t.Helper()
	err := os.RemoveAll(p.root)
	if older {
		err = errors.Join(err, os.CopyFS(p.root, os.DirFS(p.old)))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.base = 0
	p.base = p.progress()
	p.server.served.Store(0)
}

func (p *pullKilling) run(kills int) {
	p.begin(true)
	p.finish()
	p.whole(pulled)
	p.versions = append(p.versions, p.version())
	done, pulls := 0, 0
	for ; done < kills || kills >= enoughKills && done < 3*kills && len(p.missed()) > 0; pulls++ {
		older := pulls%2 == 0
		p.begin(older)
		lives := 0
		for ; lives < 4 && p.kill(); lives++ {
			done++
			p.check(older)
		}
		p.finish()
		p.whole(pulled)
		if got := p.version(); got != p.versions[1] {
			p.t.Errorf("the name points to %s, not to %s", got, p.versions[1])
		}
		p.checkServed(lives)
	}
	if missed := p.missed(); kills >= enoughKills && len(missed) > 0 {
		p.t.Errorf("no kill came while it was %v", missed)
	}
	p.t.Logf("killed %d times in %d pulls, of which %d ended before a kill: %v; at most %.2f times the size was served", done, pulls, p.early, p.during, p.ratio)
}

// enoughKills are so many that some come in each of the phases that take long.
const enoughKills = 10

// missed are those of the long phases in which no kill came.
func (p *pullKilling) missed() []string {
	return slices.DeleteFunc([]string{"downloading", "unpacking", "making the model"}, func(phase string) bool { return p.during[phase] > 0 })
}

// check sees what a kill has left.
func (p *pullKilling) check(older bool) {
	p.t.Helper()
	p.during[p.stage()]++
	is := p.version()
	if !(is == p.versions[1] || older && is == p.versions[0] || !older && is == "") {
		p.t.Errorf("the name points to %q, which is neither version of %v", is, p.versions)
	}
	p.want(exitOK, "", "", "verify")
	for _, name := range p.staging() {
		if !strings.HasPrefix(name, "pull-") {
			p.t.Errorf("staging holds %s, which the next pull does not clear away", name)
		}
	}
}

// killCost is what a kill may have served again: what no mark vouches for, and what
// was on its way.
const killCost = 1<<20 + window

// checkServed sees that what was there was not downloaded again.
func (p *pullKilling) checkServed(lives int) {
	p.t.Helper()
	served, asked := p.server.served.Load(), int64(lives+2) // each run asks for one byte first
	p.ratio = max(p.ratio, float64(served)/float64(p.size))
	if most := p.size + int64(lives)*killCost + asked; served > most {
		p.t.Errorf("%d bytes were served of a package of %d, with %d kills", served, p.size, lives)
	}
}

// stage is how far a pull has come, by what lies in the store.
func (p *pullKilling) stage() string {
	there := func(pattern ...string) []string {
		found, _ := filepath.Glob(filepath.Join(append([]string{p.root, "staging", "pull-*"}, pattern...)...))
		return found
	}
	is := p.version()
	switch {
	case is != "" && is != p.versions[0]:
		return "clearing up"
	case len(there("store", "staging", "*", "model", models.ManifestName)) > 0:
		return "installing"
	case len(there("store", "staging", "*", "model", "*")) > 0:
		return "making the model"
	case len(there("store", "staging", "*")) > 0:
		return "unpacking"
	case len(there("store")) > 0:
		return "beginning or ending the import"
	case len(there("*.tar")) > 0:
		return "downloaded"
	case len(there(".*.part-*")) > 0:
		return "downloading"
	case len(there()) > 0:
		return "asking"
	}
	return "before or behind"
}
