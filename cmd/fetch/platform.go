package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"

	"cubby/internal/platform"

	"github.com/urfave/cli/v3"
)

const platformName = "platform"

var platformVariables = []string{"CUBBY_PLATFORM", "DL_PLATFORM_URL"}

// platformFlags say which platform to ask.
func platformFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: platformName, Usage: "base `URL` of the platform", Sources: cli.EnvVars(platformVariables...), DefaultText: platform.DefaultURL},
		&cli.StringFlag{Name: "cognito", Hidden: true, Sources: cli.EnvVars("CUBBY_COGNITO")},
		&cli.StringFlag{Name: "cognito-client", Hidden: true, Sources: cli.EnvVars("DL_COGNITO_CLIENT_ID")},
	}
}

// account is one platform, and where its login is kept.
type account struct {
	url         string
	cognito     platform.Cognito
	credentials platform.Credentials
}

func newAccount(c *cli.Command) (account, error) {
	address, err := platform.CleanURL(c.String(platformName))
	if err != nil {
		return account{}, usageError{err}
	}
	a := account{url: address, cognito: platform.CognitoFor(address)}
	a.cognito.URL = c.String("cognito")
	if id := c.String("cognito-client"); id != "" {
		a.cognito.ClientID = id
	}
	a.credentials, err = platform.DefaultCredentials()
	return a, err
}

const tokenAdvice = "tokens live about an hour: set " + platform.TokenVariable + " to a fresh one, or unset it and run: fetch login"

// tokens finds a login: what the environment says goes before what is kept, and
// that before the session of the platform's own command line, whose tokens go to
// its own hosts only.
func (a account) tokens() (platform.TokenSource, error) {
	token, err := platform.EnvToken()
	if err != nil {
		return nil, err
	}
	if token != "" {
		return platform.StaticToken(token, tokenAdvice), nil
	}
	if user, password := platform.EnvPassword(); user != "" {
		return platform.PasswordSource(user, password, a.cognito), nil
	}
	kept, err := a.credentials.Load(a.url)
	if err == nil {
		return a.credentials.Source(a.url, kept, a.cognito), nil
	}
	if distil, found := platform.FindCLI(); found && errors.Is(err, platform.NoLogin) && isDistil(a.url) {
		return distil, nil
	}
	return nil, err
}

func isDistil(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && strings.HasSuffix("."+u.Hostname(), ".distillabs.ai")
}

// client is the platform as the user's account sees it.
func (a account) client() (*platform.Client, error) {
	source, err := a.tokens()
	if err != nil {
		return nil, err
	}
	return platform.New(platform.Options{URL: a.url, Tokens: source})
}

// check asks the platform whether it takes a login.
func (a account) check(ctx context.Context, source platform.TokenSource) (platform.Identity, error) {
	client, err := platform.New(platform.Options{URL: a.url, Tokens: source})
	if err != nil {
		return platform.Identity{}, err
	}
	return client.Check(ctx)
}

// environmentLogin reports that the environment goes before what is kept.
func environmentLogin() bool {
	user, _ := platform.EnvPassword()
	return os.Getenv(platform.TokenVariable) != "" || user != ""
}
