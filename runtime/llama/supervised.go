package llama

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/llama/libllama"
)

const (
	// outsideTries is how often a pass is computed whose child was killed from
	// outside. That is no text's fault, but the system kills what takes too much
	// memory in the same way, and would do so again.
	outsideTries = 5
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
//     is not tried for a while.
//   - A child that dies is replaced at once, whether anybody asks or not. While one
//     is being loaded, callers wait, each as long as it likes; while none can be
//     loaded, they are told why at once.
type Supervised struct {
	tok   engine.Tokenizer
	opt   Options
	check func() error // of the libraries, before each start
	files []*os.File   // the model's, and the adapter's: whatever their names stand for later
	log   *slog.Logger
	guilt guilt // of the goroutine that owns the engine

	life context.Context // of the children
	end  context.CancelFunc
	kept chan struct{} // closed when keep has ended

	closing sync.Once
	closed  error

	mu     sync.Mutex
	child  *child        // nil: there is none
	change chan struct{} // closed, and replaced, when child or down changes
	down   error         // why there is none
	failed bool          // starting has failed, and is not just going on
	prefix []labels.Token
	info   engine.Info
	loads  int
}

// Supervise starts a child that loads the model. Before each start it calls check,
// which says whether the libraries are still what they should be; nil for nothing.
// Log hears of deaths; nil for nobody.
func Supervise(tok engine.Tokenizer, opt Options, check func() error, log *slog.Logger) (*Supervised, error) {
	if check == nil {
		check = func() error { return nil }
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Supervised{tok: tok, opt: opt, check: check, log: log, guilt: newGuilt(), change: make(chan struct{}), kept: make(chan struct{})}
	s.life, s.end = context.WithCancel(context.Background())
	err := s.openFiles()
	var c *child
	if err == nil {
		c, err = s.start()
	}
	if err != nil {
		s.end()
		return nil, errors.Join(err, s.closeFiles())
	}
	go s.keep(c)
	return s, nil
}

// openFiles opens what children load, so that each loads the same: the paths that
// they are given are those of their own descriptors.
func (s *Supervised) openFiles() error {
	for _, path := range []*string{&s.opt.Model, &s.opt.Adapter} {
		if *path == "" {
			continue
		}
		f, err := os.Open(*path)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
		*path = fmt.Sprintf("/dev/fd/%d", repliesFD+len(s.files))
	}
	return nil
}

func (s *Supervised) closeFiles() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
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

// keep replaces the child whenever it dies, until the engine is closed.
func (s *Supervised) keep(c *child) {
	defer close(s.kept)
	for {
		select {
		case <-c.done:
			s.bury(c)
		case <-s.life.Done():
			c.close()
			return
		}
		if c = s.replace(); c == nil {
			return
		}
	}
}

// replace starts a child, as often as it takes; nil when the engine is closed. A
// start that was killed is repeated a few times before it counts as failed.
func (s *Supervised) replace() *child {
	pause := firstPause
	for try := 1; ; try++ {
		began := time.Now()
		c, err := s.start()
		switch {
		case s.life.Err() != nil:
			if err == nil {
				c.close()
			}
			return nil
		case err == nil:
			s.log.Info("the engine's process was started again", "pid", c.cmd.Process.Pid, "seconds", time.Since(began).Seconds())
			return c
		case killed(err) && try < outsideTries:
			continue
		}
		s.log.Warn("the engine's process cannot be started", "error", err, "again_in", pause.String())
		s.set(nil, err, true)
		select {
		case <-time.After(pause):
		case <-s.life.Done():
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// start starts a child and has it load the model and, where there was one, the
// prefix.
func (s *Supervised) start() (*child, error) {
	ctx, cancel := context.WithTimeout(s.life, loadTimeout)
	defer cancel()
	if err := s.check(); err != nil {
		return nil, err
	}
	c, err := startChild(s.files...)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(s.life, func() { _ = c.in.Close() })() // ends a load as well
	s.mu.Lock()
	prefix := s.prefix
	s.mu.Unlock()
	a, err := c.call(ctx, request{Verb: toOpen, Options: s.opt, Tokens: s.tok.Len()})
	if err == nil && len(prefix) > 0 {
		a, err = c.call(ctx, request{Verb: toBegin, Prefix: prefix})
	}
	if err != nil {
		c.close()
		return nil, err
	}
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	s.report(&a)
	s.set(c, nil, false)
	return c, nil
}

// killed says whether a child was killed from outside.
func killed(err error) bool {
	died, _ := errors.AsType[*errDied](err)
	return died != nil && died.outside
}

// set tells whoever waits that there is a child, or why there is none.
func (s *Supervised) set(c *child, down error, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.child, s.down, s.failed = c, down, failed
	close(s.change)
	s.change = make(chan struct{})
}

// bury forgets a child that has died. Who notices first does.
func (s *Supervised) bury(c *child) {
	s.mu.Lock()
	gone := s.child != c
	s.mu.Unlock()
	if gone || s.life.Err() != nil {
		return
	}
	err := c.died()
	s.log.Warn("the engine's process died", "how", err.how)
	s.set(nil, err, false)
}

// report keeps what a reply tells of the engine.
func (s *Supervised) report(a *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = a.Info
}

// wait returns the child, once there is one.
func (s *Supervised) wait(ctx context.Context) (*child, error) {
	for {
		s.mu.Lock()
		c, down, failed, change := s.child, s.down, s.failed, s.change
		s.mu.Unlock()
		switch {
		case s.life.Err() != nil:
			return nil, errClosed
		case c != nil && !c.ended():
			return c, nil
		case c != nil:
			s.bury(c)
			continue
		case failed:
			return nil, &engine.UnavailableError{Err: fmt.Errorf("the engine's process cannot be started: %w", down)}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.life.Done():
		}
	}
}

// Info implements engine.Engine.
func (s *Supervised) Info() engine.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := s.info
	info.Memory.Loads, info.Memory.Loaded = s.loads, s.child != nil
	return info
}

// Tokenizer implements engine.Engine.
func (s *Supervised) Tokenizer() engine.Tokenizer { return s.tok }

// Probe implements engine.Prober.
func (s *Supervised) Probe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Close ends the child, also one that is being loaded.
func (s *Supervised) Close() error {
	s.end()
	<-s.kept
	s.closing.Do(func() { s.closed = s.closeFiles() })
	return s.closed
}

// remotePrefix is a prefix that every child computes when it is told to.
type remotePrefix struct {
	of     *Supervised
	tokens []labels.Token
	size   int64
}

// Len implements engine.Prefix.
func (p *remotePrefix) Len() int { return len(p.tokens) }

// Bytes implements engine.Prefix: all that the child has for keys and values.
func (p *remotePrefix) Bytes() int64 { return p.size }

// Prefix implements engine.Engine.
func (s *Supervised) Prefix(ctx context.Context, tokens []labels.Token) (engine.Prefix, error) {
	if err := engine.CheckPrefix(s.Info(), tokens); err != nil {
		return nil, err
	}
	p := &remotePrefix{of: s, tokens: append([]labels.Token(nil), tokens...)}
	a, err := s.call(ctx, request{Verb: toBegin, Prefix: p.tokens})
	if err != nil {
		return nil, err
	}
	p.size = a.Info.Memory.KV
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefix = p.tokens
	return p, nil
}

// call asks the child, a new one where it was killed from outside.
func (s *Supervised) call(ctx context.Context, r request) (reply, error) {
	for try := 1; ; try++ {
		c, err := s.wait(ctx)
		if err != nil {
			return reply{}, err
		}
		a, err := c.call(ctx, r)
		if err == nil {
			s.report(&a)
		}
		if !killed(err) || try == outsideTries {
			return a, err
		}
	}
}

// Eval implements engine.Engine.
func (s *Supervised) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
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
		if s.guilt.convicted(crimeOf(pre.tokens, &trees[i])) {
			out[i].Err = errDeadly
		} else {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return out, s.usable(ctx)
	}
	err := s.eval(ctx, pre, trees, rest, out)
	_, died := errors.AsType[*errDied](err)
	switch {
	case !died || ctx.Err() != nil:
		return out, err
	case killed(err):
		for _, i := range rest {
			out[i].Err = &engine.UnavailableError{Err: err}
		}
		return out, nil
	}
	return out, s.apart(ctx, pre, trees, rest, out)
}

func (s *Supervised) usable(ctx context.Context) error {
	if s.life.Err() != nil {
		return errClosed
	}
	return ctx.Err()
}

// errDeadly is the answer to a text that crashes the engine.
var errDeadly = &engine.RefusedError{Err: errors.New("this text crashed the engine twice and is not tried again for now")}

// apart computes each tree alone after a pass that crashed, twice at most.
func (s *Supervised) apart(ctx context.Context, pre *remotePrefix, trees []engine.Tree, rest []int, out []engine.Output) error {
	for _, i := range rest {
		for out[i].Err == nil {
			err := s.eval(ctx, pre, trees, []int{i}, out)
			if err == nil {
				break
			}
			_, died := errors.AsType[*errDied](err)
			switch {
			case !died || ctx.Err() != nil:
				return err
			case killed(err):
				out[i].Err = &engine.UnavailableError{Err: err}
			case s.guilt.convicted(crimeOf(pre.tokens, &trees[i])):
				out[i].Err = errDeadly
			}
		}
	}
	return nil
}

// eval computes some trees in one pass. Where that crashes the child, or makes it
// hang, they are suspects.
func (s *Supervised) eval(ctx context.Context, pre *remotePrefix, trees []engine.Tree, some []int, out []engine.Output) error {
	r := request{Verb: toEval, Prefix: pre.tokens}
	for _, i := range some {
		r.Trees = append(r.Trees, trees[i])
	}
	a, err := s.call(ctx, r)
	if _, died := errors.AsType[*errDied](err); died && !killed(err) {
		for _, i := range some {
			s.guilt.suspect(crimeOf(pre.tokens, &trees[i]))
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
		s.guilt.acquit(pre.tokens, &trees[i])
	}
	return nil
}
