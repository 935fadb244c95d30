package chat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cubby/runtime/remote"
)

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
