package runtime

import (
	"fmt"
	"time"
)

// Code is a stable name of what went wrong; the server's status table and its
// JSON error objects are built on it.
type Code string

const (
	CodeEmptyText    Code = "empty_text"    // nothing to classify
	CodeInvalidUTF8  Code = "invalid_utf8"  // the text is not UTF-8
	CodeTextTooLong  Code = "text_too_long" // longer than the context, and truncation was refused
	CodeTextRefused  Code = "text_refused"  // the engine in use cannot compute this text
	CodeBadScoring   Code = "bad_scoring"   // the model does not have the asked scoring method
	CodeOverloaded   Code = "overloaded"    // the queue is full; RetryAfter says when to come back
	CodeDraining     Code = "draining"      // the backend is closing
	CodeDeadline     Code = "deadline"      // the deadline passed, or cannot be met
	CodeCanceled     Code = "canceled"      // the caller left
	CodeEngineFailed Code = "engine_failed" // the engine broke while computing
	// CodeUnavailable: what computes for the engine, a process or another server,
	// is not there; it may come back.
	CodeUnavailable Code = "engine_unavailable"
)

// Error is a failure with a code, a sentence for the caller, and the cause for
// the operator.
type Error struct {
	Code       Code
	Message    string
	RetryAfter time.Duration // CodeOverloaded and CodeUnavailable only
	Cause      error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Cause)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
