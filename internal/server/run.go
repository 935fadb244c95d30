package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"cubby/models"
	"cubby/runtime/engine"
)

// ErrEngineDied ends a server whose engine crashed: a half-alive server is
// worse than a restart.
var ErrEngineDied = errors.New("the engine crashed")

// Config is a whole server process.
type Config struct {
	Options
	Addr string
	// Open loads the models, one after the other and the default first. Each
	// function is given the server's metrics to report to.
	Open []func(*Metrics) (Backend, error)
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
	list, err := s.load(ctx, cfg.Open)
	if err != nil {
		s.http.Close()
		<-served
		if ctx.Err() != nil {
			return nil // stopped before it was ready: nothing was accepted
		}
		return err
	}
	s.Ready(list...)
	took := time.Since(cfg.Started)
	s.opt.Log.Info("ready", "addr", ln.Addr().String(), "seconds", took.Seconds())
	s.greet(cfg.Out, list, ln.Addr(), took)
	err = s.wait(ctx, list, served)
	return errors.Join(err, s.drain(), closeAll(list))
}

func closeAll(list []Backend) error {
	var errs []error
	for _, b := range list {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
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

// load opens the models and checks their canaries. When the context ends first,
// it leaves the opening to itself: the process ends anyway.
func (s *Server) load(ctx context.Context, open []func(*Metrics) (Backend, error)) ([]Backend, error) {
	type opened struct {
		list []Backend
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		var list []Backend
		for _, f := range open {
			b, err := f(s.opt.Metrics)
			if err == nil {
				list = append(list, b)
				err = s.check(ctx, list)
			}
			if err != nil {
				done <- opened{nil, errors.Join(err, closeAll(list))}
				return
			}
		}
		done <- opened{list, nil}
	}()
	select {
	case o := <-done:
		return o.list, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// check holds the last model of the list to its canary and its name to those of
// the others.
func (s *Server) check(ctx context.Context, list []Backend) error {
	last := len(list) - 1
	info := list[last].Info()
	for _, b := range list[:last] {
		if b.Info().Model == info.Model {
			return Usage("two models are called %q: give one of them another name with -model NAME=MODEL", info.Model)
		}
	}
	if err := list[last].CheckCanary(ctx); err != nil {
		return fmt.Errorf("model %q: %w", info.Model, err)
	}
	s.opt.Log.Info("loaded", "model", info.Model, "artifact", info.Artifact, "engine", info.Engine.Engine, "device", info.Engine.Device, "choice", info.Choice,
		"weight_bytes", info.Engine.Memory.Weights, "kv_bytes", info.Engine.Memory.KV)
	return nil
}

// greet tells the user what runs and what to try.
func (s *Server) greet(w io.Writer, list []Backend, addr net.Addr, took time.Duration) {
	for _, b := range list {
		i, calibrated := b.Info(), "not calibrated"
		if i.Calibrated {
			calibrated = "calibrated"
		}
		fmt.Fprintf(w, "model    %s, %d labels, scored by %s, %s\n", i.Model, i.Labels.Len(), i.Scoring, calibrated)
		fmt.Fprintf(w, "artifact %s\n", i.Artifact)
	}
	i := list[0].Info()
	text, auth := "a text to classify", ""
	if i.Source.Kind == models.BuiltIn {
		text = "I was charged twice for one coffee"
	}
	if s.guard.key != nil {
		auth = ` -H "Authorization: Bearer $CUBBY_API_KEY"`
	}
	fmt.Fprintf(w, "engine   %s\n", engineLine(i.Engine))
	fmt.Fprintf(w, "ready    in %.2f s, on http://%s\n", took.Seconds(), addr)
	fmt.Fprintf(w, "try      curl -s%s %s/v1/classify -d '{\"input\":\"%s\"}'\n", auth, addr, text)
}

// engineLine tells what computes.
func engineLine(e engine.Info) string {
	parts := []string{e.Engine}
	if e.Device != "cpu" {
		parts[0] += " on " + e.Device
	}
	if e.Kernel != "" {
		parts = append(parts, "kernel "+e.Kernel)
	}
	if e.Precision != "" {
		parts = append(parts, e.Precision)
	}
	if e.Threads > 0 {
		parts = append(parts, fmt.Sprintf("%d threads", e.Threads))
	}
	if e.LabelOnly {
		parts = append(parts, "labels without probabilities")
	}
	return strings.Join(parts, ", ")
}

// wait returns when the server must stop, with the reason if it is an error.
func (s *Server) wait(ctx context.Context, list []Backend, served <-chan error) error {
	dead, cancel := make(chan struct{}, len(list)), make(chan struct{})
	defer close(cancel)
	for _, b := range list {
		go func() {
			select {
			case <-b.Failed():
				dead <- struct{}{}
			case <-cancel:
			}
		}()
	}
	select {
	case <-ctx.Done():
		s.state.Store(int32(draining))
		return nil
	case <-dead:
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
