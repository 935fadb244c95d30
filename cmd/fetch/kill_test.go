package main

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	"cubby/models"
)

// killing starts the program again and again and kills it. An instant is chosen
// among those of a run that was watched, and found again by how much then lay in the
// store, so that a kill comes in the same phase on a machine of any speed; only the
// wait behind the last byte or entry is one by the clock. Where a run ends before its
// kill, earlier instants are chosen, down to the first, which no run outlasts: the
// number of kills is certain.
type killing struct {
	t       *testing.T
	root    string // of the store
	base    int64  // what lay there before the first run
	args    []string
	phase   func() string // tells from the store how far a run has come
	watched []instant
	reach   float64 // of the run that was watched, how much instants are chosen from
	early   int     // runs that ended before their kill
}

// instant is one of a run: when so much lay in the store for so long.
type instant struct {
	size  int64
	held  time.Duration
	phase string
}

func newKilling(t *testing.T, root string, args ...string) *killing {
	return &killing{t: t, root: root, args: args, phase: func() string { return "" }, reach: 1}
}

// entrySize is what an entry counts beside its bytes.
const entrySize = 1 << 10

// progress is how much lies in the store beyond what lay there before.
func (k *killing) progress() int64 {
	size := -k.base
	_ = filepath.WalkDir(k.root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // not there yet, or vanished
		}
		size += entrySize
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}

// life is one run of the program.
type life struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	ended chan struct{}
	err   error
}

func (k *killing) start() *life {
	k.t.Helper()
	l := &life{cmd: exec.Command(os.Args[0], k.args...), ended: make(chan struct{})}
	l.cmd.Env = append(os.Environ(), asProgram+"=1", models.HomeVariable+"="+k.root)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	go func() { l.err = l.cmd.Wait(); close(l.ended) }()
	return l
}

// look waits a moment, and reports whether the program still runs.
func (l *life) look(pause time.Duration) bool {
	select {
	case <-l.ended:
		return false
	case <-time.After(pause):
		return true
	}
}

// between two looks at the store.
const lookEvery = 200 * time.Microsecond

// finish runs the program to its end, which must be a good one, and remembers what
// the run looked like.
func (k *killing) finish() {
	k.t.Helper()
	var seen []instant
	most, since := k.progress(), time.Now()
	l := k.start()
	for l.look(lookEvery) {
		if size := k.progress(); size > most {
			most, since = size, time.Now()
		}
		seen = append(seen, instant{most, time.Since(since), k.phase()})
	}
	if l.err != nil {
		k.t.Fatalf("it failed without being killed: %v\n%s", l.err, l.out.String())
	}
	if k.watched == nil {
		k.watched = append([]instant{{phase: k.phase()}}, seen...)
	}
}

// kill runs the program on what lies in the store until an instant chosen at random,
// and reports whether it was killed. If not, it succeeded.
func (k *killing) kill() bool {
	k.t.Helper()
	at := k.choose(k.progress())
	l := k.start()
	runs := true
	for runs && at.size > 0 && k.progress() < at.size {
		runs = l.look(lookEvery)
	}
	if runs && at.held > 0 {
		runs = l.look(at.held)
	}
	_ = l.cmd.Process.Kill() // it may be done already
	<-l.ended
	if l.err == nil {
		k.early++
		k.reach *= 0.8
		return false
	}
	k.reach = min(1, k.reach*1.1)
	if code := l.cmd.ProcessState.ExitCode(); code >= 0 && (!runs || goruntime.GOOS != "windows") {
		k.t.Fatalf("it failed without being killed: %v\n%s", l.err, l.out.String())
	}
	return true
}

// choose takes an instant when more lay in the store than now, if there is one: the
// program may be going on with what a killed one left. Each phase is as likely, however
// short.
func (k *killing) choose(now int64) instant {
	var ahead []instant
	for _, i := range k.watched {
		if i.size > now {
			ahead = append(ahead, i)
		}
	}
	if len(ahead) == 0 || rand.IntN(8) == 0 {
		ahead = k.watched
	}
	ahead = ahead[:max(1, int(k.reach*float64(len(ahead))))]
	phases := map[string][]instant{}
	for _, i := range ahead {
		phases[i.phase] = append(phases[i.phase], i)
	}
	names := slices.Sorted(maps.Keys(phases))
	list := phases[names[rand.IntN(len(names))]]
	return list[rand.IntN(len(list))]
}
