package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"cubby/runtime/remote"
)

// server speaks the protocol.
type server struct {
	base      *url.URL // with the version, below which /chat/completions lies
	key       string
	keyFrom   string
	model     string
	maxTokens int
	formats   []json.RawMessage
	transport *remote.Transport
	client    *http.Client
	listed    bool // /v1/models named the model when it was opened

	mu          sync.Mutex
	owner, mark string // who serves the model, and the build, as the server tells
}

// slack is what an answer may take beyond the label: its JSON, and a fence around that.
const slack = 64

func newServer(opt Options) (*server, error) {
	base, err := remote.ParseURL(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	if !versioned.MatchString(base.Path) {
		base.Path += "/v1"
	}
	t := &remote.Transport{Base: remote.Base(opt.HTTP, opt.Slots), Server: "chat server at " + base.String(), Missing: true}
	s := &server{base: base, key: opt.Key, keyFrom: opt.KeyFrom, model: opt.Model, maxTokens: opt.MaxTokens, formats: formats(opt.Labels), transport: t, client: t.Client()}
	if s.maxTokens == 0 {
		for _, name := range opt.Labels.Names() {
			s.maxTokens = max(s.maxTokens, len(ascii(name))+slack) // no token is empty
		}
	}
	return s, nil
}

// versioned finds a path that says the version of the API: /v1, /openai/v1, /api/v4.
var versioned = regexp.MustCompile(`(^|/)v[0-9][^/]*(/|$)`)

// call sends one request and decodes its answer.
func (s *server) call(ctx context.Context, method, path string, in, out any) error {
	req, err := remote.NewRequest(ctx, method, s.base.String()+path, s.key, in)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return s.blame(err)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return &remote.Error{Fault: remote.Unreadable, Server: s.transport.Server, Message: "it is not the JSON of a chat server", Err: err}
	}
	return nil
}

// complete asks for one answer.
func (s *server) complete(ctx context.Context, messages []message, t terms) (*reply, error) {
	in := request{Model: s.model, Messages: messages, ResponseFormat: s.formats[t[formatTerm]]}
	if n := t.alternatives(); n > 0 {
		in.Logprobs, in.TopLogprobs = true, n
	}
	if t[warmthTerm] == 0 {
		in.Temperature = new(float64)
	}
	switch t.limit() {
	case "max_tokens":
		in.MaxTokens = s.maxTokens
	case "max_completion_tokens":
		in.MaxCompletionTokens = s.maxTokens
	}
	var out reply
	if err := s.call(ctx, http.MethodPost, "/chat/completions", in, &out); err != nil {
		return nil, err
	}
	if out.Error != nil && len(out.Choices) == 0 {
		return nil, s.refusal(&out)
	}
	if len(out.Choices) == 0 {
		return nil, &remote.Error{Fault: remote.Unreadable, Server: s.transport.Server, Message: "it has no choices"}
	}
	s.told(out.Fingerprint)
	return &out, nil
}

// told keeps the build that an answer names.
func (s *server) told(fingerprint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fingerprint != "" {
		s.mark = printable(fingerprint)
	}
}

// program names the server's program and build, as far as it tells.
func (s *server) program() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(s.owner + " " + s.mark)
}

// printable keeps what of a server's words can stand in a log line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return bounded(s, 40)
}

// bounded cuts a server's words to a length, in one line.
func bounded(s string, most int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
