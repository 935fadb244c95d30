package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cubby/runtime/remote/remotetest"
)

func TestTransportMakesFaultsOfAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		missing bool
		fault   Fault
		says    string
	}{
		"well":              {remotetest.Say(200, "{}"), false, 0, ""},
		"busy":              {remotetest.Say(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`), false, Busy, "HTTP 503): Loading model:"},
		"too many":          {remotetest.Say(429, ""), false, Busy, "HTTP 429"},
		"failed":            {remotetest.Say(500, `{"error":"llama runner process has terminated"}`), false, Broken, "terminated"},
		"bad gateway":       {remotetest.Say(502, "<html>"), false, Broken, "<html>"},
		"out of memory":     {remotetest.Say(500, `{"error":"model requires more system memory (9 GiB) than is available (2 GiB)"}`), false, Memory, "less context"},
		"cuda":              {remotetest.Say(500, `{"error":"CUDA error: out of memory"}`), false, Memory, ""},
		"no model":          {remotetest.Say(404, `{"error":"model 'x' not found"}`), true, Missing, "model 'x' not found"},
		"another program":   {remotetest.Say(404, "404 page not found"), false, Unreadable, "another program"},
		"key":               {remotetest.Say(401, `{"error":{"message":"Invalid API Key"}}`), false, Denied, "Invalid API Key"},
		"question":          {remotetest.Say(400, `{"error":{"message":"Prompt contains invalid tokens"}}`), false, Refused, "invalid tokens"},
		"flat message":      {remotetest.Say(400, `{"object":"error","message":"temperature must not be negative","code":400}`), false, Refused, "400): temperature must"},
		"elsewhere":         {remotetest.Say(302, "", "Location", "http://elsewhere.example/"), false, Refused, "elsewhere.example"},
		"long words":        {remotetest.Say(500, strings.Repeat("ä ", 9999)), false, Broken, "…"},
		"cut":               {remotetest.Cut, false, Unreachable, "broke off"},
		"endless":           {remotetest.Endless, false, Unreadable, "more than 16 MiB"},
		"words of no order": {remotetest.Say(400, "\xff\x00\n\n x"), false, Refused, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.answer)
			defer srv.Close()
			tr := &Transport{Base: Base(nil, 1), Server: "test server", Missing: c.missing}
			defer tr.CloseIdle()
			resp, err := tr.Client().Get(srv.URL)
			if c.fault == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(resp.Body); string(b) != "{}" || err != nil {
					t.Errorf("%q %v", b, err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			e := As(err, "")
			if e.Fault != c.fault || !strings.Contains(e.Error(), c.says) || len(e.Error()) > 700 {
				t.Errorf("fault %d: %v", e.Fault, e)
			}
		})
	}
}

func TestTransportTellsNobodyThereFromNoTime(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(remotetest.Hang))
	defer srv.Close()
	tr := &Transport{Base: Base(nil, 1), Server: "test server"}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Client().Do(req); As(err, "").Fault != Slow {
		t.Errorf("slow: %v", err)
	}
	tr.CloseIdle()
	srv.Close()
	_, err = tr.Client().Get(srv.URL)
	if e := As(err, ""); e.Fault != Unreachable || !strings.Contains(e.Error(), "start it") {
		t.Errorf("down: %v", err)
	}
	if As(errors.New("?"), "x").Fault != Unreadable {
		t.Error("an unknown error has no fault")
	}
}

func TestRetryAfterHasTwoForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080", "https://host/proxy/": "https://host/proxy", "http://[::1]:1/": "http://[::1]:1",
		"": "", "127.0.0.1:8080": "", "localhost:8080": "", "ftp://host": "", "http://": "", "http://:80": "", "http://h/?a": "", "http://h/#f": "",
		"http://user:secret@h": "", "http://user:secret@h:port": "", "http://h:port": "", "file:///etc": "", "http://h/?": "",
	} {
		u, err := ParseURL(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q was taken as %v", in, u)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: the error tells the password: %v", in, err)
			}
			continue
		}
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

func TestWordsThatRepeatTheQuestion(t *testing.T) {
	const question = `{"prompt":[1, 9690, 198, 8530, 17, 4, 99],"text":"my card was charged twice yesterday"}`
	for words, want := range map[string]bool{
		"": false, "Prompt contains invalid tokens": false, "temperature must not be negative": false,
		"bad: [1,9690,198,8530,17,4,99]":                         true,
		"cannot parse: My text: my card was  charged twice yes…": true,
	} {
		if got := repeats(words, question); got != want {
			t.Errorf("%q: %v", words, got)
		}
	}
}
