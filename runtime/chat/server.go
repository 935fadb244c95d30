package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

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
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base.String()+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
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

// blame makes a failure say what helps with a server of this kind.
func (s *server) blame(err error) error {
	e, known := errors.AsType[*remote.Error](err)
	if !known {
		return err
	}
	said := strings.ToLower(e.Message + " " + codeOf(e.Said))
	switch {
	case e.Fault == remote.Denied:
		e.Do = fmt.Sprintf("set %s to a key that this server and this model take", s.keyFrom)
	case strings.Contains(said, "model_not_found"):
		e.Fault = remote.Missing
	case e.Fault == remote.Missing && !strings.Contains(said, "model"):
		e.Fault, e.Do = remote.Unreadable, "correct its address: below it must lie /v1/chat/completions"
	case e.Status == http.StatusNotImplemented:
		e.Fault = remote.Refused // it will not be implemented by the next try
	case e.Fault == remote.Busy && strings.Contains(said, "insufficient_quota"):
		e.Fault, e.Do = remote.Refused, "the account has no credit left: add some, or use another key"
	}
	return e
}

// codeOf is what {"error": {"code": …, "type": …}} tells a program.
func codeOf(body []byte) string {
	var said struct {
		Error struct{ Code, Type any }
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	return fmt.Sprint(said.Error.Code, " ", said.Error.Type)
}

// tooLong says whether a text does not fit the model's context. Servers have no common
// code for that.
func tooLong(e *remote.Error) bool {
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		return true
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
	default:
		return false
	}
	said := strings.ToLower(e.Message + " " + codeOf(e.Said))
	for _, words := range []string{"context size", "context length", "context_length", "context_size", "maximum context", "max context", "context window", "prompt is too long", "input is too long"} {
		if strings.Contains(said, words) {
			return true
		}
	}
	return false
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

// refusal is an error that came as an answer, as from servers that pass questions on.
func (s *server) refusal(r *reply) error {
	e := &remote.Error{Fault: remote.Broken, Server: s.transport.Server, Message: bounded(r.Error.Message, 300)}
	var code int
	if json.Unmarshal(r.Error.Code, &code) == nil {
		switch {
		case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
			e.Fault = remote.Busy
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			e.Fault = remote.Denied
		case code >= 400 && code < 500:
			e.Fault, e.Status = remote.Refused, code
		}
	}
	return s.blame(e)
}

// listing is what GET /v1/models tells.
type listing struct {
	Data []struct {
		ID    string `json:"id"`
		Owner string `json:"owned_by"`
	} `json:"data"`
}

func (s *server) list(ctx context.Context) (listing, error) {
	var l listing
	err := s.call(ctx, http.MethodGet, "/models", nil, &l)
	return l, err
}

// findTimeout bounds how long a server may take to list its models.
const findTimeout = 10 * time.Second

// find chooses the model where none is named, and remembers whether the server lists
// it. Some servers list nothing, or know more names than they list.
func (s *server) find(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	l, err := s.list(short)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		switch e := remote.As(err, s.transport.Server); {
		case e.Fault == remote.Denied || e.Fault == remote.Unreachable || e.Fault == remote.Slow:
			return e
		case s.model == "":
			return fmt.Errorf("name the model to ask for: the server does not say which it has: %w", e)
		}
		return nil
	}
	if s.model == "" {
		if s.model, err = l.only(); err != nil {
			return fmt.Errorf("%s: %w", s.transport.Server, err)
		}
	}
	for _, m := range l.Data {
		if m.ID == s.model {
			s.listed, s.owner = true, printable(m.Owner)
		}
	}
	return nil
}

// only is the name of the only model.
func (l *listing) only() (string, error) {
	switch len(l.Data) {
	case 0:
		return "", errors.New("it lists no model: name the one to ask for, or load one there")
	case 1:
		return l.Data[0].ID, nil
	}
	const shown = 5
	var names []string
	for _, m := range l.Data[:min(len(l.Data), shown)] {
		names = append(names, fmt.Sprintf("%.60q", m.ID))
	}
	if len(l.Data) > shown {
		names = append(names, fmt.Sprintf("%d more", len(l.Data)-shown))
	}
	return "", fmt.Errorf("it has several models: name the one to ask for: %s", strings.Join(names, ", "))
}

// look asks whether the server is there and still lists what it listed. A server that
// lists nothing is there if it says so.
func (s *server) look(ctx context.Context) error {
	l, err := s.list(ctx)
	if err != nil {
		e := remote.As(err, s.transport.Server)
		if !s.listed && (e.Fault == remote.Missing || e.Fault == remote.Refused || e.Fault == remote.Unreadable) {
			return nil
		}
		return e
	}
	for _, m := range l.Data {
		if m.ID == s.model {
			return nil
		}
	}
	if !s.listed {
		return nil
	}
	return &remote.Error{Fault: remote.Missing, Server: s.transport.Server, Message: fmt.Sprintf("it no longer lists %.100q", s.model)}
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
