package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"cubby/models"
)

// ErrEngineDied ends a server whose engine crashed: a half-alive server is
// worse than a restart.
var ErrEngineDied = errors.New("the engine crashed")

// Config is a whole server process.
type Config struct {
	Options
	Addr string
	// Open loads the model; it is given the server's metrics to report to.
	Open func(*Metrics) (Backend, error)
	// Out gets the lines that greet the user when the server is ready.
	Out io.Writer
	// Started is when the process began, for the time to ready.
	Started time.Time
}

// Run serves until the context ends or the engine dies, and drains. The
// listener opens first, so that a taken port is known before the model loads;
// nothing is answered before the canary has passed. It returns nil only if
// every accepted request was answered.
func Run(ctx context.Context, cfg Config) error {
	ln, local, err := listen(cfg.Addr, cfg.APIKey)
	if err != nil {
		return err
	}
	s := New(cfg.Options, local)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(netutil.LimitListener(ln, maxConns)) }()
	backend, err := s.load(ctx, cfg.Open)
	if err != nil {
		s.http.Close()
		<-served
		if ctx.Err() != nil {
			return nil // stopped before it was ready: nothing was accepted
		}
		return err
	}
	s.Ready(backend)
	took := time.Since(cfg.Started)
	s.opt.Log.Info("ready", "model", backend.Info().Model, "artifact", backend.Info().Artifact, "addr", ln.Addr().String(), "seconds", took.Seconds())
	s.greet(cfg.Out, backend, ln.Addr(), took)
	err = s.wait(ctx, backend, served)
	return errors.Join(err, s.drain(), backend.Close())
}

// listen opens the address. One that others can reach needs an API key.
func listen(addr, key string) (ln net.Listener, local bool, err error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, false, Usage("-addr %q is no address to listen on: %v; give HOST:PORT, such as %s", addr, err, DefaultAddr)
	}
	local = tcp.IP.IsLoopback()
	if !local && key == "" {
		return nil, false, Usage("-addr %s can be reached from other machines, so clients must be asked for an API key: "+
			"name a file that holds one with -api-key-file, or set CUBBY_API_KEY; or listen on %s", addr, DefaultAddr)
	}
	ln, err = net.ListenTCP("tcp", tcp)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, false, fmt.Errorf("address %s is taken by another program: stop it, or choose another address with -addr", addr)
	}
	return ln, local, err
}

// load opens the model and checks its canary. When the context ends first, it
// leaves the opening to itself: the process ends anyway.
func (s *Server) load(ctx context.Context, open func(*Metrics) (Backend, error)) (Backend, error) {
	type opened struct {
		backend Backend
		err     error
	}
	done := make(chan opened, 1)
	go func() {
		b, err := open(s.opt.Metrics)
		if err == nil {
			if err = b.CheckCanary(ctx); err != nil {
				err = errors.Join(err, b.Close())
			}
		}
		done <- opened{b, err}
	}()
	select {
	case o := <-done:
		return o.backend, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// greet tells the user what runs and what to try.
func (s *Server) greet(w io.Writer, b Backend, addr net.Addr, took time.Duration) {
	i := b.Info()
	calibrated := "not calibrated"
	if i.Calibrated {
		calibrated = "calibrated"
	}
	text, auth := "a text to classify", ""
	if i.Source.Kind == models.BuiltIn {
		text = "I was charged twice for one coffee"
	}
	if s.guard.key != nil {
		auth = ` -H "Authorization: Bearer $CUBBY_API_KEY"`
	}
	fmt.Fprintf(w, "model    %s, %d labels, scored by %s, %s\n", i.Model, i.Labels.Len(), i.Scoring, calibrated)
	fmt.Fprintf(w, "artifact %s\n", i.Artifact)
	fmt.Fprintf(w, "engine   %s, kernel %s, %d threads\n", i.Engine.Engine, i.Engine.Kernel, i.Engine.Threads)
	fmt.Fprintf(w, "ready    in %.2f s, on http://%s\n", took.Seconds(), addr)
	fmt.Fprintf(w, "try      curl -s%s %s/v1/classify -d '{\"input\":\"%s\"}'\n", auth, addr, text)
}

// wait returns when the server must stop, with the reason if it is an error.
func (s *Server) wait(ctx context.Context, b Backend, served <-chan error) error {
	select {
	case <-ctx.Done():
		s.state.Store(int32(draining))
		return nil
	case <-b.Failed():
		s.state.Store(int32(failed))
		return ErrEngineDied
	case err := <-served:
		s.state.Store(int32(draining))
		return fmt.Errorf("serving stopped: %w", err)
	}
}

// drain answers what was accepted: for the delay it serves on while /readyz
// says no, then it stops listening and waits for the requests in work.
func (s *Server) drain() error {
	s.opt.Log.Info("draining", "delay", s.opt.DrainDelay.String())
	if state(s.state.Load()) == draining {
		time.Sleep(s.opt.DrainDelay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.ShutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
		return fmt.Errorf("some requests were cut: they did not finish within %s", s.opt.ShutdownTimeout)
	}
	s.opt.Log.Info("drained")
	return nil
}
