package ollama

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ollama/ollama/api"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/remote"
)

// server asks about one model of an Ollama.
type server struct {
	name      string // for errors
	client    *api.Client
	model     string
	digest    string // of the model when it was opened
	context   int
	keepAlive time.Duration
	tok       engine.Tokenizer
	end       string       // text of the end-of-answer token
	bos       labels.Token // first token that the server puts before each prompt; -1 for none
}

// generate asks one question, with a raw prompt.
func (s *server) generate(ctx context.Context, prompt string, predict int, format json.RawMessage, logprobs bool) (*api.GenerateResponse, error) {
	no := false
	req := &api.GenerateRequest{
		Model: s.model, Prompt: prompt, Raw: true, Stream: &no, Format: format,
		// A prompt that is too long is an error, not another prompt.
		Truncate: &no, Shift: &no,
		Logprobs: logprobs,
		// Equal options in all questions: others would have the model loaded anew.
		Options: map[string]any{"num_predict": predict, "temperature": 0, "num_ctx": s.context},
	}
	if logprobs {
		req.TopLogprobs = topTokens
	}
	if s.keepAlive != 0 {
		req.KeepAlive = &api.Duration{Duration: s.keepAlive}
	}
	var resp *api.GenerateResponse
	err := s.client.Generate(ctx, req, func(r api.GenerateResponse) error {
		resp = &r
		return nil
	})
	switch {
	case err != nil:
		return nil, s.failure(ctx, err)
	case resp == nil || !resp.Done:
		return nil, s.unreadable("the answer to a question has no end")
	}
	return resp, nil
}

// failure makes an *remote.Error of what the client returned, unless the caller left.
// The client makes the text of an answer that it cannot read its error: that text
// may hold a customer's, and is left out.
func (s *server) failure(ctx context.Context, err error) error {
	if left := ctx.Err(); left != nil {
		return left
	}
	e := remote.As(err, s.name)
	switch {
	case e.Fault == remote.Unreadable && e.Message == "":
		return s.unreadable("it does not answer with the JSON that it should")
	case e.Fault == remote.Missing:
		missing := *e
		missing.Do = fmt.Sprintf("bring %s there again, as opening the model does, or correct its name", s.model)
		return &missing
	}
	return e
}

func (s *server) unreadable(why string) *remote.Error {
	return &remote.Error{Fault: remote.Unreadable, Server: s.name, Message: why}
}

// Probe looks whether the server still has the model that was opened.
func (s *server) Probe(ctx context.Context) error {
	m, err := s.find(ctx)
	switch {
	case err != nil:
		return err
	case m == nil:
		return s.missing("bring it there again, as opening the model does")
	case m.Digest != s.digest:
		return &remote.Error{Fault: remote.Missing, Server: s.name, Message: s.model + " is another one than it was", Do: "open the model anew"}
	}
	return nil
}

func (s *server) missing(do string) error {
	return &remote.Error{Fault: remote.Missing, Server: s.name, Message: s.model, Do: do}
}

// find returns the model's entry in the server's list; nil where it does not have it.
func (s *server) find(ctx context.Context) (*api.ListModelResponse, error) {
	list, err := s.client.List(ctx)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	for i, m := range list.Models {
		if strings.EqualFold(m.Name, s.model) {
			if m.Digest == "" {
				return nil, s.unreadable("its list of models has no digests")
			}
			return &list.Models[i], nil
		}
	}
	return nil, nil
}

// version is the server's; empty where it does not tell.
func (s *server) version(ctx context.Context) string {
	v, err := s.client.Version(ctx)
	if err != nil {
		return ""
	}
	return v
}

// device says where the model was loaded. Where all of its memory counts as a GPU's
// the server may have none: llama-server's report is read so on some machines.
func (s *server) device(ctx context.Context) string {
	list, err := s.client.ListRunning(ctx)
	if err != nil {
		return "server"
	}
	for _, m := range list.Models {
		switch {
		case !strings.EqualFold(m.Name, s.model):
		case m.SizeVRAM == 0:
			return "cpu"
		case m.SizeVRAM < m.Size:
			return "cpu+gpu"
		}
	}
	return "server"
}
