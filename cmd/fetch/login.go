package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cubby/internal/platform"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

func (p *program) loginCommand() *cli.Command {
	return &cli.Command{
		Name: "login", Usage: "log in to distil labs' platform",
		Description: "Without flags: with the token in " + platform.TokenVariable + "; else the user and password in DISTIL_USERNAME and DISTIL_PASSWORD;\nelse the session of the platform's own command line, distil; else it asks. A password is never kept.",
		Flags: append(platformFlags(),
			&cli.BoolFlag{Name: "token-stdin", Usage: "read a token from standard input"},
			&cli.BoolFlag{Name: "cli", Usage: "use the session of the platform's own command line, distil, now and later"},
			&cli.StringFlag{Name: "user", Usage: "log in as `NAME`, with a password that is asked for"},
		),
		Action: p.login, OnUsageError: usageFailed,
	}
}

func (p *program) login(ctx context.Context, c *cli.Command) error {
	ways := 0
	for _, f := range []string{"token-stdin", "cli", "user"} {
		if c.IsSet(f) {
			ways++
		}
	}
	if c.Args().Present() || ways > 1 {
		return usagef("login takes no arguments, and one of -token-stdin, -cli and -user")
	}
	a, err := newAccount(c)
	if err != nil {
		return err
	}
	l, err := p.obtain(ctx, c, a)
	if err != nil {
		return err
	}
	source := platform.StaticToken(l.Token, "get a fresh token of the platform's: a key for its inference endpoint does not open it")
	if l.Method == platform.MethodCLI {
		source = a.credentials.Source(a.url, l, a.cognito)
	}
	who, err := a.check(ctx, source)
	if err != nil {
		return err
	}
	l.User = cmp.Or(l.User, who.User)
	l.Saved = time.Now()
	if err := a.credentials.Save(a.url, l); err != nil {
		return err
	}
	p.reportLogin(a, l, who)
	return nil
}

// reportLogin says who is logged in where, and for how long.
func (p *program) reportLogin(a account, l platform.Login, who platform.Identity) {
	as := ""
	if l.User != "" {
		as = " as " + l.User
	}
	fmt.Fprintf(p.stdout, "logged in to %s%s\n", a.url, as)
	switch {
	case l.Method == platform.MethodCLI:
		fmt.Fprintln(p.stdout, "tokens come from: distil access-token")
	case l.Refresh != "":
		fmt.Fprintln(p.stdout, "the token is renewed when it expires")
	case !who.Expires.IsZero():
		fmt.Fprintf(p.stdout, "the token expires at %s and is not renewed\n", who.Expires.Local().Format("2006-01-02 15:04"))
	}
	fmt.Fprintf(p.stdout, "kept in %s\nnext: fetch list\n", a.credentials.Path)
}

// obtain gets a token the way that the flags, the environment and this machine
// leave open.
func (p *program) obtain(ctx context.Context, c *cli.Command, a account) (platform.Login, error) {
	switch {
	case c.Bool("token-stdin"):
		return p.readToken()
	case c.Bool("cli"):
		return platform.Login{Method: platform.MethodCLI}, nil
	case c.IsSet("user"):
		return p.byPassword(ctx, a, c.String("user"))
	}
	token, err := platform.EnvToken()
	if token != "" || err != nil {
		return platform.Login{Method: platform.MethodToken, Token: token}, err
	}
	if user, password := platform.EnvPassword(); user != "" {
		return a.cognito.Password(ctx, user, password)
	}
	if distil, found := platform.FindCLI(); found {
		_, err := distil.Token(ctx)
		if err == nil || !p.canAsk() {
			return platform.Login{Method: platform.MethodCLI}, err
		}
		fmt.Fprintln(p.stderr, err)
	}
	return p.byPassword(ctx, a, "")
}

// maxTyped bounds what is read from standard input.
const maxTyped = 64 << 10

func (p *program) readToken() (platform.Login, error) {
	data, err := io.ReadAll(io.LimitReader(p.stdin, maxTyped))
	if err != nil {
		return platform.Login{}, fmt.Errorf("standard input: %w", err)
	}
	token, err := platform.ParseToken(string(data))
	if err != nil {
		return platform.Login{}, usagef("standard input: %w; pipe one in: distil access-token | fetch login -token-stdin", err)
	}
	return platform.Login{Method: platform.MethodToken, Token: token}, nil
}

// byPassword asks for what is missing.
func (p *program) byPassword(ctx context.Context, a account, user string) (platform.Login, error) {
	if !p.canAsk() {
		return platform.Login{}, usagef("there is no terminal to ask for a password: pipe a token into fetch login -token-stdin, or set %s, or DISTIL_USERNAME and DISTIL_PASSWORD", platform.TokenVariable)
	}
	if user == "" {
		var err error
		if user, err = p.ask(ctx, "user (mail address): ", readLine); err != nil {
			return platform.Login{}, err
		}
	}
	password, err := p.ask(ctx, "password (it does not show): ", readHidden)
	fmt.Fprintln(p.stderr)
	if err != nil {
		return platform.Login{}, err
	}
	if user == "" || password == "" {
		return platform.Login{}, usagef("a login needs a user and a password")
	}
	return a.cognito.Password(ctx, user, platform.Secret(password))
}

func (p *program) canAsk() bool { return term.IsTerminal(int(p.stdin.Fd())) }

// ask reads an answer from the terminal. A signal ends it, and leaves the terminal
// as it was: one that shows nothing would stay behind.
func (p *program) ask(ctx context.Context, prompt string, read func(*os.File) (string, error)) (string, error) {
	before, err := term.GetState(int(p.stdin.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(p.stderr, prompt)
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read(p.stdin)
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(int(p.stdin.Fd()), before))
	case a := <-answers:
		return strings.TrimSpace(a.text), a.err
	}
}

func readHidden(f *os.File) (string, error) {
	text, err := term.ReadPassword(int(f.Fd()))
	return string(text), err
}

// readLine reads no further than the line: what follows is the password.
func readLine(f *os.File) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxTyped; {
		n, err := f.Read(b)
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		line = append(line, b[:n]...)
	}
	return string(line), nil
}
