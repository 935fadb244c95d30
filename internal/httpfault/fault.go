// Package httpfault makes a server of a test's fail as servers fail.
package httpfault

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is a way to fail. What is zero does not happen; the rest happens together.
type Fault struct {
	// Route is the beginning of the requests that are hit, such as "GET /slms"; empty for
	// all.
	Route string
	// Times is how many requests are hit; 0 for all until Heal.
	Times int

	Status int           // answers with that status instead
	Header http.Header   // sets these headers
	Body   string        // answers with that body instead, with 200 if Status is 0
	Delay  time.Duration // waits first, or until the client is gone
	Drop   bool          // closes the connection without an answer

	CutAfter    int64  // closes the connection behind so many bytes of the body
	FlipAt      int64  // changes the byte of the file at that place, where it is sent; 0 for none
	IgnoreRange bool   // answers a request for a part with the whole, and 200
	ETag        string // is the file's, as if it had been replaced
}

// Server answers requests, or fails as its faults say. It records what it was asked
// for. Its zero value has no faults.
type Server struct {
	mu       sync.Mutex
	faults   []*Fault
	requests []string
}

// Break switches a fault on. Of several that fit, the first decides.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal switches all faults off.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Requests are the methods and paths of all requests so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Serve answers a request with next, or as a fault has it.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request)) {
	if f := s.record(r); f != nil {
		var done bool
		if w, r, done = f.apply(w, r); done {
			return
		}
	}
	next(w, r)
}

// record notes a request and returns the fault that is switched on for it.
func (s *Server) record(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := r.Method + " " + r.URL.Path
	s.requests = append(s.requests, line)
	for i, f := range s.faults {
		if !strings.HasPrefix(line, f.Route) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		hit := *f
		return &hit
	}
	return nil
}

// apply does what comes before a regular answer, and reports whether there is to
// be none.
func (f *Fault) apply(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, bool) {
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), f.Header)
	if f.ETag != "" {
		w.Header().Set("ETag", f.ETag)
	}
	if f.Status != 0 || f.Body != "" {
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(f.Body)) // the client may be gone
		return w, r, true
	}
	if f.IgnoreRange {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		r.Header.Del("If-Range")
	}
	if f.CutAfter > 0 || f.FlipAt > 0 {
		w = &spoiler{ResponseWriter: w, fault: f}
	}
	return w, r, false
}

// spoiler changes a body on its way.
type spoiler struct {
	http.ResponseWriter
	fault *Fault
	at    int64 // place in the file of the next byte; parts begin further on
	sent  int64
	begun bool
}

func (s *spoiler) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.at = rangeStart(s.Header().Get("Content-Range"))
	}
	if i := s.fault.FlipAt - s.at; s.fault.FlipAt > 0 && i >= 0 && i < int64(len(p)) {
		p = slices.Clone(p)
		p[i] ^= 1
	}
	if s.fault.CutAfter > 0 && s.sent+int64(len(p)) > s.fault.CutAfter {
		_, _ = s.ResponseWriter.Write(p[:s.fault.CutAfter-s.sent]) // what follows ends the connection anyway
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := s.ResponseWriter.Write(p)
	s.at += int64(n)
	s.sent += int64(n)
	return n, err
}

// rangeStart reads "bytes START-END/SIZE".
func rangeStart(header string) (n int64) {
	for _, c := range header {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + int64(c-'0')
		case c == '-':
			return n
		}
	}
	return 0
}
