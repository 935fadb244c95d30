package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The user pool of the platform, from its notebooks and backend-api.md.
const (
	cognitoURL      = "https://cognito-idp.eu-central-1.amazonaws.com"
	cognitoClient   = "4569nvlkn8dm0iedo54nbta6fd"
	cognitoDev      = "3b7cng3qhts9cgglmbh854vplc"
	cognitoTarget   = "AWSCognitoIdentityProviderService.InitiateAuth"
	cognitoType     = "application/x-amz-json-1.1"
	cognitoRequest  = "InitiateAuth" // as messages name it
	maxCognito      = 1 << 20
	cognitoDuration = time.Minute
)

// sharedHTTP keeps the connections of all logins in one pool.
var sharedHTTP = NewHTTP()

// Cognito is the service that the platform keeps its users in. The zero value is
// that of DefaultURL.
type Cognito struct {
	URL      string       // empty for Amazon's, of the platform's region
	ClientID string       // empty for the platform's
	HTTP     *http.Client // nil for one with sensible limits
}

// CognitoFor returns the service for a platform: the one under test has users of
// its own.
func CognitoFor(platform string) Cognito {
	if u, err := url.Parse(platform); err == nil && u.Host == devHost {
		return Cognito{ClientID: cognitoDev}
	}
	return Cognito{}
}

// Password logs in with InitiateAuth and the flow USER_PASSWORD_AUTH. The token
// lives an hour; Cognito usually gives one to renew it with, which the platform
// does not document.
func (g Cognito) Password(ctx context.Context, user string, password Secret) (Login, error) {
	l, err := g.initiate(ctx, "USER_PASSWORD_AUTH", map[string]string{"USERNAME": user, "PASSWORD": string(password)}, password)
	l.User = user
	return l, err
}

// Refresh gets a new token with Cognito's flow REFRESH_TOKEN_AUTH.
func (g Cognito) Refresh(ctx context.Context, l Login) (Login, error) {
	fresh, err := g.initiate(ctx, "REFRESH_TOKEN_AUTH", map[string]string{"REFRESH_TOKEN": string(l.Refresh)}, l.Refresh)
	fresh.User = l.User
	fresh.Refresh = cmp.Or(fresh.Refresh, l.Refresh)
	return fresh, err
}

func (g Cognito) initiate(ctx context.Context, flow string, parameters map[string]string, secret Secret) (Login, error) {
	address, err := CleanURL(cmp.Or(g.URL, cognitoURL))
	if err != nil {
		return Login{}, err
	}
	body, err := json.Marshal(map[string]any{"AuthFlow": flow, "ClientId": cmp.Or(g.ClientID, cognitoClient), "AuthParameters": parameters})
	if err != nil {
		return Login{}, err
	}
	limited, cancel := context.WithTimeout(ctx, cognitoDuration)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, address+"/", bytes.NewReader(body))
	if err != nil {
		return Login{}, err
	}
	req.Header.Set("Content-Type", cognitoType)
	req.Header.Set("X-Amz-Target", cognitoTarget)
	req.Header.Set("User-Agent", userAgent)
	hc := *cmp.Or(g.HTTP, sharedHTTP)
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := hc.Do(req)
	if err != nil {
		return Login{}, networkError(ctx, cognitoRequest, address, err)
	}
	defer resp.Body.Close()
	answer, err := readAnswer(ctx, cognitoRequest, address, resp, maxCognito)
	if err != nil {
		return Login{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Login{}, cognitoError(resp, answer, secret)
	}
	l, err := parseAuth(answer)
	l.ClientID = g.ClientID
	return l, err
}

// parseAuth reads the answer of InitiateAuth: tokens, or a challenge.
func parseAuth(body []byte) (Login, error) {
	var a struct {
		AuthenticationResult *struct{ AccessToken, RefreshToken string }
		ChallengeName        string
	}
	if json.Unmarshal(body, &a) != nil {
		return Login{}, unreadable(cognitoRequest, "it is not JSON, but %s", looksLike(body))
	}
	if a.AuthenticationResult == nil || a.AuthenticationResult.AccessToken == "" {
		if a.ChallengeName != "" {
			return Login{}, &Error{Kind: Auth, Request: cognitoRequest, Detail: "the account asks for " + clean(a.ChallengeName, 60),
				Hint: "finish that in the platform's console, or log in with its CLI: distil auth, then fetch login -cli"}
		}
		return Login{}, unreadable(cognitoRequest, "it holds no token")
	}
	token, err := ParseToken(a.AuthenticationResult.AccessToken)
	if err != nil {
		return Login{}, unreadable(cognitoRequest, "%v", err)
	}
	l := Login{Method: MethodPassword, Token: token}
	if text := a.AuthenticationResult.RefreshToken; text != "" {
		if l.Refresh, err = ParseToken(text); err != nil {
			return Login{}, unreadable(cognitoRequest, "%v", err)
		}
	}
	return l, nil
}

// cognitoErrors are the exceptions of InitiateAuth, by Amazon's reference, that
// mean more than their status.
var cognitoErrors = map[string]struct {
	kind Kind
	hint string
}{
	"NotAuthorizedException":         {Auth, "check the user and the password, then try again: fetch login"},
	"UserNotFoundException":          {Auth, "check the user and the password, then try again: fetch login"},
	"UserNotConfirmedException":      {Auth, "confirm the address in the mail that distil labs sent, then try again"},
	"PasswordResetRequiredException": {Auth, "set a new password in the platform's console, then try again"},
	"InvalidParameterException":      {Auth, "the platform may no longer take passwords: log in with its CLI (distil auth), then fetch login -cli"},
	"ResourceNotFoundException":      {Auth, "the platform may no longer take passwords: log in with its CLI (distil auth), then fetch login -cli"},
	"TooManyRequestsException":       {RateLimit, ""},
	"LimitExceededException":         {RateLimit, ""},
}

func cognitoError(resp *http.Response, body []byte, secret Secret) error {
	e := answerError(cognitoRequest, resp, body, secret)
	var a struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(body, &a) // without a type, the status decides
	_, name, found := strings.Cut(a.Type, "#")
	if !found {
		name = a.Type
	}
	if known, ok := cognitoErrors[name]; ok {
		e.Kind, e.Hint = known.kind, known.hint
	}
	return e
}
