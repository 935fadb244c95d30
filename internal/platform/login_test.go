package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
)

func TestSecretIsNotShown(t *testing.T) {
	s := Secret("hush")
	l := Login{Token: s, Refresh: s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", s, "login", l)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", s, "login", l)
	text := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		text += fmt.Sprintf(verb+" "+verb, s, l)
	}
	encoded, err := json.Marshal(l)
	text += string(encoded) + s.String()
	if err != nil || strings.Contains(text, "hush") || strings.Contains(text, fmt.Sprintf("%x", "hush")) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestParseToken(t *testing.T) {
	for text, want := range map[string]string{"abc": "abc", " abc\r\n": "abc", "Bearer abc": "abc", "bearer  abc\n": "abc"} {
		if got, err := ParseToken(text); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, string(got), err)
		}
	}
	for _, text := range []string{"", "\n", "Bearer", "Bearer ", "two words", "a\x00b", "tokén", strings.Repeat("x", maxToken+1)} {
		if got, err := ParseToken(text); err == nil {
			t.Errorf("%.20q: %q", text, string(got))
		}
	}
}

func TestCognito(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{})
	l, err := w.cognito().Password(ctx, localplatform.User, localplatform.Password)
	if err != nil || l.Token == "" || l.Refresh == "" || l.User != localplatform.User || l.Method != MethodPassword {
		t.Fatalf("%+v, %v", l, err)
	}
	if id := Identify(l.Token); id.User != localplatform.User || id.Expires.IsZero() {
		t.Errorf("%+v", id)
	}
	if _, err := w.as(t, StaticToken(l.Token, "")).List(ctx); err != nil {
		t.Error(err)
	}
	fresh, err := w.cognito().Refresh(ctx, l)
	if err != nil || fresh.Token == l.Token || fresh.Refresh != l.Refresh || fresh.User != l.User {
		t.Errorf("%+v, %v", fresh, err)
	}
	const password = "wrong-and-secret"
	for _, c := range []struct {
		fault  localplatform.Fault
		kind   Kind
		phrase string
	}{
		{localplatform.Fault{Route: "none"}, Auth, "HTTP 400: Incorrect username or password.); check the user and the password"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"com.amazonaws.cognito#UserNotConfirmedException","message":"User is not confirmed."}`}, Auth, "confirm the address"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"PasswordResetRequiredException"}`}, Auth, "set a new password"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"InvalidParameterException","message":"USER_PASSWORD_AUTH flow not enabled for this client"}`}, Auth, "distil auth"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"ResourceNotFoundException"}`}, Auth, "distil auth"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"TooManyRequestsException"}`}, RateLimit, "wait"},
		{localplatform.Fault{Status: 400, Body: `{"__type":"Other","message":"it said ` + password + `"}`}, Refused, "it said [secret]"},
		{localplatform.Fault{Status: 500}, Server, "HTTP 500"},
		{localplatform.Fault{Drop: true}, Network, "cannot be reached"},
		{localplatform.Fault{Body: `{"ChallengeName":"NEW_PASSWORD_REQUIRED","Session":"s"}`}, Auth, "asks for NEW_PASSWORD_REQUIRED"},
		{localplatform.Fault{Body: `{}`}, Unreadable, "holds no token"},
		{localplatform.Fault{Body: `<html>`}, Unreadable, "a web page"},
		{localplatform.Fault{Body: `{"AuthenticationResult":{"AccessToken":"a b"}}`}, Unreadable, "white space"},
		{localplatform.Fault{Body: `{"AuthenticationResult":{"AccessToken":"a","RefreshToken":"a b"}}`}, Unreadable, "white space"},
		{localplatform.Fault{Status: 302, Header: http.Header{"Location": {"https://example.com"}}}, Unreadable, "HTTP 302"},
	} {
		w.Heal()
		w.Break(c.fault)
		_, err := w.cognito().Password(ctx, "ada", password)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.phrase) || strings.Contains(err.Error(), password) {
			t.Errorf("%+v: %v, want %q", c.fault, err, c.phrase)
		}
	}
	if _, err := (Cognito{URL: "http://example.com"}).Password(ctx, "a", "b"); err == nil || !strings.Contains(err.Error(), "unencrypted") {
		t.Error(err)
	}
	if CognitoFor("https://api-dev.distillabs.ai").ClientID != cognitoDev || CognitoFor(DefaultURL) != (Cognito{}) {
		t.Error("the platform under test has users of its own")
	}
}

// A refused token is renewed once, however many requests were refused, and kept.
func TestRenewal(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{})
	l, err := w.cognito().Password(ctx, localplatform.User, localplatform.Password)
	if err != nil {
		t.Fatal(err)
	}
	k := Credentials{filepath.Join(t.TempDir(), "cubby", "credentials.json")}
	if err := k.Save(w.server.URL, l); err != nil {
		t.Fatal(err)
	}
	kept, err := k.Load(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := w.as(t, k.Source(w.server.URL, kept, w.cognito()))
	if _, err := c.Check(ctx); err != nil {
		t.Fatal(err)
	}
	for round, expire := range []func(){func() { w.Revoke() }, func() { w.advance(2 * time.Hour) }} { // 401, 403
		expire()
		before := w.count("POST /")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := c.List(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.count("POST /") - before; n != 1 {
			t.Errorf("round %d: renewed %d times", round, n)
		}
	}
	fresh, err := k.Load(w.server.URL)
	if err != nil || fresh.Token == l.Token || fresh.Refresh != l.Refresh || fresh.Method != MethodPassword || fresh.User != l.User {
		t.Errorf("%+v, %v", fresh, err)
	}
	w.Revoke()
	w.Break(localplatform.Fault{Route: "POST /", Drop: true, Times: 9})
	if _, err := c.List(ctx); !errors.Is(err, Network) {
		t.Errorf("no connection to Cognito: %v", err)
	}
	w.Heal()
	w.RevokeRefresh()
	if _, err := c.List(ctx); !errors.Is(err, Auth) || !strings.Contains(err.Error(), "log in again: fetch login") {
		t.Errorf("%v", err)
	}
	without := newWorld(t, localplatform.Options{NoRefresh: true})
	l, err = without.cognito().Password(ctx, localplatform.User, localplatform.Password)
	if err != nil || l.Refresh != "" {
		t.Fatalf("%+v, %v", l, err)
	}
	without.Revoke()
	if _, err := without.as(t, k.Source("x", l, without.cognito())).List(ctx); !errors.Is(err, Auth) || !strings.Contains(err.Error(), "log in again: fetch login") {
		t.Errorf("%v", err)
	}
}

func TestPasswordSource(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{NoRefresh: true})
	c := w.as(t, PasswordSource(localplatform.User, localplatform.Password, w.cognito()))
	for range 2 {
		if _, err := c.List(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.count("POST /"); n != 1 {
		t.Errorf("%d logins", n)
	}
	w.Revoke()
	if err := errors.Join(second(c.List(ctx)), second(c.List(ctx))); err != nil || w.count("POST /") != 2 {
		t.Errorf("%d logins, %v", w.count("POST /"), err)
	}
	if _, err := w.as(t, PasswordSource("ada", "no", w.cognito())).List(ctx); !errors.Is(err, Auth) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// No token appears in any error, even where the server repeats what it was sent.
func TestTokenIsNotShown(t *testing.T) {
	const token = "SECRETTOKEN"
	w := newWorld(t, localplatform.Options{})
	c := w.as(t, StaticToken(token, "get a fresh one"))
	for _, f := range []localplatform.Fault{
		{Status: 401, Body: `{"detail":"bad token ` + token + `"}`}, {Status: 500, Body: token}, {Status: 402, Body: `{"message":"` + token + `"}`},
		{Body: token}, {Drop: true}, {Body: `[{"id":"` + token + `\u0001"}]`},
	} {
		w.Heal()
		w.Break(f)
		_, err := c.List(context.Background())
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// fakeCLI puts a program distil into PATH.
func fakeCLI(t *testing.T, script string) string {
	t.Helper()
	if goruntime.GOOS == "windows" {
		t.Skip("there is no distil for Windows")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "distil"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

func TestCLI(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{})
	dir := fakeCLI(t, `[ "$*" = access-token ] || exit 9; cat "$(dirname "$0")/token"`)
	put := func(token string) {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(w.Token())
	d, found := FindCLI()
	if !found {
		t.Fatal("distil is not found")
	}
	c := w.as(t, d)
	if _, err := c.List(ctx); err != nil {
		t.Fatal(err)
	}
	w.Revoke()
	if _, err := c.List(ctx); !errors.Is(err, Auth) || !strings.Contains(err.Error(), "log in there again: distil auth") {
		t.Errorf("the same token again: %v", err)
	}
	put(w.Token())
	if _, err := c.List(ctx); err != nil {
		t.Error(err)
	}
}

func TestCLIFails(t *testing.T) {
	for script, want := range map[string]string{
		`echo "Not logged in or session expired" >&2; exit 1`: "Not logged in or session expired); log in there first: distil auth",
		`exit 3`: "exit status 3",
		`echo SECRET; echo "SECRET is bad" >&2; exit 1`: "[secret] is bad",
		`echo`:                                 "the token is empty",
		`echo please log in`:                   "white space",
		`head -c 100000 /dev/zero | tr '\0' x`: "longer than",
	} {
		fakeCLI(t, script)
		d, _ := FindCLI()
		_, err := d.Token(context.Background())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
	var c capped
	if n, err := io.Copy(&c, strings.NewReader(strings.Repeat("x", 10*maxToken))); err != nil || n != 10*maxToken || len(c.String()) != 2*maxToken {
		t.Errorf("it kept %d bytes of %d, %v", len(c.String()), n, err)
	}
	if _, err := (CLI{}).Token(context.Background()); !errors.Is(err, Auth) || !strings.Contains(err.Error(), "distil is not installed (not in PATH)") {
		t.Error(err)
	}
	fakeCLI(t, `sleep 60`)
	d, _ := FindCLI()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, v := range append(append([]string{TokenVariable}, userVariables...), passwordVariables...) {
		t.Setenv(v, "")
	}
	if token, err := EnvToken(); token != "" || err != nil {
		t.Error(err)
	}
	t.Setenv(TokenVariable, "Bearer abc\n")
	if token, err := EnvToken(); string(token) != "abc" || err != nil {
		t.Error(err)
	}
	t.Setenv(TokenVariable, "SECRET words")
	if _, err := EnvToken(); !errors.Is(err, Auth) || !strings.Contains(err.Error(), TokenVariable) || strings.Contains(err.Error(), "SECRET") {
		t.Error(err)
	}
	t.Setenv("DL_USERNAME", "ada")
	if user, _ := EnvPassword(); user != "" {
		t.Error("a user without a password")
	}
	t.Setenv("DL_PASSWORD", "x")
	t.Setenv("DISTIL_PASSWORD", "y")
	if user, password := EnvPassword(); user != "ada" || string(password) != "x" {
		t.Error(user)
	}
}

// newCredentials is a file of credentials that is not there yet.
func newCredentials(t *testing.T) Credentials {
	t.Helper()
	return Credentials{filepath.Join(t.TempDir(), "cubby", "credentials.json")}
}

func TestCredentials(t *testing.T) {
	k := newCredentials(t)
	if _, err := k.Load("https://a"); !errors.Is(err, NoLogin) || !strings.Contains(err.Error(), "fetch login") {
		t.Error(err)
	}
	if had, err := k.Delete("https://a"); had || err != nil {
		t.Error(had, err)
	}
	if _, err := os.Stat(filepath.Dir(k.Path)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("forgetting nothing made a folder")
	}
	a := Login{Method: MethodPassword, User: "ada", Token: "t1", Refresh: "r", ClientID: "c", Saved: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b := Login{Method: MethodCLI, Saved: a.Saved}
	if err := errors.Join(k.Save("https://a", a), k.Save("https://b", b)); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]Login{"https://a": a, "https://b": b} {
		if got, err := k.Load(address); err != nil || got != want {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	if _, err := k.Load("https://c"); !errors.Is(err, NoLogin) {
		t.Error("a login for another platform")
	}
	if had, err := k.Delete("https://a"); !had || err != nil {
		t.Error(had, err)
	}
	if _, err := k.Load("https://a"); !errors.Is(err, NoLogin) {
		t.Error(err)
	}
	if got, err := k.Load("https://b"); err != nil || got != b {
		t.Error("the other platform's login is gone too")
	}
}

func TestCredentialModes(t *testing.T) {
	if goruntime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	k := newCredentials(t)
	dir := filepath.Dir(k.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil { // made by somebody else
		t.Fatal(err)
	}
	l := Login{Method: MethodToken, Token: "t"}
	if err := k.Save("https://a", l); err != nil {
		t.Fatal(err)
	}
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode(k.Path) != 0o600 || mode(dir) != 0o700 {
		t.Errorf("modes %o and %o", mode(k.Path), mode(dir))
	}
	for _, m := range []fs.FileMode{0o640, 0o604, 0o644, 0o620, 0o666} {
		if err := os.Chmod(k.Path, m); err != nil {
			t.Fatal(err)
		}
		_, err := k.Load("https://a")
		if !errors.Is(err, BadLogin) || !strings.Contains(err.Error(), fmt.Sprintf("mode is %04o", m)) || !strings.Contains(err.Error(), k.Path) {
			t.Errorf("mode %o: %v", m, err)
		}
	}
	// A new login replaces it, and what others may know.
	if err := k.Save("https://b", l); err != nil || mode(k.Path) != 0o600 {
		t.Errorf("mode %o, %v", mode(k.Path), err)
	}
	if _, err := k.Load("https://a"); !errors.Is(err, NoLogin) {
		t.Errorf("a token that others could read is still used: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Load("https://b"); !errors.Is(err, BadLogin) || !strings.Contains(err.Error(), "chmod 700") {
		t.Error(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), second(k.Load("https://b"))); err != nil {
		t.Errorf("a folder that others can only read: %v", err)
	}
	if err := os.Chmod(k.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	if had, err := k.Delete("https://other"); !had || err != nil {
		t.Error(had, err)
	}
	if _, err := os.Stat(k.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file that others can read is still there after logging out")
	}
}

func TestDamagedCredentials(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": `{"version":1,"platforms":{"https://a":{"tok`, "another version": `{"version":2}`, "a list": `[]`, "no token": `{"version":1,"platforms":{"https://a":{"method":"token"}}}`,
		"white space in the token": `{"version":1,"platforms":{"https://a":{"method":"token","token":"SECRET b"}}}`, "an unknown kind": `{"version":1,"platforms":{"https://a":{"method":"x","token":"SECRET"}}}`,
		"long": strings.Repeat(" ", maxCredentials+1),
	} {
		k := newCredentials(t)
		if err := errors.Join(os.MkdirAll(filepath.Dir(k.Path), 0o700), os.WriteFile(k.Path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := k.Load("https://a")
		if !errors.Is(err, BadLogin) || !strings.Contains(err.Error(), "fetch login") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
		l := Login{Method: MethodToken, Token: "t"}
		if err := k.Save("https://a", l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := k.Load("https://a"); err != nil || got.Token != "t" {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := newCredentials(t)
	if err := os.MkdirAll(k.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Load("https://a"); err == nil {
		t.Error("a folder was read")
	}
}

// Writers at the same time lose nothing of each other's, and a reader never sees
// half a file.
func TestConcurrentWriters(t *testing.T) {
	k := newCredentials(t)
	const writers, rounds = 8, 10
	done := make(chan struct{})
	var reader, wg sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := k.Load("https://0"); err != nil && !errors.Is(err, NoLogin) {
				t.Error(err)
			}
		}
	})
	for i := range writers {
		wg.Go(func() {
			for n := range rounds {
				l := Login{Method: MethodToken, Token: Secret(fmt.Sprintf("t%d-%d", i, n))}
				if err := k.Save(fmt.Sprint("https://", i), l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	reader.Wait()
	for i := range writers {
		if l, err := k.Load(fmt.Sprint("https://", i)); err != nil || string(l.Token) != fmt.Sprintf("t%d-%d", i, rounds-1) {
			t.Errorf("writer %d: %q, %v", i, string(l.Token), err)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(k.Path), ".credentials-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// Where the file cannot be written, it says so and leaves nothing behind.
func TestUnwritableFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cubby"), nil, 0o600); err != nil { // a file where the folder belongs
		t.Fatal(err)
	}
	k := Credentials{filepath.Join(dir, "cubby", "credentials.json")}
	if err := k.Save("https://a", Login{Method: MethodToken, Token: "SECRET"}); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Error(err)
	}
	t.Setenv("XDG_CONFIG_HOME", dir)
	if goruntime.GOOS == "linux" {
		if k, err := DefaultCredentials(); err != nil || k.Path != filepath.Join(dir, "cubby", "credentials.json") {
			t.Errorf("%s, %v", k.Path, err)
		}
	}
}
