package llamaserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"cubby/labels"
	"cubby/runtime/remote"
)

// server speaks the protocol.
type server struct {
	base      *url.URL
	key       string
	transport *remote.Transport
	client    *http.Client
	opened    props // what it ran when it was opened
}

func newServer(opt Options) (*server, error) {
	base, err := remote.ParseURL(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("llama-server: %w", err)
	}
	t := &remote.Transport{Base: remote.Base(opt.HTTP, opt.Slots), Server: "llama-server at " + base.String()}
	return &server{base: base, key: opt.Key, transport: t, client: t.Client()}, nil
}

// props is what GET /props tells.
type props struct {
	Settings struct {
		Context int `json:"n_ctx"` // of one slot
	} `json:"default_generation_settings"`
	Slots int    `json:"total_slots"`
	Model string `json:"model_path"`
	Alias string `json:"model_alias"`
	Build string `json:"build_info"`
}

func (s *server) props(ctx context.Context) (props, error) {
	var p props
	if err := s.call(ctx, http.MethodGet, "/props", nil, &p); err != nil {
		return p, err
	}
	if p.Settings.Context == 0 || p.Slots == 0 {
		return p, s.unreadable("its /props name no n_ctx or total_slots")
	}
	return p, nil
}

// Probe looks whether the server still runs what it ran when it was opened.
func (s *server) Probe(ctx context.Context) error {
	p, err := s.props(ctx)
	if err != nil {
		return err
	}
	if p.Model != s.opened.Model || p.Alias != s.opened.Alias {
		return &remote.Error{Fault: remote.Missing, Server: s.transport.Server, Message: fmt.Sprintf("it now serves %.100q", p.Model),
			Do: "start it with this model again, or open the model anew"}
	}
	if p.Settings.Context < s.opened.Settings.Context {
		return &remote.Error{Fault: remote.Missing, Server: s.transport.Server, Message: fmt.Sprintf("its context is now %d tokens, not %d", p.Settings.Context, s.opened.Settings.Context),
			Do: "start it with the context that it had, or open the model anew"}
	}
	return nil
}

// width is the length of a hidden state; 0 where the server does not tell.
func (s *server) width(ctx context.Context) int {
	var list struct {
		Data []struct {
			Meta struct {
				Width int `json:"n_embd"`
			} `json:"meta"`
		} `json:"data"`
	}
	if s.call(ctx, http.MethodGet, "/v1/models", nil, &list) != nil || len(list.Data) == 0 {
		return 0
	}
	return list.Data[0].Meta.Width
}

func (s *server) tokenize(ctx context.Context, text string) ([]labels.Token, error) {
	in := map[string]any{"content": text, "add_special": false, "parse_special": true}
	var out struct {
		Tokens []labels.Token `json:"tokens"`
	}
	err := s.call(ctx, http.MethodPost, "/tokenize", in, &out)
	return out.Tokens, err
}

// call sends in as JSON, if there is any, and reads the answer into out.
func (s *server) call(ctx context.Context, method, path string, in, out any) error {
	req, err := remote.NewRequest(ctx, method, s.base.String()+path, s.key, in)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if left := ctx.Err(); left != nil {
			return left
		}
		return remote.As(err, s.transport.Server)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return s.unreadable(fmt.Sprintf("%s does not answer with the JSON that it should", path))
	}
	return nil
}

func (s *server) unreadable(why string) error {
	return &remote.Error{Fault: remote.Unreadable, Server: s.transport.Server, Message: why}
}
