package llama

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/llama/libllama"
)

const (
	// outsideTries is how often a pass is computed whose child was killed from
	// outside: that is not the texts' fault.
	outsideTries = 10
	// deadly is how many crashes of a text are believed to be its doing.
	deadly = 2
	// suspects bounds how many texts are remembered to have been there when the
	// child crashed.
	suspects = 4096
	// A child that cannot be started is tried again after firstPause, then after
	// twice as long each time.
	firstPause = 200 * time.Millisecond
	lastPause  = 10 * time.Second
	// loadTimeout is far longer than any model takes to load; what takes longer
	// hangs.
	loadTimeout = 10 * time.Minute
)

// Supervised is an engine in a child process of this program, started anew when
// it dies. It implements engine.Engine and engine.Prober.
//
//   - A pass whose child was killed from outside is computed again.
//   - A pass whose child crashed is computed tree by tree, so that only a tree that
//     crashes it alone as well fails, with an error of its own. A tree that did so
//     twice is not tried any more.
//   - A child that dies between passes is replaced at once.
type Supervised struct {
	tok engine.Tokenizer
	opt Options
	log *slog.Logger

	mu     sync.Mutex // of one caller, or of what replaces a dead child
	child  *child     // nil: there is none
	closed bool
	pause  time.Duration // before the next start, 0 after one that succeeded
	next   time.Time     // when it may be tried
	prefix []labels.Token
	crimes map[crime]int // crashes that a tree was part of
	order  []crime       // of crimes, oldest first

	seen  sync.Mutex // guards what follows, which others ask for during a pass
	info  engine.Info
	loads int
	down  error // why there is no child
}

// crime names a tree and the prefix that it was computed behind.
type crime [16]byte

// Supervise starts a child that loads the model. Log hears of its deaths; nil for
// nobody.
func Supervise(tok engine.Tokenizer, opt Options, log *slog.Logger) (*Supervised, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Supervised{tok: tok, opt: opt, log: log, crimes: map[crime]int{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(context.Background()); err != nil {
		return nil, err
	}
	return s, nil
}

// Devices lists what the libraries of a folder see, from a child of its own.
func Devices(ctx context.Context, folder string) ([]libllama.Device, error) {
	c, err := startChild()
	if err != nil {
		return nil, err
	}
	defer c.close()
	a, err := c.call(ctx, request{Verb: toList, Options: Options{Libraries: folder}})
	return a.Devices, err
}

// start starts a child, at most once in a pause after failures. The caller holds
// s.mu.
func (s *Supervised) start(ctx context.Context) error {
	if wait := time.Until(s.next); wait > 0 {
		return fmt.Errorf("the engine's process cannot be started, and is tried again in %v: %w", wait.Round(time.Millisecond), s.Probe(ctx))
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	c, err := startChild()
	if err == nil {
		err = s.load(ctx, c)
	}
	if err != nil {
		if !killed(err) {
			s.pause = min(max(firstPause, 2*s.pause), lastPause)
			s.next = time.Now().Add(s.pause)
		}
		s.report(nil, err)
		return err
	}
	s.child, s.pause = c, 0
	s.seen.Lock()
	loads := s.loads
	s.seen.Unlock()
	if loads > 1 {
		s.log.Info("the engine's process was started again", "pid", c.cmd.Process.Pid, "seconds", time.Since(began).Seconds())
	}
	go s.watch(c)
	return nil
}

// killed says whether a child was killed from outside.
func killed(err error) bool {
	died, _ := errors.AsType[*errDied](err)
	return died != nil && died.outside
}

// load has the child load the model and, where there was one, the prefix.
func (s *Supervised) load(ctx context.Context, c *child) error {
	a, err := c.call(ctx, request{Verb: toOpen, Options: s.opt, Tokens: s.tok.Len()})
	if err == nil && len(s.prefix) > 0 {
		a, err = c.call(ctx, request{Verb: toBegin, Prefix: s.prefix})
	}
	if err != nil {
		c.close()
		return err
	}
	s.seen.Lock()
	s.loads++
	s.seen.Unlock()
	s.report(&a, nil)
	return nil
}

// report keeps what others may ask for.
func (s *Supervised) report(a *reply, down error) {
	s.seen.Lock()
	defer s.seen.Unlock()
	s.down = down
	if a != nil {
		s.info = a.Info
	}
	s.info.Memory.Loads, s.info.Memory.Loaded = s.loads, down == nil
}

// watch replaces the child when it dies, unless somebody has done so.
func (s *Supervised) watch(c *child) {
	<-c.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.child != c {
		return
	}
	s.bury()
	for try := 1; try < outsideTries && killed(s.start(context.Background())); try++ {
	} // Probe tells why there is none, and the next pass tries again
}

// bury forgets a child that has died.
func (s *Supervised) bury() {
	err := s.child.died()
	s.log.Warn("the engine's process died", "how", err.how)
	s.child = nil
	s.report(nil, err)
}

// Info implements engine.Engine.
func (s *Supervised) Info() engine.Info {
	s.seen.Lock()
	defer s.seen.Unlock()
	return s.info
}

// Tokenizer implements engine.Engine.
func (s *Supervised) Tokenizer() engine.Tokenizer { return s.tok }

// Probe implements engine.Prober.
func (s *Supervised) Probe(context.Context) error {
	s.seen.Lock()
	defer s.seen.Unlock()
	return s.down
}

// Close ends the child.
func (s *Supervised) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.child != nil {
		s.child.close()
		s.child = nil
	}
	return nil
}

// remotePrefix is a prefix that every child computes when it is told to.
type remotePrefix struct {
	of     *Supervised
	tokens []labels.Token
	size   int64
}

// Len implements engine.Prefix.
func (p *remotePrefix) Len() int { return len(p.tokens) }

// Bytes implements engine.Prefix.
func (p *remotePrefix) Bytes() int64 { return p.size }

// Prefix implements engine.Engine.
func (s *Supervised) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := engine.CheckPrefix(s.Info(), tokens); err != nil {
		return nil, err
	}
	p := &remotePrefix{of: s, tokens: append([]labels.Token(nil), tokens...)}
	if _, err := s.call(ctx, request{Verb: toBegin, Prefix: p.tokens}); err != nil {
		return nil, err
	}
	s.prefix = p.tokens
	return p, nil
}

// call asks the child, a new one where it was killed from outside. The caller
// holds s.mu.
func (s *Supervised) call(ctx context.Context, r request) (reply, error) {
	for try := 1; ; try++ {
		if s.closed {
			return reply{}, errClosed
		}
		if s.child == nil {
			err := s.start(ctx)
			if killed(err) && try < outsideTries {
				continue
			}
			if err != nil {
				return reply{}, &engine.UnavailableError{Err: err}
			}
		}
		a, err := s.child.call(ctx, r)
		if err == nil {
			s.report(&a, nil)
		}
		if died, _ := errors.AsType[*errDied](err); died != nil {
			s.bury()
		}
		if !killed(err) || try == outsideTries {
			return a, err
		}
	}
}

// Eval implements engine.Engine.
func (s *Supervised) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pre, ok := p.(*remotePrefix)
	if !ok || pre.of != s {
		return nil, errors.New("the prefix was computed by another engine")
	}
	if err := engine.Check(s.Info(), pre.Len(), trees); err != nil {
		return nil, err
	}
	out := make([]engine.Output, len(trees))
	var rest []int // trees that are tried
	for i := range trees {
		if s.crimes[crimeOf(pre.tokens, &trees[i])] < deadly {
			rest = append(rest, i)
		} else {
			out[i].Err = errDeadly
		}
	}
	if len(rest) == 0 {
		return out, nil
	}
	err := s.eval(ctx, pre, trees, rest, out)
	if _, crashed := errors.AsType[*errDied](err); !crashed {
		return out, err
	}
	return out, s.apart(ctx, pre, trees, rest, out)
}

// errDeadly is the answer to a text that crashes the engine.
var errDeadly = &engine.RefusedError{Err: errors.New("this text crashed the engine twice and is not tried again")}

// apart computes each tree alone after a pass that crashed.
func (s *Supervised) apart(ctx context.Context, pre *remotePrefix, trees []engine.Tree, rest []int, out []engine.Output) error {
	for _, i := range rest {
		for goOn := true; goOn && out[i].Err == nil; {
			err := s.eval(ctx, pre, trees, []int{i}, out)
			died, _ := errors.AsType[*errDied](err)
			switch {
			case err == nil:
				goOn = false
			case died == nil:
				return err
			case died.outside:
				out[i].Err = &engine.UnavailableError{Err: err}
			case s.crimes[crimeOf(pre.tokens, &trees[i])] >= deadly:
				out[i].Err = errDeadly
			}
		}
	}
	return nil
}

// eval computes some trees in one pass. Where that crashes the child, they are
// suspects.
func (s *Supervised) eval(ctx context.Context, pre *remotePrefix, trees []engine.Tree, some []int, out []engine.Output) error {
	r := request{Verb: toEval, Prefix: pre.tokens}
	for _, i := range some {
		r.Trees = append(r.Trees, trees[i])
	}
	a, err := s.call(ctx, r)
	if died, _ := errors.AsType[*errDied](err); died != nil && !died.outside {
		for _, i := range some {
			s.suspect(crimeOf(pre.tokens, &trees[i]))
		}
	}
	if err != nil {
		return err
	}
	if len(a.Outputs) != len(some) {
		return fmt.Errorf("the engine's process gave %d outputs for %d trees", len(a.Outputs), len(some))
	}
	for k, i := range some {
		out[i] = a.Outputs[k]
		if len(s.crimes) > 0 {
			delete(s.crimes, crimeOf(pre.tokens, &trees[i]))
		}
	}
	return nil
}

// suspect counts a crash, and forgets the oldest suspects.
func (s *Supervised) suspect(c crime) {
	if s.crimes[c] == 0 {
		s.order = append(s.order, c)
	}
	s.crimes[c]++
	for len(s.order) > suspects {
		delete(s.crimes, s.order[0])
		s.order = s.order[1:]
	}
}

func crimeOf(prefix []labels.Token, t *engine.Tree) (c crime) {
	h := sha256.New()
	b := binary.AppendUvarint(nil, uint64(len(prefix)))
	b = binary.AppendUvarint(b, uint64(t.Back))
	for i, token := range t.Tokens {
		b = binary.AppendUvarint(b, uint64(token))
		b = binary.AppendVarint(b, int64(t.Parents[i]))
	}
	h.Write(b) // a hash takes everything
	copy(c[:], h.Sum(nil))
	return c
}
