package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"cubby/eval"
)

// ollamaModel is what the student is called there.
const ollamaModel = "student"

// startOllama runs Ollama on the same weights with a store of its own, and
// generates raw: the prompt is ours to the byte, and no grammar holds it.
func startOllama(ctx context.Context, b *bench) (s *system, err error) {
	gguf, err := b.student.gguf()
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, b.config.Ollama, "--version").Output()
	if err != nil {
		return nil, notThere("ollama", "CUBBY_BENCH_OLLAMA", err)
	}
	dir, err := os.MkdirTemp("", "cubby-bench-")
	if err != nil {
		return nil, err
	}
	p, url, err := startListening(b.config.Ollama, func(host, port string) ([]string, []string) {
		return []string{"serve"}, []string{
			"OLLAMA_HOST=" + host + ":" + port, "OLLAMA_MODELS=" + dir, "HOME=" + dir, "OLLAMA_NUM_PARALLEL=" + strconv.Itoa(b.config.Slots),
			"OLLAMA_KEEP_ALIVE=-1", "OLLAMA_MAX_QUEUE=4096",
		}
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() error { return errors.Join(p.Close(), os.RemoveAll(dir)) }
	if err := p.ready(ctx, url+"/api/version"); err != nil {
		return nil, errors.Join(err, stop())
	}
	if err := createOllamaModel(ctx, url, gguf); err != nil {
		return nil, errors.Join(err, stop())
	}
	return &system{
		Classifier: ollamaClassifier(url, b.student, b.config), process: p, close: stop,
		About: About{ollamaVersion(version, b.config.Ollama), fmt.Sprintf("/api/generate, raw, OLLAMA_NUM_PARALLEL=%d, num_ctx %d", b.config.Slots, b.config.Context)},
	}, nil
}

// createOllamaModel uploads the weights and names them.
func createOllamaModel(ctx context.Context, url, gguf string) error {
	f, err := os.Open(gguf)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	digest := fmt.Sprintf("sha256:%x", sum.Sum(nil))
	if err := send(ctx, http.DefaultClient, url+"/api/blobs/"+digest, f, nil); err != nil {
		return err
	}
	return post(ctx, http.DefaultClient, url+"/api/create", map[string]any{
		"model": ollamaModel, "files": map[string]string{"model.gguf": digest}, "stream": false,
	}, nil)
}

func ollamaClassifier(url string, s *student, c *config) eval.Classifier {
	client := newHTTPClient()
	options := map[string]any{
		"temperature": 0, "num_predict": s.answerTokens(), "stop": s.stops(),
		"num_ctx": c.Context, "num_thread": c.Threads, "num_gpu": 0,
	}
	return textByText(func(ctx context.Context, text string) (eval.Answer, error) {
		var out struct{ Response string }
		err := post(ctx, client, url+"/api/generate", map[string]any{
			"model": ollamaModel, "prompt": s.prompt(text), "raw": true, "stream": false, "options": options,
		}, &out)
		if err != nil {
			return eval.Answer{}, err
		}
		return s.answer(out.Response), nil
	})
}

// ollamaVersion takes the number out of "client version is 0.1.2" or the like.
// A program built from source says 0.0.0; then its module knows better.
func ollamaVersion(out []byte, program string) string {
	fields := strings.Fields(string(out))
	if len(fields) > 0 && fields[len(fields)-1] != "0.0.0" {
		return fields[len(fields)-1]
	}
	if path, err := exec.LookPath(program); err == nil {
		if info, err := buildinfo.ReadFile(path); err == nil {
			return info.Main.Version
		}
	}
	return "unknown"
}
