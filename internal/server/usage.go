package server

import "fmt"

// UsageError is a mistake in how the program was started, not in what it met.
type UsageError struct{ message string }

func (e *UsageError) Error() string { return e.message }

// Usage makes a UsageError.
func Usage(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}
