package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// cliTime bounds distil access-token, which may refresh its session over the
// network.
const cliTime = time.Minute

// CLI is the platform's own command line, distil. Its command access-token
// refreshes the session and prints a token.
type CLI struct{ Path string }

// FindCLI looks for distil in PATH.
func FindCLI() (CLI, bool) {
	path, err := exec.LookPath("distil")
	return CLI{path}, err == nil
}

// noCLI is the error of a login that distil would have to give; it is one of the kind
// Auth, though nobody refused it.
type noCLI struct{}

func (noCLI) Error() string {
	return "distil is not installed (not in PATH): install it, or log in without it: fetch login -user NAME"
}

func (noCLI) Is(target error) bool { return target == Auth }

// Token runs distil access-token.
func (d CLI) Token(ctx context.Context) (Secret, error) {
	const request = "distil access-token"
	if d.Path == "" {
		return "", noCLI{}
	}
	limited, cancel := context.WithTimeout(ctx, cliTime)
	defer cancel()
	cmd := exec.CommandContext(limited, d.Path, "access-token")
	cmd.WaitDelay = time.Second
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", request, ctx.Err())
	}
	if limited.Err() != nil {
		return "", &Error{Kind: Network, Request: request, Detail: fmt.Sprintf("no answer within %v", cliTime)}
	}
	if err != nil {
		said := clean(scrub(stderr.String(), Secret(strings.TrimSpace(stdout.String()))), maxDetail)
		var exit *exec.ExitError
		if said == "" || !errors.As(err, &exit) {
			said = strings.TrimPrefix(err.Error()+": "+said, ": ")
		}
		return "", &Error{Kind: Auth, Request: request, Detail: strings.TrimSuffix(said, ": "), Hint: "log in there first: distil auth"}
	}
	token, err := ParseToken(stdout.String())
	if err != nil {
		return "", &Error{Kind: Unreadable, Request: request, Detail: err.Error(), Hint: "update distil, or log in without it: fetch login -user NAME"}
	}
	return token, nil
}

// Renew runs it again: a session that is still good gives a fresh token.
func (d CLI) Renew(ctx context.Context, refused Secret) (Secret, error) {
	token, err := d.Token(ctx)
	if err == nil && token == refused {
		return "", errors.New("log in there again: distil auth")
	}
	return token, err
}

// capped keeps the beginning of what a program prints. The buffer is not embedded:
// its ReadFrom would take everything.
type capped struct{ kept bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := 2*maxToken - c.kept.Len(); room > 0 {
		c.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (c *capped) String() string { return c.kept.String() }
