// Package server answers classification requests over HTTP: it parses
// strictly, guards, times, counts and logs, and leaves the answers to a
// Backend. It never logs or counts a text.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"

	"cubby/internal/feedback"
	"cubby/runtime"
)

// Backend is the model behind the server: runtime.Model, or a test's fake.
type Backend interface {
	runtime.Backend
	// CheckCanary fails when the model does not answer as it did at import.
	CheckCanary(ctx context.Context) error
	// Probe says whether a text would be answered now, and if not why.
	Probe(ctx context.Context) error
	// Failed is closed when the engine is dead.
	Failed() <-chan struct{}
	Stats() runtime.Stats
}

// Options are the limits of a Server. Zero values take the defaults of
// limits.go.
type Options struct {
	MaxBody         int64
	RequestTimeout  time.Duration
	HeaderTimeout   time.Duration
	ReadTimeout     time.Duration
	IdleTimeout     time.Duration
	ShutdownTimeout time.Duration
	// DrainDelay is how long a stopping server keeps answering while /readyz
	// already says no, so that balancers can look away first.
	DrainDelay time.Duration
	// APIKey is asked of every request but /healthz and /readyz; empty: none is.
	APIKey string
	// Report returns the last evaluation of an artefact, as JSON; nil: none are kept.
	Report func(artifact string) ([]byte, error)
	// Keep makes feedback durable, none of it where it fails; nil: it is only counted.
	Keep    func([]feedback.Feedback) error
	Cache   *runtime.Cache // whose counts are shown; nil: there is none
	Log     *slog.Logger   // nil: nothing is logged
	Metrics *Metrics       // nil: a new one
}

func (o Options) withDefaults() Options {
	setDefault(&o.MaxBody, DefaultMaxBody)
	setDefault(&o.RequestTimeout, DefaultRequestTimeout)
	setDefault(&o.HeaderTimeout, DefaultHeaderTimeout)
	setDefault(&o.ReadTimeout, DefaultReadTimeout)
	setDefault(&o.IdleTimeout, DefaultIdleTimeout)
	setDefault(&o.ShutdownTimeout, max(DefaultShutdownTimeout, o.RequestTimeout+shutdownGrace))
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	return o
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// state is where a server stands in its life.
type state int32

const (
	starting state = iota
	ready
	draining
	failed
)

// Server is the HTTP side of one or several models. It answers from the start; until Ready
// is called it only says that it is starting.
type Server struct {
	opt     Options
	guard   guard
	serving atomic.Pointer[[]Backend] // nil: none yet; the first one is the default
	state   atomic.Int32
	away    atomic.Bool                    // what computes a model was not there when it was last asked for
	recent  *lru.Cache[string, remembered] // answers by model and id
	watched atomic.Pointer[monitors]
	bodies  atomic.Int64 // bytes of request bodies held now
	http    *http.Server
}

// New returns a server that is starting. local says that its listener is only
// reachable from this machine.
func New(opt Options, local bool) *Server {
	opt = opt.withDefaults()
	if opt.Cache != nil {
		opt.Metrics.serveCache(opt.Cache)
	}
	s := &Server{opt: opt, guard: newGuard(opt.APIKey, local)}
	s.recent, _ = lru.New[string, remembered](maxRemembered) // an error is that of a size below 1
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: opt.HeaderTimeout,
		ReadTimeout:       opt.ReadTimeout,
		WriteTimeout:      opt.RequestTimeout + writeGrace,
		IdleTimeout:       opt.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Ready puts the models behind the server, the default first. The canary of each
// must have passed.
func (s *Server) Ready(list ...Backend) {
	s.opt.Metrics.serveModels(list)
	s.watch(list)
	s.serving.Store(&list)
	s.state.CompareAndSwap(int32(starting), int32(ready))
}

// Handler returns the routes. Every answer, errors of the router included,
// passes through the same wrapper.
func (s *Server) Handler() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	open, guarded := s.guard.host, s.guard.all
	e.POST("/v1/classify", s.wrap(guarded, s.classify))
	e.POST("/v1/feedback", s.wrap(guarded, s.feedback))
	e.GET("/v1/models", s.wrap(guarded, s.models))
	e.GET("/v1/models/:model/report", s.wrap(guarded, s.report))
	e.GET("/metrics", s.wrap(guarded, s.metrics))
	for path, h := range map[string]handler{"/healthz": s.healthz, "/readyz": s.readyz} {
		e.GET(path, s.wrap(open, h))
		e.HEAD(path, s.wrap(open, h))
	}
	e.NoRoute(s.wrap(open, func(*gin.Context) error {
		return &failure{Code: codeNotFound, Message: "there is no such path",
			Hint: "POST /v1/classify, /v1/feedback; GET /v1/models, /v1/models/NAME/report, /healthz, /readyz, /metrics"}
	}))
	e.NoMethod(s.wrap(open, func(*gin.Context) error {
		return &failure{Code: codeMethod, Message: "this path does not take this method; see the header Allow"}
	}))
	return e
}

func (s *Server) metrics(c *gin.Context) error {
	s.opt.Metrics.handler().ServeHTTP(c.Writer, c.Request)
	return nil
}

// healthz says that the process lives: restart it when it does not.
func (s *Server) healthz(c *gin.Context) error {
	if state(s.state.Load()) == failed {
		return engineDead()
	}
	c.JSON(http.StatusOK, gin.H{"status": "ok"})
	return nil
}

// readyz says whether to send requests here.
func (s *Server) readyz(c *gin.Context) error {
	switch state(s.state.Load()) {
	case ready:
		if err := s.probe(c.Request.Context()); err != nil {
			return err
		}
		c.JSON(http.StatusOK, gin.H{"status": "ready"})
		return nil
	case draining:
		return &failure{Code: runtime.CodeDraining, Message: "the server is stopping"}
	case failed:
		return engineDead()
	}
	return stillStarting()
}

// probe fails while a model has nothing that would compute it.
func (s *Server) probe(ctx context.Context) error {
	list, err := s.backends()
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := b.Probe(ctx); err != nil {
			if s.away.CompareAndSwap(false, true) {
				s.opt.Log.Warn("not ready: what computes a model is not there", "model", b.Info().Model, "error", err)
			}
			return &failure{Code: runtime.CodeUnavailable, Message: fmt.Sprintf("model %q: what computes it is not there", b.Info().Model), RetryAfter: awayRetry, Cause: err}
		}
	}
	if s.away.CompareAndSwap(true, false) {
		s.opt.Log.Info("ready again")
	}
	return nil
}

// awayRetry is when to ask again whether what computes is back.
const awayRetry = 5 * time.Second

func stillStarting() *failure {
	return &failure{Code: codeStarting, Message: "the model is still loading", RetryAfter: startingRetry}
}

func engineDead() *failure {
	return &failure{Code: runtime.CodeEngineFailed, Message: "the engine has crashed; the server is stopping"}
}

// backends returns the models that are served, or why there are none.
func (s *Server) backends() ([]Backend, error) {
	list := s.serving.Load()
	if list == nil {
		return nil, stillStarting()
	}
	return *list, nil
}

// choose returns the model of a name or artefact, and the default for "".
func (s *Server) choose(name string) (Backend, runtime.Info, error) {
	list, err := s.backends()
	if err != nil {
		return nil, runtime.Info{}, err
	}
	for _, b := range list {
		if info := b.Info(); name == "" || name == info.Model || name == info.Artifact {
			return b, info, nil
		}
	}
	return nil, runtime.Info{}, &failure{Code: codeUnknownModel, Message: "this server does not serve a model of that name"}
}
