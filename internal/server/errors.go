package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"cubby/runtime"
)

// Codes of failures that the runtime does not know. They are as stable as the
// runtime's own.
const (
	codeBadJSON      runtime.Code = "bad_json"        // not JSON, or data behind it
	codeWrongType    runtime.Code = "wrong_type"      // a field of another JSON type
	codeUnknownField runtime.Code = "unknown_field"   // a field that does not exist
	codeDuplicate    runtime.Code = "duplicate_field" // a field given twice
	codeMissingField runtime.Code = "missing_field"   // no "input", or an item without "text"
	codeBadValue     runtime.Code = "bad_value"       // the right type, an impossible value
	codeTooManyItems runtime.Code = "too_many_items"
	codeBodyTooLarge runtime.Code = "body_too_large"
	codeBodyTimeout  runtime.Code = "body_timeout" // the body came too slowly
	codeBodyBroken   runtime.Code = "body_broken"  // the body ended early
	codeEncoding     runtime.Code = "unsupported_encoding"
	codeMediaType    runtime.Code = "unsupported_media_type"
	codeUnknownModel runtime.Code = "unknown_model"
	codeNotFound     runtime.Code = "not_found"
	codeMethod       runtime.Code = "method_not_allowed"
	codeUnauthorized runtime.Code = "unauthorized"
	codeCrossOrigin  runtime.Code = "cross_origin" // a web page of another site asks
	codeBadHost      runtime.Code = "bad_host"     // a name that is not this machine's
	codeStarting     runtime.Code = "starting"
	codeInternal     runtime.Code = "internal"
)

// statusClientLeft is read by nobody but logs and metrics.
const statusClientLeft = 499

// statuses maps each code to its HTTP status. Nothing else chooses one.
var statuses = map[runtime.Code]int{
	runtime.CodeEmptyText:    http.StatusBadRequest,
	runtime.CodeInvalidUTF8:  http.StatusBadRequest,
	runtime.CodeTextTooLong:  http.StatusRequestEntityTooLarge,
	runtime.CodeBadScoring:   http.StatusBadRequest,
	runtime.CodeTextRefused:  http.StatusUnprocessableEntity,
	runtime.CodeOverloaded:   http.StatusServiceUnavailable,
	runtime.CodeDraining:     http.StatusServiceUnavailable,
	runtime.CodeDeadline:     http.StatusGatewayTimeout,
	runtime.CodeCanceled:     statusClientLeft,
	runtime.CodeEngineFailed: http.StatusInternalServerError,
	runtime.CodeUnavailable:  http.StatusServiceUnavailable,

	codeBadJSON:      http.StatusBadRequest,
	codeWrongType:    http.StatusBadRequest,
	codeUnknownField: http.StatusBadRequest,
	codeDuplicate:    http.StatusBadRequest,
	codeMissingField: http.StatusBadRequest,
	codeBadValue:     http.StatusBadRequest,
	codeTooManyItems: http.StatusRequestEntityTooLarge,
	codeBodyTooLarge: http.StatusRequestEntityTooLarge,
	codeBodyTimeout:  http.StatusRequestTimeout,
	codeBodyBroken:   http.StatusBadRequest,
	codeEncoding:     http.StatusUnsupportedMediaType,
	codeMediaType:    http.StatusUnsupportedMediaType,
	codeUnknownModel: http.StatusNotFound,
	codeNotFound:     http.StatusNotFound,
	codeMethod:       http.StatusMethodNotAllowed,
	codeUnauthorized: http.StatusUnauthorized,
	codeCrossOrigin:  http.StatusForbidden,
	codeBadHost:      http.StatusMisdirectedRequest,
	codeStarting:     http.StatusServiceUnavailable,
	codeInternal:     http.StatusInternalServerError,
}

// failure is an error as the client sees it, and the cause that only the log
// does. Messages never quote what the client sent, except names of fields.
type failure struct {
	Code       runtime.Code  `json:"code"`
	Message    string        `json:"message"`
	Hint       string        `json:"hint,omitempty"`
	Offset     *int64        `json:"offset,omitempty"` // byte of the body
	RetryAfter time.Duration `json:"-"`
	Cause      error         `json:"-"`
}

func (f *failure) Error() string {
	if f.Cause != nil {
		return f.Message + ": " + f.Cause.Error()
	}
	return f.Message
}

func (f *failure) Unwrap() error { return f.Cause }

func (f *failure) status() int {
	if s, ok := statuses[f.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// retrySeconds is the Retry-After header: whole seconds, rounded up; 0 for none.
func (f *failure) retrySeconds() int { return int(math.Ceil(f.RetryAfter.Seconds())) }

// asFailure gives any error its code; an unknown one is internal, and its text
// stays with the operator.
func asFailure(err error) *failure {
	var f *failure
	var r *runtime.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &r):
		return fromRuntime(r)
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{Code: runtime.CodeDeadline, Message: "the deadline passed before the answer", Cause: err}
	case errors.Is(err, context.Canceled):
		return &failure{Code: runtime.CodeCanceled, Message: "the caller left before the answer", Cause: err}
	}
	return &failure{Code: codeInternal, Message: "internal error", Cause: err}
}

// hints say what to do about a code.
var hints = map[runtime.Code]string{
	runtime.CodeTextTooLong: `shorten the text, or allow "truncate"`,
	runtime.CodeTextRefused: "the text spells a control token of the model, or crashed the engine twice; the native engine takes any text",
	runtime.CodeOverloaded:  "come back after the seconds in Retry-After, or send less at once",
	runtime.CodeDeadline:    "send fewer texts in one request, or come back when the server has less to do",
	runtime.CodeDraining:    "the server is stopping: ask another one",
	runtime.CodeUnavailable: "come back after the seconds in Retry-After; the server's log says what is missing",
	codeBodyTooLarge:        "send the texts in several requests",
	codeTooManyItems:        "send the texts in several requests",
	codeStarting:            "ask /readyz, and come back when it answers 200",
	codeEncoding:            "send the body as it is, without Content-Encoding",
	codeMediaType:           "send JSON with Content-Type: application/json",
	codeUnauthorized:        "send the header Authorization: Bearer KEY",
	codeBadHost:             "use the address 127.0.0.1 or localhost; to serve other names, set an API key",
	codeUnknownModel:        "GET /v1/models names the models that are served",
}

func fromRuntime(r *runtime.Error) *failure {
	return &failure{Code: r.Code, Message: r.Message, RetryAfter: r.RetryAfter, Cause: r.Cause}
}

// errorBody is the JSON of every failed request.
type errorBody struct {
	Error failure `json:"error"`
}

// body completes the failure with its hint.
func (f *failure) body() errorBody {
	b := errorBody{Error: *f}
	if b.Error.Hint == "" {
		b.Error.Hint = hints[f.Code]
	}
	return b
}
