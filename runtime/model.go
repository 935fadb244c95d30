package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"sync"
	"time"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// DefaultBatchTokens is the token budget of one pass: large enough that the
// matrix products run at full speed, small enough that a text which arrives
// just after a pass has started does not wait long.
const DefaultBatchTokens = 512

// DefaultQueueTokens is the most tokens admitted at once: some seconds of work
// on a small machine. More would only be answered after their callers left.
const DefaultQueueTokens = 32768

// Options are the knobs of a Model. Zero values choose the defaults.
type Options struct {
	Name        string // what the model is called here; empty for its manifest's
	BatchTokens int    // token budget of one pass; the engine's own limit caps it
	QueueTokens int    // most tokens admitted at once, waiting and running
	// TextTokens is the most tokens of one text; 0 for what the context holds.
	// A pass cannot be interrupted for another text: this bounds how long one
	// keeps the others waiting.
	TextTokens int
	Observer   Observer
	// Choice is why this engine computes the model, for people.
	Choice string
	// Cache answers texts that were scored before; nil for none.
	Cache *Cache
}

// Observer hears what the runtime measures. Its methods are called on hot
// paths, some under a lock: they must be quick and must not call back.
type Observer interface {
	// Tokenized is told how long one request's texts took to become tokens.
	Tokenized(took time.Duration)
	// Queued is told the tokens of all unfinished texts after each change.
	Queued(tokens int)
	// Pass is told the texts and tokens of each finished pass, equal texts once.
	Pass(items, tokens int, took time.Duration)
}

// Model is a loaded model behind a scheduler: the Backend of an engine that
// runs in this process.
type Model struct {
	model     *models.Model
	engine    engine.Engine
	scorer    *scorer
	scheduler *scheduler
	observer  Observer
	cache     *Cache        // nil: none
	encoders  chan struct{} // slots of those who tokenise: a long text takes memory
	info      Info
	closing   sync.Once
	closed    error
}

// Open puts a scorer and a scheduler in front of an engine that has loaded m's
// weights. The result owns both; on an error the caller still does.
func Open(m *models.Model, eng engine.Engine, opt Options) (*Model, error) {
	opt, err := opt.withDefaults(eng.Info())
	if err != nil {
		return nil, err
	}
	s, err := newScorer(context.Background(), eng, m.Manifest, m.Labels())
	if err != nil {
		return nil, err
	}
	if opt.TextTokens > 0 {
		s.limit = min(s.limit, opt.TextTokens+len(s.prompt.head.tokens))
	}
	var wake func(context.Context) error
	if w, ok := eng.(engine.Waker); ok {
		wake = w.Wake
	}
	sched := newScheduler(s.run, wake, opt.BatchTokens, opt.QueueTokens, opt.Observer, rand.Float64, func() int { return eng.Info().Memory.Loads })
	return &Model{
		model:     m,
		engine:    eng,
		scorer:    s,
		scheduler: sched,
		observer:  opt.Observer,
		cache:     opt.Cache,
		encoders:  make(chan struct{}, 2*goruntime.GOMAXPROCS(0)),
		info: Info{
			Model:         cmp.Or(opt.Name, m.Manifest.Name),
			Artifact:      m.Digest,
			Source:        m.Manifest.Source,
			Labels:        m.Labels(),
			Scoring:       m.Manifest.Scoring,
			Calibrated:    m.Manifest.Calibration != nil,
			Engine:        eng.Info(),
			Choice:        opt.Choice,
			MaxTextTokens: s.limit - len(s.prompt.head.tokens),
		},
	}, nil
}

// withDefaults fills what was left zero and checks the rest.
func (o Options) withDefaults(info engine.Info) (Options, error) {
	if o.BatchTokens < 0 || o.QueueTokens < 0 || o.TextTokens < 0 {
		return o, fmt.Errorf("batch tokens %d, queue tokens %d and text tokens %d must not be negative", o.BatchTokens, o.QueueTokens, o.TextTokens)
	}
	if o.BatchTokens == 0 {
		o.BatchTokens = DefaultBatchTokens
	}
	if o.QueueTokens == 0 {
		o.QueueTokens = DefaultQueueTokens
	}
	if info.MaxPass > 0 {
		o.BatchTokens = min(o.BatchTokens, info.MaxPass)
	}
	if o.Observer == nil {
		o.Observer = deaf{}
	}
	return o, nil
}

// deaf is the observer of those who want none.
type deaf struct{}

func (deaf) Tokenized(time.Duration)      {}
func (deaf) Queued(int)                   {}
func (deaf) Pass(int, int, time.Duration) {}

// Score answers the request's texts together, in order: see Backend.
func (m *Model) Score(ctx context.Context, req Request) ([]Result, error) {
	if len(req.Texts) == 0 {
		return nil, nil
	}
	if req.Scoring == "" {
		req.Scoring = m.scorer.method
	}
	b := newBatch(req.Texts)
	asked := m.recall(b, req)
	if len(asked) == 0 {
		if err := m.scheduler.closed(ctx, len(req.Texts)); err != nil {
			return nil, err
		}
		return b.results(), nil
	}
	if err := m.compute(ctx, asked, req); err != nil {
		return nil, err
	}
	return b.results(), nil
}

// recall answers what the cache holds and returns the other items.
func (m *Model) recall(b *batch, req Request) []*item {
	if m.cache == nil {
		return b.items
	}
	asked := make([]*item, 0, len(b.items))
	for _, it := range b.items {
		r, ok := m.cache.get(m.question(it, req), req.NoTruncate)
		if !ok {
			asked = append(asked, it)
			continue
		}
		it.result = Result{Tokens: r.tokens, Truncated: r.truncated, Unresolved: r.unresolved, Cached: true}
		m.judge(&it.result, r.dist)
	}
	return asked
}

func (m *Model) question(it *item, req Request) question {
	return m.cache.question(m.info.Artifact, req.Scoring, it.text)
}

// compute has the items scored and keeps what the model gave.
func (m *Model) compute(ctx context.Context, items []*item, req Request) error {
	class := interactive
	if req.Bulk {
		class = bulk
	}
	texts := 0
	for _, it := range items {
		texts += it.times
	}
	if err := m.scheduler.door(ctx, class, texts); err != nil {
		return err
	}
	jobs, err := m.prepare(ctx, items, req)
	if err != nil {
		return err
	}
	if err := m.scheduler.do(ctx, jobs, class); err != nil {
		return err
	}
	for _, it := range items {
		j := it.job
		if j == nil {
			continue
		}
		it.result = Result{Tokens: j.tokens, Truncated: j.truncated, Unresolved: j.unresolved, Queue: j.queue, Compute: j.compute, Err: j.err}
		if j.err != nil {
			continue
		}
		if m.cache != nil {
			m.cache.put(m.question(it, req), remembered{j.dist, j.unresolved, j.tokens, j.truncated})
		}
		m.judge(&it.result, j.dist)
	}
	return nil
}

// prepare makes a job of each item that can be scored, and gives the others
// their errors.
func (m *Model) prepare(ctx context.Context, items []*item, req Request) ([]*job, error) {
	select {
	case m.encoders <- struct{}{}:
		defer func() { <-m.encoders }()
	case <-ctx.Done():
		return nil, contextError(ctx)
	}
	start := time.Now()
	jobs := make([]*job, 0, len(items))
	for _, it := range items {
		if ctx.Err() != nil {
			return nil, contextError(ctx)
		}
		text, err := m.scorer.prepare(it.text, req.Scoring, req.NoTruncate)
		if err != nil {
			it.result.Err = err
			continue
		}
		it.job = newJob(text)
		it.job.texts = it.times
		jobs = append(jobs, it.job)
	}
	m.observer.Tokenized(time.Since(start))
	return jobs, nil
}

// judge calibrates what the model gave and applies the policy. Of an engine that
// tells no probabilities nothing is sure enough for a policy.
func (m *Model) judge(r *Result, dist labels.Distribution) {
	r.Distribution = dist
	if m.info.Engine.LabelOnly {
		r.LabelOnly, r.Review = true, m.model.Manifest.Policy != nil
		return
	}
	if c := m.model.Manifest.Calibration; c != nil {
		r.Distribution = c.Apply(dist)
	}
	if p := m.model.Manifest.Policy; p != nil {
		r.Review = p.Review(r.Distribution)
	}
}

// Info describes the model, with the memory it holds now.
func (m *Model) Info() Info {
	info := m.info
	info.Engine = m.engine.Info()
	return info
}

// Stats counts the texts that came to the door.
func (m *Model) Stats() Stats { return m.scheduler.stats() }

// Probe says whether a pass would be computed now, and if not why.
func (m *Model) Probe(ctx context.Context) error {
	if p, ok := m.engine.(engine.Prober); ok {
		return p.Probe(ctx)
	}
	return nil
}

// Failed is closed when the engine has crashed. Nothing is answered after
// that: the process should end and be started anew.
func (m *Model) Failed() <-chan struct{} { return m.scheduler.failed }

// Close stops admission, answers what was admitted, and frees the engine and
// the model. Only the first call does, the others wait for it.
func (m *Model) Close() error {
	m.closing.Do(func() {
		m.scheduler.close()
		m.closed = errors.Join(m.engine.Close(), m.model.Close())
	})
	return m.closed
}
