package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// How a login came about, and with it how its token is renewed.
const (
	MethodToken    = "token"    // given by the user; not renewed
	MethodCLI      = "cli"      // distil access-token is run each time; nothing is kept
	MethodPassword = "password" // from Cognito; renewed while it allows that
)

// Login is what is kept of one account. A password never is.
type Login struct {
	Method   string
	User     string // empty where unknown
	Token    Secret // empty for MethodCLI
	Refresh  Secret // empty where there is none
	ClientID string // of Cognito; empty for the platform's
	Saved    time.Time
}

// Credentials is the file that keeps logins, one for each platform, so that no
// token is sent to a platform other than its own. On Unix it is for its owner
// only, in a folder for its owner only; a file that others can read is refused.
// On Windows both inherit the rights of the user's profile.
type Credentials struct{ Path string }

// DefaultCredentials returns cubby/credentials.json in the user's configuration
// folder.
func DefaultCredentials() (Credentials, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return Credentials{}, fmt.Errorf("there is no folder for credentials: %w; set HOME, or use %s", err, TokenVariable)
	}
	return Credentials{filepath.Join(dir, "cubby", "credentials.json")}, nil
}

// maxCredentials bounds the file.
const maxCredentials = 1 << 20

// credentialsFile is the file's JSON.
type credentialsFile struct {
	Version   int                  `json:"version"`
	Platforms map[string]loginJSON `json:"platforms"`
}

type loginJSON struct {
	Method   string    `json:"method"`
	User     string    `json:"user,omitempty"`
	Token    string    `json:"token,omitempty"`
	Refresh  string    `json:"refresh_token,omitempty"`
	ClientID string    `json:"client_id,omitempty"`
	Saved    time.Time `json:"saved"`
}

// Load returns the login that is kept for a platform's address, as CleanURL
// returns it; NoLogin where there is none.
func (k Credentials) Load(platform string) (Login, error) {
	file, err := k.read()
	if err != nil {
		return Login{}, err
	}
	j, ok := file.Platforms[platform]
	if !ok {
		return Login{}, &Error{Kind: NoLogin, Detail: "at " + platform}
	}
	return Login{j.Method, j.User, Secret(j.Token), Secret(j.Refresh), j.ClientID, j.Saved}, nil
}

// Save keeps a login. A file that cannot be read, is damaged, or is open to
// others is replaced, not added to: its tokens are lost or known.
func (k Credentials) Save(platform string, l Login) error {
	return k.change(func(file *credentialsFile, bad error) (bool, error) {
		if bad != nil {
			*file = credentialsFile{Platforms: map[string]loginJSON{}}
		}
		file.Platforms[platform] = loginJSON{l.Method, l.User, string(l.Token), string(l.Refresh), l.ClientID, l.Saved.UTC().Truncate(time.Second)}
		return true, nil
	})
}

// Delete forgets a platform's login, and reports whether there was one. A file
// that cannot be trusted goes away whole.
func (k Credentials) Delete(platform string) (had bool, err error) {
	if _, err := os.Lstat(k.Path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = k.change(func(file *credentialsFile, bad error) (bool, error) {
		if bad != nil {
			had = true
			return false, os.Remove(k.Path)
		}
		_, had = file.Platforms[platform]
		delete(file.Platforms, platform)
		return had, nil
	})
	return had, err
}

// change reads, changes and writes the file while no other process does. The
// lock is a file of its own, because the credentials are replaced by renaming.
func (k Credentials) change(edit func(file *credentialsFile, bad error) (write bool, err error)) error {
	dir := filepath.Dir(k.Path)
	if err := privateFolder(dir); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(dir, ".credentials.lock")).Lock()
	if err != nil {
		return fmt.Errorf("credentials cannot be locked: %w", err)
	}
	defer unlock()
	file, bad := k.read()
	write, err := edit(&file, bad)
	if err != nil || !write {
		return err
	}
	file.Version = 1
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	return replace(k.Path, append(data, '\n'))
}

// privateFolder makes the folder, or closes it to others.
func privateFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && goruntime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	return err
}

// replace writes the file whole or not at all: os.CreateTemp makes it with mode
// 600.
func replace(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".credentials-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// read returns the file's content; none at all is an empty one.
func (k Credentials) read() (credentialsFile, error) {
	empty := credentialsFile{Platforms: map[string]loginJSON{}}
	f, err := os.Open(k.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	defer f.Close()
	if err := k.checkModes(f); err != nil {
		return empty, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return empty, err
	}
	file, err := parseCredentials(data)
	if err != nil {
		return empty, k.bad("it is damaged: "+err.Error(), "")
	}
	return file, nil
}

func (k Credentials) bad(detail, hint string) error {
	return &Error{Kind: BadLogin, Request: k.Path, Detail: detail, Hint: hint}
}

// checkModes refuses a file that others can read, or could have written.
func (k Credentials) checkModes(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return k.bad("it is not a regular file", "remove it, then run fetch login")
	}
	if goruntime.GOOS == "windows" {
		return nil
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return k.bad(fmt.Sprintf("other users can read it: its mode is %04o", mode), "run fetch login, which replaces it; they may have the old token")
	}
	dir, err := os.Stat(filepath.Dir(k.Path))
	if err != nil {
		return err
	}
	if mode := dir.Mode().Perm(); mode&0o022 != 0 {
		return k.bad(fmt.Sprintf("other users can replace it: the mode of its folder is %04o", mode), "run chmod 700 "+filepath.Dir(k.Path)+", then fetch login")
	}
	return nil
}

// parseCredentials never says what stands in the file.
func parseCredentials(data []byte) (credentialsFile, error) {
	var file credentialsFile
	if len(data) > maxCredentials {
		return file, fmt.Errorf("it is larger than %d bytes", maxCredentials)
	}
	if json.Unmarshal(data, &file) != nil {
		return file, errors.New("it is not JSON of the right shape")
	}
	if file.Version != 1 {
		return file, fmt.Errorf("its version is %d, not 1", file.Version)
	}
	if file.Platforms == nil {
		file.Platforms = map[string]loginJSON{}
	}
	for _, j := range file.Platforms {
		for _, text := range []string{j.Token, j.Refresh} {
			if text == "" {
				continue
			}
			if token, err := ParseToken(text); err != nil || string(token) != text {
				return file, errors.New("it holds a token that is none")
			}
		}
		switch j.Method {
		case MethodCLI:
		case MethodToken, MethodPassword:
			if j.Token == "" {
				return file, errors.New("it holds a login without a token")
			}
		default:
			return file, errors.New("it holds a login of an unknown kind")
		}
	}
	return file, nil
}

// Source returns the tokens of a login that is kept. Renewed ones are kept too.
func (k Credentials) Source(platform string, l Login, g Cognito) TokenSource {
	switch l.Method {
	case MethodCLI:
		d, _ := FindCLI() // without it, asking for a token says so
		return d
	case MethodPassword:
		g.ClientID = l.ClientID
		return &kept{credentials: k, platform: platform, login: l, cognito: g}
	}
	return StaticToken(l.Token, "a token lives about an hour and this one is not renewed: log in again: fetch login")
}

// kept renews the token of a login by password.
type kept struct {
	credentials Credentials
	platform    string
	cognito     Cognito

	mu    sync.Mutex
	login Login
}

func (s *kept) Token(context.Context) (Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login.Token, nil
}

// Renew asks Cognito once, however many requests were refused at the same time. It
// goes on where the new token cannot be kept: the next run renews again.
func (s *kept) Renew(ctx context.Context, refused Secret) (Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login.Token != refused {
		return s.login.Token, nil
	}
	again := errors.New("the login has expired: log in again: fetch login")
	if s.login.Refresh == "" {
		return "", again
	}
	fresh, err := s.cognito.Refresh(ctx, s.login)
	if errors.Is(err, Auth) {
		return "", again
	}
	if err != nil {
		return "", err
	}
	fresh.Saved = time.Now()
	s.login = fresh
	_ = s.credentials.Save(s.platform, fresh)
	return fresh.Token, nil
}

// PasswordSource logs in when the first token is needed, and again when one is
// refused. Nothing is kept.
func PasswordSource(user string, password Secret, g Cognito) TokenSource {
	return &byPassword{user: user, password: password, cognito: g}
}

type byPassword struct {
	user     string
	password Secret
	cognito  Cognito

	mu    sync.Mutex
	token Secret
}

func (s *byPassword) Token(ctx context.Context) (Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" {
		return s.token, nil
	}
	return s.login(ctx)
}

func (s *byPassword) login(ctx context.Context) (Secret, error) {
	l, err := s.cognito.Password(ctx, s.user, s.password)
	s.token = l.Token
	return l.Token, err
}

func (s *byPassword) Renew(ctx context.Context, refused Secret) (Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && s.token != refused {
		return s.token, nil
	}
	return s.login(ctx)
}
