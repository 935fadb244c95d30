package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/rpc"
	"os"
	"os/exec"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/target"
	"cubby/internal/workload"
	"cubby/labels"
)

// What runs in process is measured in a process of its own, this program once
// more, so that its memory and processor time are its alone, and a library
// that aborts takes nothing else with it. The clients of a load run there too:
// only loads and outcomes cross the pipe.

// workerCommand is the first argument of such a process; the system's key and
// the config follow.
const workerCommand = "worker"

// worker answers calls of net/rpc.
type worker struct {
	classifier eval.Classifier
	about      About
}

// reply is an eval.Answer that gob can carry.
type reply struct {
	Distribution labels.Distribution
	Tokens       int
	Err          string
}

func (w *worker) About(_ struct{}, out *About) error {
	*out = w.about
	return nil
}

func (w *worker) Classify(texts []string, out *[]reply) error {
	answers, err := w.classifier.Classify(context.Background(), texts)
	for _, a := range answers {
		r := reply{Distribution: a.Distribution, Tokens: a.Tokens}
		if a.Err != nil {
			r.Err = a.Err.Error()
		}
		*out = append(*out, r)
	}
	return err
}

func (w *worker) Run(l workload.Load, out *workload.Measured) (err error) {
	*out, err = l.Run(context.Background(), w.classifier)
	return err
}

// pipe joins a process's standard streams into one.
type pipe struct {
	io.Reader
	io.WriteCloser
}

// work is the worker process: it serves until its standard input ends, and
// returns the exit code.
func work(key, rawConfig string, stdin io.Reader, stdout io.WriteCloser, stderr io.Writer) int {
	w, err := newWorker(key, rawConfig)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Worker", w); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	server.ServeConn(pipe{stdin, stdout})
	return exitOK
}

func newWorker(key, rawConfig string) (*worker, error) {
	var c config
	if err := json.Unmarshal([]byte(rawConfig), &c); err != nil {
		return nil, err
	}
	switch key {
	case cubbyInProcess:
		return newCubbyWorker(&c, load.Options{})
	case cubbyLlama, cubbyChild:
		return newCubbyWorker(&c, load.Options{Engine: load.LibLlama, Llama: load.Llama{Libraries: c.Libllama, InProcess: key == cubbyLlama, GPULayers: "0"}})
	case rawLibllama:
		return newLibllamaWorker(&c)
	}
	return nil, fmt.Errorf("no worker %q", key)
}

func newCubbyWorker(c *config, o load.Options) (*worker, error) {
	o.Home, o.Threads, o.QueueTokens = c.Home, c.Threads, math.MaxInt32
	m, err := load.Model(c.Model, o)
	if err != nil {
		return nil, err
	}
	t := target.Local(m, "")
	return &worker{t, About{Setup: engineOf(t)}}, nil
}

// startOnLibllama returns what starts Cubby with its engine on libllama.
func startOnLibllama(key string) func(context.Context, *bench) (*system, error) {
	return func(ctx context.Context, b *bench) (*system, error) {
		if b.config.Libllama == "" {
			return nil, errNoLibllama
		}
		return newWorkerSystem(ctx, key, b.config)
	}
}

// startWorker returns what starts this program as the worker of that key.
func startWorker(key string) func(context.Context, *bench) (*system, error) {
	return func(ctx context.Context, b *bench) (*system, error) {
		s, err := newWorkerSystem(ctx, key, b.config)
		if err == nil && key == cubbyInProcess {
			s.Version = b.report.Revision
		}
		return s, err
	}
}

func newWorkerSystem(ctx context.Context, key string, c *config) (*system, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var conn pipe
	p, err := startProcess(self, []string{workerCommand, key, string(raw)}, nil, func(cmd *exec.Cmd) (err error) {
		if conn.WriteCloser, err = cmd.StdinPipe(); err != nil {
			return err
		}
		conn.Reader, err = cmd.StdoutPipe()
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &remoteWorker{process: p, client: rpc.NewClient(conn)}
	s := &system{Classifier: r, process: p, run: r.run, close: r.close}
	if err := r.call(ctx, "About", struct{}{}, &s.About); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return s, nil
}

// remoteWorker is this process's end of a worker.
type remoteWorker struct {
	process *process
	client  *rpc.Client
}

func (r *remoteWorker) call(ctx context.Context, method string, in, out any) error {
	call := r.client.Go("Worker."+method, in, out, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(call.Error, io.ErrUnexpectedEOF) || errors.Is(call.Error, rpc.ErrShutdown) {
		<-r.process.done
		return fmt.Errorf("its process ended: %s", &r.process.log)
	}
	return call.Error
}

func (r *remoteWorker) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	var replies []reply
	if err := r.call(ctx, "Classify", texts, &replies); err != nil {
		return nil, err
	}
	answers := make([]eval.Answer, len(replies))
	for i, one := range replies {
		answers[i] = eval.Answer{Distribution: one.Distribution, Tokens: one.Tokens}
		if one.Err != "" {
			answers[i].Err = errors.New(one.Err)
		}
	}
	return answers, nil
}

func (r *remoteWorker) run(ctx context.Context, l workload.Load) (m workload.Measured, err error) {
	err = r.call(ctx, "Run", l, &m)
	return m, err
}

func (r *remoteWorker) close() error {
	r.client.Close() // fails only where the worker has closed it already
	return r.process.Close()
}
