package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cubby/runtime/engine"
)

func fault(f Fault) *Error { return &Error{Fault: f, Server: "fake at nowhere"} }

// evalChains evaluates n trees and returns their errors, and how long it took.
func evalChains(t *testing.T, e *Engine, p engine.Prefix, n int) ([]error, time.Duration) {
	t.Helper()
	trees := make([]engine.Tree, n)
	for i := range trees {
		trees[i] = chain(fmt.Sprint("text ", i))
	}
	start := time.Now()
	out, err := e.Eval(t.Context(), p, trees)
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, n)
	for i := range out {
		errs[i] = out[i].Err
	}
	return errs, time.Since(start)
}

func TestPassingFaultsAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		tries int
	}{
		{Busy, 3}, {Unreachable, 3}, {Broken, 3},
		{Refused, 1}, {Denied, 1}, {Missing, 1}, {Memory, 1}, {Unreadable, 1}, {Unaskable, 1}, {Slow, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			e := newEngine(t, f, 1)
			p := prefixed(t, e, "prefix")
			f.set(func(ask int) error {
				if ask <= 2 {
					return fault(c.fault)
				}
				return nil
			})
			errs, took := evalChains(t, e, p, 1)
			if n := f.count(); n != c.tries || (errs[0] == nil) != (c.tries > 1) {
				t.Errorf("fault %d: %d tries, then %v", c.fault, n, errs[0])
			}
			if c.tries > 1 && (took < 150*time.Millisecond || took > 300*time.Millisecond) {
				t.Errorf("fault %d: %v for two waits", c.fault, took)
			}
		})
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		e := newEngine(t, f, 1)
		p := prefixed(t, e, "prefix")
		f.set(func(ask int) error {
			if ask > 2 {
				return nil
			}
			return &Error{Fault: Busy, After: []time.Duration{2 * time.Second, time.Hour}[ask-1]}
		})
		if errs, took := evalChains(t, e, p, 1); errs[0] != nil || took != 2*time.Second+longestWait {
			t.Errorf("%v after %v", errs[0], took)
		}
	})
}

// A server that is down costs a pass the tries of one question, not of each, and the
// next pass a probe.
func TestAPassWaitsOnceForAServerThatIsDown(t *testing.T) {
	for _, kind := range []Fault{Unreachable, Busy, Broken} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			e := newEngine(t, f, 4)
			p := prefixed(t, e, "prefix")
			down := fault(kind)
			f.set(func(int) error { return down })
			f.unready = down
			errs, took := evalChains(t, e, p, 100)
			for i, err := range errs {
				var away *engine.UnavailableError
				if !errors.Is(err, down) || !errors.As(err, &away) {
					t.Fatalf("tree %d: %v", i, err)
				}
			}
			if took > 4*time.Second {
				t.Errorf("fault %d: it took %v", kind, took)
			}
			if n := f.count(); n > 2*4*tries { // a failure is only believed when four in a row did
				t.Errorf("fault %d: %d questions", kind, n)
			}
			if _, took := evalChains(t, e, p, 100); took != 0 || f.count() != 0 || f.probes != 1 {
				t.Errorf("fault %d: the next pass took %v", kind, took)
			}
			f.set(nil)
			f.unready = nil
			errs, _ = evalChains(t, e, p, 100)
			if err := errors.Join(errs...); err != nil || f.count() != 100 {
				t.Errorf("fault %d: it came back, but %v", kind, err)
			}
		})
	}
}

// One text that is too slow costs the others nothing; a server that hangs does not
// get every text to wait for.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		e := newEngine(t, f, 1)
		p := prefixed(t, e, "prefix")
		f.set(func(ask int) error {
			if ask == 1 {
				return fmt.Errorf("wrapped: %w", context.DeadlineExceeded)
			}
			return nil
		})
		errs, _ := evalChains(t, e, p, 3)
		if errs[0] == nil || errs[1] != nil || errs[2] != nil {
			t.Errorf("%v", errs)
		}
		f.set(nil)
		f.hang = true
		errs, took := evalChains(t, e, p, 50)
		if took != 2*DefaultTimeout || errs[49] == nil || !strings.Contains(errs[49].Error(), "in time") {
			t.Errorf("%v, after %v", errs[49], took)
		}
	})
}

func TestACallerWhoLeavesIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		e := newEngine(t, f, 2)
		p := prefixed(t, e, "prefix")
		f.set(func(int) error { return &Error{Fault: Busy, After: time.Hour} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := e.Eval(ctx, p, []engine.Tree{chain("a"), chain("b"), chain("c")})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		f.set(nil)
		if errs, _ := evalChains(t, e, p, 3); errors.Join(errs...) != nil {
			t.Errorf("the next pass: %v", errs)
		}
	})
}

func TestPrefixFailsWhereTheServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{fail: func(int) error { return fault(Memory) }}
		e := newEngine(t, f, 1)
		_, err := e.Prefix(t.Context(), e.Tokenizer().Encode("prefix"))
		var away *engine.UnavailableError
		if !errors.As(err, &away) || !strings.Contains(err.Error(), "memory") {
			t.Errorf("%v", err)
		}
	})
}

func TestBackOffGrowsAndIsCapped(t *testing.T) {
	var a Asker
	for try := 1; try < 30; try++ {
		whole, half := a.backOff(try, 0, 0), a.backOff(try, 0, 0.999999)
		if whole > longestWait || half > whole || try < 5 && (whole != firstWait<<(try-1) || half < whole/2) {
			t.Errorf("try %d: %v to %v", try, half, whole)
		}
	}
}

// Each fault has words, and they say what to do.
func TestErrorsSayWhatToDo(t *testing.T) {
	for f := Unreachable; f <= Unaskable; f++ {
		if faults[f].is == "" || faults[f].do == "" {
			t.Errorf("fault %d has no words", f)
		}
	}
	e := &Error{Fault: Busy, Server: "Ollama at http://h", Status: 503, Message: "maximum pending requests exceeded"}
	if got, want := e.Error(), "Ollama at http://h is busy, or still loading (HTTP 503): maximum pending requests exceeded: let it run more side by side, ask for less at once, or try again later"; got != want {
		t.Errorf("%s", got)
	}
}
