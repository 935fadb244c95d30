package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
)

// handler answers a request, or returns why it cannot.
type handler func(c *gin.Context) error

// requestID is the header that ties a client's request to our log line.
const requestID = "X-Request-Id"

// maxRequestID bounds the ids that are taken over from clients.
const maxRequestID = 64

// modelKey, textsKey and tokensKey carry the model's name and a request's counts
// from its handler to its log line.
const (
	modelKey  = "model"
	textsKey  = "texts"
	tokensKey = "tokens"
)

// wrap makes a route of a handler: it sets the deadline, asks the guard, turns
// errors and panics into answers, counts and logs. It is the only place that
// does any of these.
func (s *Server) wrap(guard func(*http.Request) error, h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		s.opt.Metrics.open.Inc()
		defer s.opt.Metrics.open.Dec()
		ctx, cancel := context.WithTimeout(c.Request.Context(), s.opt.RequestTimeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		id := identify(c.Request)
		c.Header(requestID, id)
		c.Header("X-Content-Type-Options", "nosniff")
		c.Header("Cache-Control", "no-store")
		if state(s.state.Load()) != ready {
			c.Header("Connection", "close") // move clients off a server that stops
		}

		err := s.call(c, guard, h)
		status := c.Writer.Status()
		if err != nil {
			f := asFailure(err)
			status = f.status()
			answer(c, f)
		}
		took := time.Since(start)
		route := routeOf(c)
		s.opt.Metrics.request(route, status, took)
		s.logRequest(c, id, route, status, took, err)
	}
}

// call runs the guard and the handler; a panic becomes an internal error.
func (s *Server) call(c *gin.Context, guard func(*http.Request) error, h handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &failure{Code: codeInternal, Message: "internal error", Cause: fmt.Errorf("panic: %v\n%s", v, debug.Stack())}
		}
	}()
	if err := guard(c.Request); err != nil {
		return err
	}
	return h(c)
}

// answer writes the error object, unless an answer has begun: then the
// connection is all that can be cut.
func answer(c *gin.Context, f *failure) {
	if c.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	if n := f.retrySeconds(); n > 0 {
		c.Header("Retry-After", strconv.Itoa(n))
	}
	switch f.Code {
	case codeUnauthorized:
		c.Header("WWW-Authenticate", `Bearer realm="cubby"`)
	case codeBodyTooLarge, codeBodyTimeout, codeBodyBroken:
		c.Header("Connection", "close") // what is left of the body is not read
	}
	raw, err := json.Marshal(f.body())
	if err != nil {
		panic(err)
	}
	c.Data(f.status(), "application/json; charset=utf-8", append(raw, '\n'))
}

// identify takes over the client's request id where it is short and plain, and
// makes one where it is not: the id is logged, and must not carry text.
func identify(r *http.Request) string {
	id := r.Header.Get(requestID)
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	for _, b := range []byte(id) {
		plain := b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '-' || b == '_' || b == '.'
		if !plain {
			return rand.Text()
		}
	}
	return id
}

// routeOf names the route, never the path, which a client chooses.
func routeOf(c *gin.Context) string {
	if r := c.FullPath(); r != "" {
		return r
	}
	return "unmatched"
}

// logRequest writes the access log line: everything about a request except
// what it said.
func (s *Server) logRequest(c *gin.Context, id, route string, status int, took time.Duration, err error) {
	level := slog.LevelInfo
	switch {
	case status >= 500 && status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case route == "/readyz", route != "/v1/classify" && status < 400:
		level = slog.LevelDebug // asked every few seconds, by machines
	}
	log := s.opt.Log
	if !log.Enabled(c, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("id", id), slog.String("method", methodOf(c.Request)), slog.String("route", route),
		slog.Int("status", status), slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("remote", c.Request.RemoteAddr),
	}
	for _, key := range []string{modelKey, textsKey, tokensKey} {
		if v, ok := c.Get(key); ok {
			attrs = append(attrs, slog.Any(key, v))
		}
	}
	if err != nil {
		f := asFailure(err)
		attrs = append(attrs, slog.String("code", string(f.Code)))
		if status >= 500 && f.Cause != nil {
			attrs = append(attrs, slog.String("cause", f.Cause.Error()))
		}
	}
	log.LogAttrs(c, level, "request", attrs...)
}

// methodOf is the method where it is a known one: a client may write anything.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}
