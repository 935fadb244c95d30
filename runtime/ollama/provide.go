package ollama

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ollama/ollama/api"

	"cubby/models"
)

// provide finds the model, after bringing it to the server where that is needed and
// allowed.
func (s *server) provide(ctx context.Context, opt Options) error {
	m, err := s.find(ctx)
	if err == nil && m == nil {
		if err = s.bring(ctx, opt); err == nil {
			m, err = s.find(ctx)
		}
	}
	if err == nil && m == nil {
		err = s.missing("the server said that it has it now; look into its log")
	}
	if err == nil {
		s.model, s.digest = m.Name, m.Digest
	}
	return err
}

// bring has the model pulled or created.
func (s *server) bring(ctx context.Context, opt Options) error {
	switch {
	case opt.Model != "" && opt.Pull:
		no := false
		if err := s.client.Pull(ctx, &api.PullRequest{Model: s.model, Stream: &no}, func(api.ProgressResponse) error { return nil }); err != nil {
			return fmt.Errorf("pull %s: %w", s.model, s.failure(ctx, err))
		}
		return nil
	case opt.Model != "":
		return s.missing("`ollama pull " + s.model + "`, or allow pulling, or correct the name")
	case opt.GGUF == "":
		return s.missing("this model has no GGUF file to create it from: import it as GGUF, or name a model that is there")
	}
	return s.create(ctx, opt)
}

// create uploads the weights, by their digest, and names them with the prompt and the
// parameters that the model was trained with.
func (s *server) create(ctx context.Context, opt Options) (err error) {
	f, err := os.Open(opt.GGUF)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	digest, err := digestOf(f)
	if err != nil {
		return err
	}
	// The client's connection closes what it was given to read.
	if err := s.client.CreateBlob(ctx, digest, io.NopCloser(f)); err != nil {
		return fmt.Errorf("upload %s: %w", opt.GGUF, s.failure(ctx, err))
	}
	no := false
	parameters := map[string]any{"temperature": 0, "num_ctx": opt.wantedContext()}
	if end := opt.Manifest.Answer.End; end != "" {
		parameters["stop"] = []string{end}
	}
	err = s.client.Create(ctx, &api.CreateRequest{
		Model: s.model, Files: map[string]string{"model.gguf": digest}, Template: template(opt.Manifest.Prompt), Parameters: parameters, Stream: &no,
	}, func(api.ProgressResponse) error { return nil })
	if err != nil {
		return fmt.Errorf("create %s: %w", s.model, s.failure(ctx, err))
	}
	return nil
}

func (o *Options) wantedContext() int {
	if o.Context > 0 {
		return o.Context
	}
	return DefaultContext
}

// digestOf hashes a file and goes back to its start.
func digestOf(f io.ReadSeeker) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	_, err := f.Seek(0, io.SeekStart)
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), err
}

// template is the prompt in Go's template syntax, for those who chat with the model
// through Ollama itself.
func template(p models.Prompt) string {
	return literal(p.Prefix) + "{{ .Prompt }}" + literal(p.Suffix)
}

// literal writes text so that a template renders it as it is: opening braces become
// actions of their own, also single ones, which could join the delimiter behind them.
func literal(text string) string {
	var b strings.Builder
	for text != "" {
		i := strings.IndexByte(text, '{')
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		n := len(text[i:]) - len(strings.TrimLeft(text[i:], "{"))
		b.WriteString("{{ " + strconv.Quote(text[i:i+n]) + " }}")
		text = text[i+n:]
	}
	return b.String() + text
}

// facts are what the server knows of the model.
type facts struct {
	architecture           string
	layers, width, trained int
	numCtx                 int // of its own parameters; 0 for none
	bos                    int // id of its first token; -1 for none
}

func (s *server) facts(ctx context.Context) (facts, error) {
	show, err := s.client.Show(ctx, &api.ShowRequest{Model: s.model})
	if err != nil {
		return facts{}, s.failure(ctx, err)
	}
	if show.RemoteHost != "" {
		return facts{}, fmt.Errorf("%s runs %s on %s: texts would leave for there; name a model that runs on the server itself", s.name, s.model, show.RemoteHost)
	}
	f := facts{bos: -1}
	f.architecture, _ = show.ModelInfo["general.architecture"].(string)
	number := func(key string, absent int) int {
		if v, ok := show.ModelInfo[key].(float64); ok {
			return int(v)
		}
		return absent
	}
	f.layers = number(f.architecture+".block_count", 0)
	f.width = number(f.architecture+".embedding_length", 0)
	f.trained = number(f.architecture+".context_length", 0)
	f.bos = number("tokenizer.ggml.bos_token_id", -1)
	for line := range strings.Lines(show.Parameters) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "num_ctx" {
			f.numCtx, _ = strconv.Atoi(fields[1])
		}
	}
	return f, nil
}

// contextFor is the context to ask with: what is wanted, or the model's own, but
// no more than it was trained for.
func (f facts) contextFor(wanted int) int {
	if wanted == 0 {
		wanted = f.numCtx
	}
	if wanted == 0 {
		wanted = DefaultContext
	}
	if f.trained > 0 {
		wanted = min(wanted, f.trained)
	}
	return wanted
}
