package platform

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// hidden stands where a secret would be printed.
const hidden = "[secret]"

// Secret is a token or a password. Whatever prints, logs or encodes it gets a
// placeholder; only a conversion to string gives it away.
type Secret string

// Format hides it from package fmt, whatever the verb.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, hidden) }

// String hides it.
func (Secret) String() string { return hidden }

// LogValue hides it from package slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides it from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// maxToken is far above the 1 to 2 KiB of a Cognito access token.
const maxToken = 16 << 10

// ParseToken reads a token as it is pasted: with white space around it, or the
// word Bearer before it.
func ParseToken(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if word, rest, _ := strings.Cut(text, " "); strings.EqualFold(word, "bearer") {
		text = strings.TrimSpace(rest)
	}
	switch {
	case text == "":
		return "", errors.New("the token is empty")
	case len(text) > maxToken:
		return "", fmt.Errorf("the token is longer than %d bytes: that is something else", maxToken)
	}
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return "", errors.New("the token holds white space or characters that no token has: give the token alone, on one line")
		}
	}
	return Secret(text), nil
}

// scrub takes secrets out of text that a server or a program wrote, in case it
// repeats what it was sent.
func scrub(text string, secrets ...Secret) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, string(s), hidden)
		}
	}
	return text
}
