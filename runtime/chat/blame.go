package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cubby/runtime/remote"
)

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
