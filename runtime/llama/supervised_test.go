//go:build linux || darwin

package llama

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ebitengine/purego"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// abortVariable holds a token: a worker that is given it aborts, in C.
const abortVariable = "TEST_LLAMA_ABORTS_ON"

// slowVariable makes passes of a worker wait until they are cancelled.
const slowVariable = "TEST_LLAMA_IS_SLOW"

// hangVariable names a file that a worker makes before it hangs, instead of loading
// anything, until its input ends.
const hangVariable = "TEST_LLAMA_HANGS"

func TestMain(m *testing.M) {
	if file := os.Getenv(hangVariable); file != "" && os.Getenv(workerVariable) != "" {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // what ends it does not matter
		os.Exit(0)
	}
	if os.Getenv(slowVariable) != "" {
		beforeEval = func(ctx context.Context, _ []engine.Tree) { <-ctx.Done() }
	}
	if token, err := strconv.Atoi(os.Getenv(abortVariable)); err == nil {
		beforeEval = func(_ context.Context, trees []engine.Tree) {
			for _, t := range trees {
				if t.Tokens[0] == labels.Token(token) {
					abort()
				}
			}
		}
	}
	Worker()
	os.Exit(m.Run())
}

func abort() {
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "abort")
	if err != nil {
		panic(err)
	}
	purego.SyscallN(address)
}

func supervise(t testing.TB, m enginetest.Model) *Supervised {
	t.Helper()
	s, err := Supervise(enginetest.Tokens{}, options(t, m), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformanceInAChild(t *testing.T) {
	testenv.Libllama(t)
	enginetest.Suite{Tolerance: 0.005, Families: families(), Open: func(t *testing.T, m enginetest.Model) engine.Engine {
		return supervise(t, m)
	}}.Run(t)
}

func chain(tokens ...labels.Token) engine.Tree {
	t := engine.Chain(tokens)
	t.Wants = []engine.Want{{Node: len(tokens) - 1, Columns: []labels.Token{1, 2, 3}}}
	return t
}

func begin(t testing.TB, s *Supervised, tokens ...labels.Token) engine.Prefix {
	t.Helper()
	p, err := s.Prefix(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func equal(a, b []float32) bool {
	for i := range a {
		if math.Abs(float64(a[i]-b[i])) > 0.02 {
			return false
		}
	}
	return len(a) == len(b)
}

// pid is that of the child that lives, 0 where there is none.
func (s *Supervised) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return 0
	}
	return s.child.cmd.Process.Pid
}

// A child that is killed between passes and in them, and while it starts, costs no
// answer but those that say so.
func TestKilledChildLosesNothing(t *testing.T) {
	s := supervise(t, enginetest.NewModel("llama", 1))
	p := begin(t, s, 5, 6, 7)
	tree := chain(9, 10, 11)
	want, err := s.Eval(t.Context(), p, []engine.Tree{tree})
	if err != nil {
		t.Fatal(err)
	}
	var answered atomic.Int64
	stop := make(chan struct{})
	killed := make(chan int, 1)
	defer func() {
		close(stop)
		if n := <-killed; n == 0 {
			t.Error("no child was killed: nothing was shown")
		} else {
			t.Logf("%d kills, %d loads", n, s.Info().Memory.Loads)
		}
	}()
	go func() {
		n := 0
		for next := int64(1); ; {
			select {
			case <-stop:
				killed <- n
				return
			case <-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond):
			}
			if answered.Load() < next {
				continue
			}
			if rand.IntN(4) > 0 { // else the next one is killed while it starts
				next = answered.Load() + 1 + rand.Int64N(20)
			}
			children, _ := exec.Command("pgrep", "-P", strconv.Itoa(os.Getpid())).Output()
			for _, f := range strings.Fields(string(children)) {
				if pid, err := strconv.Atoi(f); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
					n++
				}
			}
		}
	}()
	away := 0
	for i := 0; answered.Load() < 300; i++ {
		trees := []engine.Tree{tree, chain(20, labels.Token(i%200))}
		out, err := s.Eval(t.Context(), p, trees)
		if _, ok := errors.AsType[*engine.UnavailableError](err); ok || err == nil && out[0].Err != nil && errors.As(out[0].Err, new(*engine.UnavailableError)) {
			away++
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil || out[0].Err != nil || !equal(out[0].Logits[0], want[0].Logits[0]) {
			t.Fatalf("pass %d: got %+v, %v, want %v", i, out, err, want[0].Logits)
		}
		answered.Add(1)
	}
	t.Logf("%d passes were told that the engine is away", away)
}

// A text that aborts in C fails alone, is not tried a third time, and the others
// of its pass are answered.
func TestDeadlyTextFailsAlone(t *testing.T) {
	t.Setenv(abortVariable, "13")
	s := supervise(t, enginetest.NewModel("llama", 1))
	p := begin(t, s, 5, 6, 7)
	trees := []engine.Tree{chain(9, 10), chain(13, 10), chain(11, 12)}
	for round := range 3 {
		before := s.Info().Memory.Loads
		out, err := s.Eval(t.Context(), p, trees)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range out {
			if deadly := i == 1; deadly != errors.Is(o.Err, errDeadly) || deadly != (o.Logits == nil) {
				t.Errorf("round %d, tree %d: %+v", round, i, o)
			}
		}
		loads := s.Info().Memory.Loads - before
		if most := []int{2, 0, 0}[round]; loads > most {
			t.Errorf("round %d: the child was started %d times, want at most %d", round, loads, most)
		}
	}
	if out, err := s.Eval(t.Context(), p, trees[1:2]); err != nil || !errors.Is(out[0].Err, errDeadly) {
		t.Errorf("alone: %v, %v", out, err)
	}
}

// A child that dies while nothing runs is replaced without being asked for.
func TestIdleChildIsReplaced(t *testing.T) {
	s := supervise(t, enginetest.NewModel("llama", 1))
	p := begin(t, s, 5)
	old := s.pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "there is a new child", func() bool { return s.pid() != old && s.pid() != 0 && s.Probe(t.Context()) == nil })
	if _, err := s.Eval(t.Context(), p, []engine.Tree{chain(1)}); err != nil {
		t.Error(err)
	}
}

// breakable is a supervised engine whose libraries can be damaged.
func breakable(t *testing.T) (*Supervised, *atomic.Bool) {
	t.Helper()
	damaged := new(atomic.Bool)
	s, err := Supervise(enginetest.Tokens{}, options(t, enginetest.NewModel("llama", 1)), func() error {
		if damaged.Load() {
			return errors.New("the libraries are damaged")
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, damaged
}

// A child that cannot be started again is told by Probe and by every pass.
func TestChildThatCannotStart(t *testing.T) {
	s, damaged := breakable(t)
	p := begin(t, s, 5)
	damaged.Store(true)
	if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "a pass fails", func() bool {
		_, err := s.Eval(t.Context(), p, []engine.Tree{chain(1)})
		if err != nil && (!strings.Contains(err.Error(), "the libraries are damaged") || !errors.As(err, new(*engine.UnavailableError))) {
			t.Fatalf("got %v", err)
		}
		return err != nil
	})
	if s.Probe(t.Context()) == nil {
		t.Error("Probe says that all is well")
	}
	damaged.Store(false)
	testenv.Until(t, "a pass is computed", func() bool {
		_, err := s.Eval(t.Context(), p, []engine.Tree{chain(1)})
		return err == nil && s.Probe(t.Context()) == nil
	})
}

// A child that is started again loads the file that the first one loaded, whatever
// its name stands for now.
func TestRestartLoadsTheSameFile(t *testing.T) {
	opt := options(t, enginetest.NewModel("llama", 1))
	s, err := Supervise(enginetest.Tokens{}, opt, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := begin(t, s, 5, 6)
	want, err := s.Eval(t.Context(), p, []engine.Tree{chain(9, 10)})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := file(t, enginetest.NewModel("llama", 2))
	if err := os.Rename(other, opt.Model); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	got, err := s.Eval(t.Context(), p, []engine.Tree{chain(9, 10)})
	if err != nil || !equal(got[0].Logits[0], want[0].Logits[0]) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if n := s.Info().Memory.Loads; n != 2 {
		t.Errorf("%d loads: nothing is shown", n)
	}
}

// A caller who leaves stops the pass, at whatever moment, and the child lives on.
func TestCancelledPassKeepsTheChild(t *testing.T) {
	t.Setenv(slowVariable, "1")
	s := supervise(t, enginetest.NewModel("llama", 1))
	p := begin(t, s, 5)
	old := s.pid()
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		_, err := s.Eval(ctx, p, []engine.Tree{chain(1, 2, 3)})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("pass %d: %v", i, err)
		}
	}
	if s.pid() != old {
		t.Error("the child was replaced")
	}
}

// What keeps a child from being loaded may go away: that is noticed although
// nobody asks.
func TestChildIsBackWithoutBeingAsked(t *testing.T) {
	s, damaged := breakable(t)
	damaged.Store(true)
	if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "Probe says no", func() bool { return s.Probe(t.Context()) != nil && s.pid() == 0 })
	damaged.Store(false)
	testenv.Until(t, "Probe says yes", func() bool { return s.Probe(t.Context()) == nil })
}

// An engine that is closed while a child is being loaded does not wait for that: here
// for one that never ends.
func TestCloseDuringALoad(t *testing.T) {
	s := supervise(t, enginetest.NewModel("llama", 1))
	loading := filepath.Join(t.TempDir(), "loading")
	t.Setenv(hangVariable, loading)
	if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "a child is loaded again", func() bool { _, err := os.Stat(loading); return err == nil })
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	testenv.Until(t, "Close returns", func() bool { return len(closed) > 0 })
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// An engine can be closed at any moment of a child's start.
func TestCloseDuringAStart(t *testing.T) {
	for i := range 10 {
		s := supervise(t, enginetest.NewModel("llama", 1))
		if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGuilt(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := newGuilt()
	g.now = func() time.Time { return now }
	tree := chain(1, 2)
	c := crimeOf(nil, &tree)
	g.suspect(c)
	if g.convicted(c) {
		t.Error("convicted of one crash")
	}
	g.suspect(c)
	if !g.convicted(c) {
		t.Error("two crashes are forgotten")
	}
	now = now.Add(limitation + time.Second)
	if g.convicted(c) {
		t.Error("convicted for ever")
	}
	g.suspect(c)
	if g.convicted(c) {
		t.Error("old crashes count")
	}
	g.acquit(nil, &tree)
	g.suspect(c)
	if g.convicted(c) {
		t.Error("an answer does not acquit")
	}
	for i := range 2 * suspects {
		g.suspect(crime{byte(i), byte(i >> 8), 1})
	}
	if len(g.crashes) > suspects {
		t.Errorf("%d suspects are remembered", len(g.crashes))
	}
}

func TestBadLibraries(t *testing.T) {
	opt := options(t, enginetest.NewModel("llama", 1))
	opt.Libraries = t.TempDir()
	if _, err := Supervise(enginetest.Tokens{}, opt, nil, nil); err == nil || !strings.Contains(err.Error(), "fetch runtime") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"libggml-base.so", "libggml.so", "libllama.so"} {
		if err := os.WriteFile(opt.Libraries+"/"+name, []byte("<html>not found</html>"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Supervise(enginetest.Tokens{}, opt, nil, nil); err == nil || !strings.Contains(err.Error(), "libggml-base.so cannot be loaded") {
		t.Errorf("got %v", err)
	}
}
