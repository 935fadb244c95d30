package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"

	"cubby/eval"
)

//go:embed transformers.py
var transformersScript string

// pipelineBatch is the batch size of the platform's own tutorial.
const pipelineBatch = 16

// startTransformers runs Hugging Face's text-classification pipeline in
// float32 on a sequence classifier of the same labels: other weights, another
// head, no prompt.
func startTransformers(ctx context.Context, b *bench) (*system, error) {
	if b.config.Seqcls == "" {
		return nil, errors.New("no model for it: name a sequence classifier with -seqcls")
	}
	m, err := openModel(b.config.Home, b.config.Seqcls)
	if err != nil {
		return nil, err
	}
	folder := m.Folder()
	if err := m.Close(); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, b.config.Python, "-c", "import torch, transformers").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("no torch and transformers: name a python that has them with -python or CUBBY_BENCH_PYTHON (%w: %.100s)", err, out)
	}
	py, err := startPython(b.config.Python, folder, b.config.Threads)
	if err != nil {
		return nil, err
	}
	var hello struct{ Version string }
	if err := py.ask(nil, &hello); err != nil {
		return nil, errors.Join(err, py.process.Close())
	}
	score := func(texts []string) ([]eval.Answer, error) {
		var names []string
		if err := py.ask(texts, &names); err != nil {
			return nil, err
		}
		answers := make([]eval.Answer, len(names))
		for i, name := range names {
			answers[i] = b.student.label(name)
		}
		return answers, nil
	}
	return &system{
		Classifier: newBatcher(pipelineBatch, score), process: py.process,
		About: About{hello.Version, fmt.Sprintf("text-classification pipeline on the sequence classifier %s, float32, batches of up to %d", m.Manifest.Name, pipelineBatch)},
	}, nil
}

// python is the pipeline's process: a line of JSON in, a line of JSON out.
type python struct {
	process *process
	in      *json.Encoder
	out     *bufio.Reader
}

func startPython(program, folder string, threads int) (*python, error) {
	py := &python{}
	var err error
	py.process, err = startProcess(program, []string{"-c", transformersScript, folder, strconv.Itoa(threads)}, []string{"HF_HUB_OFFLINE=1"}, func(cmd *exec.Cmd) error {
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		py.in, py.out = json.NewEncoder(in), bufio.NewReader(out)
		return err
	})
	return py, err
}

// ask sends a line, unless in is nil, and reads one.
func (py *python) ask(in, out any) error {
	if in != nil {
		if err := py.in.Encode(in); err != nil {
			return fmt.Errorf("its process ended: %s", &py.process.log)
		}
	}
	line, err := py.out.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("its process ended: %s", &py.process.log)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, out)
}
