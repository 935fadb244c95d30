package platform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
	"cubby/internal/wait"
)

// Each way to fail: its kind, how often it is tried, and what the user reads.
func TestFailures(t *testing.T) {
	json := func(text string) string { return `{"detail":"` + text + `"}` }
	for _, c := range []struct {
		name   string
		fault  localplatform.Fault
		kind   Kind
		tries  int
		phrase []string
	}{
		{"no login", localplatform.Fault{Status: 401, Body: json("Unauthorized")}, Auth, 2, []string{"HTTP 401: Unauthorized", "get a fresh one"}},
		{"expired", localplatform.Fault{Status: 403, Body: `{"message":"expired"}`}, Auth, 2, []string{"HTTP 403: expired", "get a fresh one"}},
		{"unconfirmed", localplatform.Fault{Status: 400, Body: json("Email confirmation required")}, Auth, 2, []string{"confirm the address in the mail"}},
		{"no credits", localplatform.Fault{Status: 402, Body: json("0 left")}, Payment, 1, []string{"HTTP 402: 0 left", "balance"}},
		{"not ready", localplatform.Fault{Status: 409, Body: json("still processing")}, NotReady, 1, []string{"HTTP 409: still processing", "fetch list"}},
		{"validation", localplatform.Fault{Status: 418, Body: json("teapot")}, Refused, 1, []string{"HTTP 418: teapot"}},
		{"too fast", localplatform.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, RateLimit, 3, []string{"HTTP 429", "try again in 7s"}},
		{"much too fast", localplatform.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}, RateLimit, 1, []string{"try again in 1h0m0s"}},
		{"too fast, no time", localplatform.Fault{Status: 429}, RateLimit, 3, []string{"wait, then try again"}},
		{"broken", localplatform.Fault{Status: 500, Body: "<html>oops"}, Server, 3, []string{"HTTP 500)", "a few minutes"}},
		{"maintenance", localplatform.Fault{Status: 503, Header: http.Header{"Retry-After": {"2"}}}, Server, 3, []string{"HTTP 503"}},
		{"dropped", localplatform.Fault{Drop: true}, Network, 3, []string{"cannot be reached", "check the connection"}},
		{"cut", localplatform.Fault{CutAfter: 20}, Network, 3, []string{"unexpected EOF"}},
		{"a sign-in page", localplatform.Fault{Body: "<!DOCTYPE html><html>sign in</html>"}, Unreadable, 1, []string{"a web page", "no proxy or sign-in page"}},
		{"empty", localplatform.Fault{Status: 204}, Unreadable, 1, []string{"HTTP 204"}},
		{"another shape", localplatform.Fault{Body: `{"ok":true}`}, Unreadable, 1, []string{"holds no list", "update fetch"}},
		{"a model without an id", localplatform.Fault{Body: `[{"name":"x"}]`}, Unreadable, 1, []string{"without an id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, localplatform.Options{})
			c.fault.Route = "GET /slms"
			w.Break(c.fault)
			client := w.as(t, nil)
			_, err := client.List(context.Background())
			if !errors.Is(err, c.kind) {
				t.Fatalf("%v: not of the kind %q", err, c.kind)
			}
			for _, other := range []Kind{Network, Auth, Payment, NotFound, NotReady, Gone, RateLimit, Server, Refused, Expired, Unreadable} {
				if other != c.kind && errors.Is(err, other) {
					t.Errorf("%v: also of the kind %q", err, other)
				}
			}
			for _, p := range append(c.phrase, "GET /slms: "+string(c.kind)) {
				if !strings.Contains(err.Error(), p) {
					t.Errorf("%q does not say %q", err, p)
				}
			}
			if n := w.count("GET /slms"); n != c.tries {
				t.Errorf("it was tried %d times, not %d", n, c.tries)
			}
			var e *Error
			if errors.As(err, &e) && c.kind == RateLimit && c.fault.Header != nil && e.RetryAfter == 0 {
				t.Error("it does not tell how long to wait")
			}
			// It passes: the next request is answered.
			w.Heal()
			if list, err := client.List(context.Background()); err != nil || len(list) != 8 {
				t.Errorf("afterwards: %d models, %v", len(list), err)
			}
		})
	}
}

// What passes by itself is not noticed, and the pause is the one asked for.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		fault localplatform.Fault
		want  string
	}{
		{localplatform.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Times: 2}, "[7s 7s]"},
		{localplatform.Fault{Status: 502, Times: 2}, "[1s 2s]"},
		{localplatform.Fault{Drop: true, Times: 1}, "[1s]"},
		{localplatform.Fault{CutAfter: 10, Times: 1}, "[1s]"},
	} {
		w := newWorld(t, localplatform.Options{})
		c.fault.Route = "GET /slms"
		w.Break(c.fault)
		_, err := w.as(t, nil).List(context.Background())
		if got := fmt.Sprint(w.pauses); err != nil || got != c.want {
			t.Errorf("%+v: pauses %s, want %s, %v", c.fault, got, c.want, err)
		}
	}
	w := newWorld(t, localplatform.Options{})
	c := w.as(t, nil)
	list, err := c.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	w.Break(localplatform.Fault{Route: "GET /s3/", Status: 503, Times: 2})
	if _, err := c.Config(context.Background(), list[0]); err != nil || fmt.Sprint(w.pauses) != "[1s 2s]" {
		t.Errorf("a file: pauses %v, %v", w.pauses, err)
	}
}

func TestGone(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGone)
		fmt.Fprint(w, `{"detail":"use /students"}`)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	c, err := New(Options{URL: s.URL, Tokens: StaticToken("x", "y")})
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []func() error{
		func() error { _, err := c.List(context.Background()); return err },
		func() error { _, err := c.List(context.Background()); return err }, // from memory
		func() error { _, err := c.Check(context.Background()); return err },
	} {
		if err := call(); !errors.Is(err, Gone) || !strings.Contains(err.Error(), "update it") {
			t.Error(err)
		}
	}
	if err := noRoutes(&Error{Kind: NotFound}); !strings.Contains(err.Error(), "check its address") {
		t.Error(err)
	}
}

// One model that fails leaves the others described.
func TestDetailGoesOn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{})
	c := w.as(t, nil)
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.Break(localplatform.Fault{Route: "GET /slms/" + list[2].ID + "/status", Status: 500})
	if err := c.DetailAll(ctx, list); !errors.Is(err, Server) {
		t.Errorf("%v", err)
	}
	for i, m := range list {
		if (m.Accuracy != nil) != (i != 2) {
			t.Errorf("model %d: %+v", i, m)
		}
	}
	w.Heal()
	w.Revoke()
	before := len(w.Requests())
	fresh, _ := w.as(t, nil).List(ctx)
	if err := c.DetailAll(ctx, fresh); !errors.Is(err, Auth) {
		t.Errorf("%v", err)
	}
	if n := len(w.Requests()) - before; n > 4*maxDetails {
		t.Errorf("%d requests after the login had ended", n)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w := newWorld(t, localplatform.Options{})
	w.Break(localplatform.Fault{Delay: time.Hour})
	c := w.as(t, nil)
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.List(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := c.Read(ctx, Link{URL: w.server.URL}, 10); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := wait.For(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := wait.For(context.Background(), time.Nanosecond); err != nil {
		t.Error(err)
	}
	if err := c.DetailAll(ctx, make([]Model, 9)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// No error of a file's download shows its signature.
func TestSignatureIsNotShown(t *testing.T) {
	w := newWorld(t, localplatform.Options{})
	c := w.as(t, nil)
	for _, f := range []localplatform.Fault{{Drop: true}, {Status: 403, Body: "<Error><Code>AccessDenied</Code>"}, {Status: 400, Body: "<Error><Code>ExpiredToken</Code></Error>"}, {Status: 500, Body: "x"}, {CutAfter: 1}} {
		w.Heal()
		f.Route = "GET /s3/"
		w.Break(f)
		_, err := c.readLink(context.Background(), Link{URL: w.server.URL + "/s3/x?X-Amz-Signature=SECRET"}, 10)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%+v: %v", f, err)
		}
		if f.Status/100 == 4 && !errors.Is(err, Expired) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, " 5 ": 5 * time.Second, "Wed, 21 Oct 2026 07:28:30 GMT": 30 * time.Second, "Wed, 21 Oct 2026 07:00:00 GMT": 0, "": 0, "-3": 0, "soon": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
