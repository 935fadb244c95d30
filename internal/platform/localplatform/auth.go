package localplatform

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Token returns a token that is good for an hour, as a login would.
func (p *Platform) Token() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newToken()
}

// newToken looks like Cognito's: a JSON Web Token, here with a signature that is
// none.
func (p *Platform) newToken() string {
	p.serial++
	expires := p.opt.Now().Add(tokenLifetime)
	part := func(v any) string {
		data, _ := json.Marshal(v) // a map of strings and numbers
		return base64.RawURLEncoding.EncodeToString(data)
	}
	token := part(map[string]string{"alg": "none"}) + "." +
		part(map[string]any{"username": p.opt.User, "token_use": "access", "exp": expires.Unix(), "jti": p.serial}) + "." + part("local")
	p.tokens[token] = expires
	return token
}

// Revoke ends all tokens, as the hour does; refresh tokens stay.
func (p *Platform) Revoke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens)
}

// RevokeRefresh ends the refresh tokens.
func (p *Platform) RevokeRefresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.refresh)
}

// authorize lets a request through that brings a good token: 401 for none or a
// strange one, 403 for one that has expired.
func (p *Platform) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		p.mu.Lock()
		expires, known := p.tokens[token]
		p.mu.Unlock()
		switch {
		case token == "", !known, bearer == p.opt.BareTokens:
			refuse(w, http.StatusUnauthorized, "Invalid or missing token")
		case !p.opt.Now().Before(expires):
			refuse(w, http.StatusForbidden, "Token expired")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// cognito answers InitiateAuth.
func (p *Platform) cognito(w http.ResponseWriter, r *http.Request) {
	fail := func(kind, text string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":%q}`, kind, text)
	}
	var q struct {
		AuthFlow, ClientId string
		AuthParameters     map[string]string
	}
	switch err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); {
	case r.Method != http.MethodPost || r.Header.Get("X-Amz-Target") != "AWSCognitoIdentityProviderService.InitiateAuth":
		fail("UnknownOperationException", "")
		return
	case err != nil || r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		fail("SerializationException", "")
		return
	case q.ClientId == "":
		fail("InvalidParameterException", "Missing required parameter ClientId")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	result := map[string]any{"ExpiresIn": int(tokenLifetime / time.Second), "TokenType": "Bearer"}
	switch q.AuthFlow {
	case "USER_PASSWORD_AUTH":
		if q.AuthParameters["USERNAME"] != p.opt.User || q.AuthParameters["PASSWORD"] != p.opt.Password {
			fail("NotAuthorizedException", "Incorrect username or password.")
			return
		}
		if !p.opt.NoRefresh {
			p.serial++
			token := fmt.Sprintf("refresh-%s-%d", id("refresh", p.opt.User), p.serial)
			p.refresh[token] = true
			result["RefreshToken"] = token
		}
	case "REFRESH_TOKEN_AUTH":
		if !p.refresh[q.AuthParameters["REFRESH_TOKEN"]] {
			fail("NotAuthorizedException", "Invalid Refresh Token")
			return
		}
	default:
		fail("InvalidParameterException", "Initiate Auth method not supported.")
		return
	}
	result["AccessToken"] = p.newToken()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"AuthenticationResult": result, "ChallengeParameters": map[string]string{}})
}
