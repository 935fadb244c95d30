package platform

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"
)

// TokenSource gives the tokens of one account.
type TokenSource interface {
	// Token returns the token to send.
	Token(ctx context.Context) (Secret, error)
	// Renew returns another one after the platform refused that one, or an error whose
	// text says how to get one.
	Renew(ctx context.Context, refused Secret) (Secret, error)
}

// TokenVariable holds a token.
const TokenVariable = "DISTIL_TOKEN"

// Variables that hold a user and a password: the second pair is that of the
// platform's notebooks, the first that of its CLI's documentation.
var (
	userVariables     = []string{"DISTIL_USERNAME", "DL_USERNAME"}
	passwordVariables = []string{"DISTIL_PASSWORD", "DL_PASSWORD"}
)

// EnvToken returns the token of TokenVariable, empty where that is not set.
func EnvToken() (Secret, error) {
	text := os.Getenv(TokenVariable)
	if text == "" {
		return "", nil
	}
	token, err := ParseToken(text)
	if err != nil {
		return "", &Error{Kind: Auth, Request: "the variable " + TokenVariable, Detail: err.Error(), Hint: "set it to a fresh token, or unset it and run: fetch login"}
	}
	return token, nil
}

// EnvPassword returns a user and a password from the environment, empty where they
// are not both set.
func EnvPassword() (user string, password Secret) {
	for i := range userVariables {
		if u, p := os.Getenv(userVariables[i]), os.Getenv(passwordVariables[i]); u != "" && p != "" {
			return u, Secret(p)
		}
	}
	return "", ""
}

// StaticToken is a source of one token. Advice says what to do when the platform
// no longer takes it.
func StaticToken(token Secret, advice string) TokenSource { return static{token, advice} }

type static struct {
	token  Secret
	advice string
}

func (s static) Token(context.Context) (Secret, error) { return s.token, nil }

func (s static) Renew(context.Context, Secret) (Secret, error) { return "", errors.New(s.advice) }

// Identity is what a token says about itself. It is for display only: the
// signature is not checked here.
type Identity struct {
	User    string    // empty where it does not say
	Expires time.Time // zero where it does not say
}

// Identify reads a token of Cognito, which is a JSON Web Token. Others say
// nothing.
func Identify(token Secret) (id Identity) {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return id
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return id
	}
	var o object
	if json.Unmarshal(body, &o) != nil {
		return id
	}
	id.User = clean(o.text("email", "username", "cognito:username", "sub"), maxID)
	id.Expires = asTime(o["exp"])
	return id
}

// Check asks the platform whether it takes the login, with the cheapest request
// there is, and returns who is logged in. There is no documented route that says
// who one is, so that part comes from the token.
func (c *Client) Check(ctx context.Context) (Identity, error) {
	var missing error
	for f := range Family(families) {
		_, err := c.get(ctx, familyRoutes[f], map[string][]string{"start": {"0"}, "count": {"1"}})
		if invalid(err) {
			_, err = c.get(ctx, familyRoutes[f], nil)
		}
		switch {
		case err == nil:
			token, err := c.tokens.Token(ctx)
			return Identify(token), err
		case errors.Is(err, NotFound), errors.Is(err, Gone):
			missing = err
		default:
			return Identity{}, err
		}
	}
	return Identity{}, noRoutes(missing)
}
