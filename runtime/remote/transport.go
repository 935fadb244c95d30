package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody is the most of an answer that is read: the log probabilities of a
	// hundred thousand tokens.
	maxBody = 16 << 20
	// maxMessage is the most of a server's own words that an error repeats.
	maxMessage = 300
)

// Transport is an http.RoundTripper for questions with short answers. It reads each
// answer whole, up to a bound, and makes an *Error of everything that is not one: a
// connection that breaks in mid-answer, a body without end, a status of 300 and
// more. Clients that know none of that can so be used on top.
type Transport struct {
	Base   http.RoundTripper
	Server string // for the errors
	// Missing is whether the server says 404 for a model that it does not have.
	Missing bool
}

// RoundTrip sends one request.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(req)
	if err != nil {
		return nil, t.broken(req, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	switch {
	case err != nil:
		return nil, t.broken(req, fmt.Errorf("the answer broke off: %w", err))
	case len(body) > maxBody:
		return nil, &Error{Fault: Unreadable, Server: t.Server, Message: fmt.Sprintf("the answer has more than %d MiB", maxBody>>20)}
	case resp.StatusCode >= http.StatusMultipleChoices:
		return nil, t.status(resp, body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// broken tells a connection that failed from a caller who left.
func (t *Transport) broken(req *http.Request, err error) error {
	if ctx := req.Context().Err(); ctx != nil {
		return ctx
	}
	if found := As(err, t.Server); found.Fault == Slow {
		return found
	}
	return &Error{Fault: Unreachable, Server: t.Server, Err: err}
}

func (t *Transport) status(resp *http.Response, body []byte) error {
	e := &Error{Fault: Refused, Server: t.Server, Status: resp.StatusCode, Message: message(body), Said: body, After: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	switch code := resp.StatusCode; {
	case outOfMemory(e.Message):
		e.Fault = Memory
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		e.Fault = Busy
	case code >= 500:
		e.Fault = Broken
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.Fault = Denied
	case code == http.StatusNotFound && t.Missing:
		e.Fault = Missing
	case code == http.StatusNotFound:
		e.Fault = Unreadable // another program listens there
	case code < 400:
		e.Fault, e.Message = Refused, "it sends to another address, "+resp.Header.Get("Location")
		e.Do = "give the address that it means"
	}
	if repeats(e.Message, asked(resp.Request)) {
		e.Message = "its words repeat the question, and are left out"
	}
	return e
}

// asked is the body of a request, "" where it cannot be had again.
func asked(req *http.Request) string {
	if req == nil || req.GetBody == nil {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	defer body.Close()
	data, _ := io.ReadAll(body) // it lies in memory
	return string(data)
}

// repeated is how many characters in a row, but for white space, are no accident.
const repeated = 24

// repeats says whether words hold a piece of a question: texts must not get into
// errors, which are logged.
func repeats(words, question string) bool {
	words, question = strings.Join(strings.Fields(words), ""), strings.Join(strings.Fields(question), "")
	for i := 0; i+repeated <= len(words); i++ {
		if strings.Contains(question, words[i:i+repeated]) {
			return true
		}
	}
	return false
}

// message finds the words in {"error": "…"}, {"error": {"message": "…"}},
// {"message": "…"} or text.
func message(body []byte) string {
	var flat struct{ Error, Message string }
	var deep struct{ Error struct{ Message string } }
	text := string(body)
	if json.Unmarshal(body, &flat) == nil && flat.Error != "" {
		text = flat.Error
	} else if json.Unmarshal(body, &deep) == nil && deep.Error.Message != "" {
		text = deep.Error.Message
	} else if flat.Message != "" {
		text = flat.Message
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// outOfMemory knows how llama.cpp, its backends and Ollama say it.
func outOfMemory(message string) bool {
	m := strings.ToLower(message)
	for _, words := range []string{"out of memory", "out-of-memory", "outofmemory", "more system memory", "insufficient memory", "cudamalloc", "unable to allocate", "failed to allocate", "not enough memory"} {
		if strings.Contains(m, words) {
			return true
		}
	}
	return false
}

// retryAfter reads the header's two forms, seconds and a date (RFC 9110, 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Client returns a client that sends through a Transport. It follows nobody
// elsewhere, because a redirect is an error there: texts and keys go to the address
// that was given, or nowhere.
func (t *Transport) Client() *http.Client { return &http.Client{Transport: t} }

// CloseIdle closes the connections that nobody uses.
func (t *Transport) CloseIdle() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
