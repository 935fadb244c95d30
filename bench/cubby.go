package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"

	"cubby/internal/client"
	"cubby/internal/target"
)

// startServer builds the real classify-server and runs it with its defaults.
func startServer(ctx context.Context, b *bench) (s *system, err error) {
	dir, err := os.MkdirTemp("", "cubby-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	program := filepath.Join(dir, "classify-server")
	if goruntime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "cubby/cmd/classify-server").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"-addr", addr, "-threads", strconv.Itoa(b.config.Threads)}
	for flag, value := range map[string]string{"-model": b.config.Model, "-home": b.config.Home} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	p, err := startProcess(program, args, nil, nil)
	if err != nil {
		return nil, err
	}
	s, err = connect(ctx, p, "http://"+addr)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	s.Version = b.report.Revision
	s.close = func() error { return errors.Join(p.Close(), os.RemoveAll(dir)) }
	return s, nil
}

func connect(ctx context.Context, p *process, url string) (*system, error) {
	if err := p.ready(ctx, url+"/readyz"); err != nil {
		return nil, err
	}
	c, err := client.New(url, os.Getenv("CUBBY_API_KEY"))
	if err != nil {
		return nil, err
	}
	t, err := target.Remote(ctx, c, "", "")
	if err != nil {
		return nil, err
	}
	return &system{Classifier: t, process: p, About: About{Setup: "classify-server with its defaults, " + engineOf(t)}}, nil
}

func engineOf(t target.Target) string {
	f := t.Facts()
	return fmt.Sprintf("engine %s, kernel %s, scoring %s", f.Engine.Engine, f.Engine.Kernel, f.Scoring)
}
