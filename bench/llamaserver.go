package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"cubby/eval"
)

// startLlamaServer runs llama.cpp's server as its documentation advises for
// this use: parallel slots, the prompt cached in each, temperature 0, and a
// grammar of the labels, so that it answers with a label as Cubby does.
func startLlamaServer(ctx context.Context, b *bench) (*system, error) {
	gguf, err := b.student.gguf()
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, b.config.LlamaServer, "--version").CombinedOutput()
	if err != nil {
		return nil, notThere("llama-server", "CUBBY_BENCH_LLAMA_SERVER", err)
	}
	p, url, err := startListening(b.config.LlamaServer, func(host, port string) ([]string, []string) {
		return []string{
			"--model", gguf, "--host", host, "--port", port, "--threads", strconv.Itoa(b.config.Threads),
			"--parallel", strconv.Itoa(b.config.Slots), "--ctx-size", strconv.Itoa(b.config.Slots * b.config.Context),
			"--n-gpu-layers", "0",
		}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, url+"/health"); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &system{
		Classifier: llamaServerClassifier(url, b.student), process: p,
		About: About{llamaVersion(version), fmt.Sprintf("/completion with a grammar of the labels, cache_prompt, %d slots of %d tokens", b.config.Slots, b.config.Context)},
	}, nil
}

func llamaServerClassifier(url string, s *student) eval.Classifier {
	type request struct {
		Prompt      string   `json:"prompt"`
		Grammar     string   `json:"grammar"`
		CachePrompt bool     `json:"cache_prompt"`
		Temperature float64  `json:"temperature"`
		NPredict    int      `json:"n_predict"`
		Stop        []string `json:"stop"`
	}
	client, base := newHTTPClient(), request{Grammar: s.grammar(), CachePrompt: true, NPredict: s.answerTokens(), Stop: s.stops()}
	return textByText(func(ctx context.Context, text string) (eval.Answer, error) {
		in, out := base, struct{ Content string }{}
		in.Prompt = s.prompt(text)
		if err := post(ctx, client, url+"/completion", in, &out); err != nil {
			return eval.Answer{}, err
		}
		return s.answer(out.Content), nil
	})
}

var versionLine = regexp.MustCompile(`version: (.*)`)

func llamaVersion(out []byte) string {
	if m := versionLine.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "unknown"
}
