package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cubby/models/importer"
)

// Token is a secret of the user's, and where it was found. It prints as nothing
// else.
type Token struct {
	value string
	From  string // the variable or the file
}

// NewToken returns a token that came from somewhere.
func NewToken(value, from string) Token { return Token{value, from} }

// String does not show it.
func (t Token) String() string { return "…" }

// GoString does not show it.
func (t Token) GoString() string { return "…" }

// maxToken is the largest file that is read as a token, in bytes.
const maxToken = 16 << 10

// FindToken looks where Hugging Face's own programs do: HF_TOKEN,
// HUGGING_FACE_HUB_TOKEN, and the file of HF_TOKEN_PATH, else token in HF_HOME, which
// is huggingface in the user's cache. No token is no error.
func FindToken() (Token, error) {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return checkToken(Token{value, name})
		}
	}
	file, err := tokenFile()
	if err != nil {
		return Token{}, nil // without a home there is no file
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	}
	if err != nil {
		return Token{}, fmt.Errorf("the token of the Hugging Face hub cannot be read: %w; correct the file, or set HF_TOKEN", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return Token{}, fmt.Errorf("the token of the Hugging Face hub cannot be read: %w; correct the file, or set HF_TOKEN", err)
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		return Token{}, nil
	}
	return checkToken(Token{value, file})
}

// checkToken refuses what cannot be sent in a header.
func checkToken(t Token) (Token, error) {
	if strings.ContainsFunc(t.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Token{}, fmt.Errorf("%s holds no token: there are blanks or other characters in it that no token has; make one at https://%s/settings/tokens", t.From, host)
	}
	return t, nil
}

func tokenFile() (string, error) {
	if file := os.Getenv("HF_TOKEN_PATH"); file != "" {
		return os.ExpandEnv(file), nil
	}
	dir, err := importer.HubHome()
	return filepath.Join(dir, "token"), err
}
