package platform

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
)

// readable fails where text of a server would do more to a terminal than appear.
func readable(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if !unicode.IsPrint(r) {
			t.Fatalf("%q holds %q", text, r)
		}
	}
}

// FuzzAnswers gives any bytes to every parser of the API's answers: each returns a
// value that keeps its promises, or an error of the kind Unreadable.
func FuzzAnswers(f *testing.F) {
	for _, s := range statuses {
		f.Add([]byte(s.body))
	}
	for _, d := range described {
		f.Add([]byte(d.body))
	}
	f.Add([]byte(`{"model_url":"` + signed + `","config_url":{"url":"x"}}`))
	f.Add([]byte(`{"tuned_model_performance":{"accuracy":1e999,"a":{"f1-score":"x"}}}`))
	f.Add([]byte(`[{"id":"a"},null]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		readable(t, string(parseStatus(body)))
		readable(t, detail(body))
		parseMetrics(body)
		for fam := range Family(families) {
			m, err := parseModel("GET /x", body, fam)
			if err != nil && !errors.Is(err, Unreadable) {
				t.Fatal(err)
			}
			readable(t, m.Name+m.Alias+string(m.Status))
			if err == nil && (validID(m.ID) != nil || url.PathEscape(m.ID) == "..") {
				t.Fatalf("id %q", m.ID)
			}
		}
		p, err := parsePage("GET /x", body)
		if err != nil && !errors.Is(err, Unreadable) {
			t.Fatal(err)
		}
		for _, raw := range p.items {
			_, _ = parseModel("GET /x", raw, SLM)
		}
		links, err := ask{c: &Client{}, route: "/x", required: true}.parse(body, urlKeys, []string{"config_url"})
		if err != nil && !errors.Is(err, Unreadable) {
			t.Fatal(err)
		}
		for _, l := range links {
			if l == nil {
				continue
			}
			if u, err := url.Parse(l.URL); err != nil || u.Scheme != "https" && !isLoopback(u) {
				t.Fatalf("link %q", l.URL)
			}
			if strings.Contains(l.String(), "?") {
				t.Fatalf("%q prints its query", l.URL)
			}
		}
	})
}

// FuzzAuth gives any bytes to the parsers of Cognito's answers and of the file of
// credentials.
func FuzzAuth(f *testing.F) {
	f.Add([]byte(`{"AuthenticationResult":{"AccessToken":"a","RefreshToken":"b"}}`))
	f.Add([]byte(`{"ChallengeName":"NEW_PASSWORD_REQUIRED"}`))
	f.Add([]byte(`{"version":1,"platforms":{"https://x":{"method":"token","token":"t","saved":"2026-01-01T00:00:00Z"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if l, err := parseAuth(body); err == nil && l.Token == "" {
			t.Fatal("a login without a token")
		}
		file, err := parseCredentials(body)
		if err != nil {
			return
		}
		for _, l := range file.Platforms {
			if l.Method != MethodCLI && l.Token == "" {
				t.Fatal("a login without a token was read")
			}
		}
	})
}

// FuzzText gives any text to what reads tokens, headers and addresses.
func FuzzText(f *testing.F) {
	for _, s := range []string{"Bearer abc", "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTU2MDE0MDYsInVzZXJuYW1lIjoiYSJ9.x", "30", "Wed, 21 Oct 2026 07:28:00 GMT", "https://api.distillabs.ai/", "X-Amz-Date=20260921T101112Z&X-Amz-Expires=3600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseToken(text); err == nil {
			if token == "" || strings.ContainsAny(string(token), " \r\n\t") {
				t.Fatalf("token %q", string(token))
			}
			readable(t, Identify(token).User)
		} else if len(text) > 12 && strings.Contains(err.Error(), text) {
			t.Fatal("the error repeats the token")
		}
		if d := retryAfter(http.Header{"Retry-After": {text}}, time.Unix(0, 0)); d < 0 {
			t.Fatalf("Retry-After %v", d)
		}
		if q, err := url.ParseQuery(text); err == nil {
			expiry(q)
		}
		if base, err := CleanURL(text); err == nil {
			if again, err := CleanURL(base); err != nil || again != base {
				t.Fatalf("%q, then %q, %v", base, again, err)
			}
		}
	})
}
