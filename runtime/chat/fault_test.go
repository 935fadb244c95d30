package chat

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cubby/runtime"
	"cubby/runtime/remote/remotetest"
)

// A fault that stays is one text's error, which says what happened and what to do.
func TestFaults(t *testing.T) {
	reply := func(choice string) http.HandlerFunc {
		return remotetest.Say(200, `{"choices":[`+choice+`]}`)
	}
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		code  runtime.Code
		say   string
		tries int
	}{
		"wrong key":           {remotetest.Say(401, `{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}`), runtime.CodeEngineFailed, "set the variable MY_KEY", 1},
		"forbidden":           {remotetest.Say(403, `{"error":{"message":"You have no access"}}`), runtime.CodeEngineFailed, "set the variable MY_KEY", 1},
		"no such model":       {remotetest.Say(404, `{"error":{"message":"The model 'big' does not exist","code":"model_not_found"}}`), runtime.CodeEngineFailed, "does not have the model (HTTP 404): The model 'big' does not exist: put it there again, or correct its name", 1},
		"no such model, 400":  {remotetest.Say(400, `{"error":{"message":"unknown","code":"model_not_found"}}`), runtime.CodeEngineFailed, "correct its name", 1},
		"no such path":        {remotetest.Say(404, "404 page not found"), runtime.CodeEngineFailed, "/v1/chat/completions", 1},
		"elsewhere":           {remotetest.Say(307, "", "Location", "http://127.0.0.1:1/"), runtime.CodeEngineFailed, "give the address that it means", 1},
		"rate limit":          {remotetest.Say(429, `{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}`, "Retry-After", "12"), runtime.CodeUnavailable, "Rate limit reached", 6},
		"no credit":           {remotetest.Say(429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`), runtime.CodeEngineFailed, "no credit left", 1},
		"busy":                {remotetest.Say(503, `{"error":{"message":"Loading model"}}`), runtime.CodeUnavailable, "Loading model", 6},
		"broken":              {remotetest.Say(500, `{"error":{"message":"CUDA error"}}`), runtime.CodeUnavailable, "CUDA error", 6},
		"gateway":             {remotetest.Say(502, "<html>Bad gateway"), runtime.CodeUnavailable, "Bad gateway", 6},
		"not implemented":     {remotetest.Say(501, `{"error":{"message":"chat is not implemented"}}`), runtime.CodeEngineFailed, "not implemented", 1},
		"cut in mid-answer":   {remotetest.Cut, runtime.CodeUnavailable, "broke off", 6},
		"hangs":               {remotetest.Hang, runtime.CodeUnavailable, "did not answer in time", 1},
		"endless":             {remotetest.Endless, runtime.CodeEngineFailed, "more than 16 MiB", 1},
		"no JSON":             {remotetest.Say(200, "<html>hello"), runtime.CodeEngineFailed, "not the JSON of a chat server", 1},
		"half JSON":           {remotetest.Say(200, `{"choices":[`), runtime.CodeEngineFailed, "not the JSON of a chat server", 1},
		"other JSON":          {remotetest.Say(200, `[1]`), runtime.CodeEngineFailed, "not the JSON of a chat server", 1},
		"nothing":             {remotetest.Say(200, ""), runtime.CodeEngineFailed, "not the JSON of a chat server", 1},
		"no choices":          {remotetest.Say(200, `{"choices":[]}`), runtime.CodeEngineFailed, "no choices", 1},
		"too long":            {remotetest.Say(400, `{"error":{"code":400,"message":"request (3031 tokens) exceeds the available context size (1024 tokens)","type":"exceed_context_size_error"}}`), runtime.CodeTextTooLong, "3031 tokens", 1},
		"too long, vLLM":      {remotetest.Say(400, `{"error":{"message":"'max_tokens' is too large: 64. This model's maximum context length is 128 tokens","code":400}}`), runtime.CodeTextTooLong, "128 tokens", 1},
		"too large":           {remotetest.Say(413, "Request Entity Too Large"), runtime.CodeTextTooLong, "Too Large", 1},
		"refused":             {remotetest.Say(400, `{"error":{"message":"something else"}}`), runtime.CodeEngineFailed, "something else", 1},
		"an error as answer":  {remotetest.Say(200, `{"error":{"code":502,"message":"Provider returned error"}}`), runtime.CodeUnavailable, "Provider returned error", 6},
		"its limit as answer": {remotetest.Say(200, `{"error":{"code":429,"message":"slow down"}}`), runtime.CodeUnavailable, "slow down", 6},
		"its key as answer":   {remotetest.Say(200, `{"error":{"code":401,"message":"no"}}`), runtime.CodeEngineFailed, "set the variable MY_KEY", 1},
		"length":              {reply(`{"message":{"content":"{\"label\": \"ca"},"finish_reason":"length"}`), runtime.CodeEngineFailed, "cut off before its end: finish_reason is length", 1},
		"thought":             {reply(`{"message":{"content":null},"finish_reason":"length"}`), runtime.CodeEngineFailed, "let the model say more", 1},
		"refusal":             {reply(`{"message":{"content":null,"refusal":"I'm sorry"},"finish_reason":"stop"}`), runtime.CodeEngineFailed, "refused to answer", 1},
		"filtered":            {reply(`{"message":{"content":""},"finish_reason":"content_filter"}`), runtime.CodeEngineFailed, "filter", 1},
		"null":                {reply(`{"message":{"content":null},"finish_reason":"tool_calls"}`), runtime.CodeEngineFailed, `null, and finish_reason "tool_calls"`, 1},
		"no message":          {reply(`{}`), runtime.CodeEngineFailed, "has no text", 1},
		"prose":               {reply(`{"message":{"content":"It is cash, says SECRET"},"finish_reason":"stop"}`), runtime.CodeEngineFailed, "none of the labels", 1},
		"no label":            {reply(`{"message":{"content":"{\"label\":\"SECRET\"}"},"finish_reason":"stop"}`), runtime.CodeEngineFailed, "none of the labels", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			b := f.open(t, func(o *Options) { o.KeyFrom, o.Slots = "the variable MY_KEY", 1 })
			if name == "hangs" {
				b.ask.Timeout = time.Second
			}
			f.completions.Always(c.fault)
			r := one(t, b, "my card")
			if r.Err == nil || r.Distribution != nil {
				t.Fatalf("%+v", r)
			}
			if r.Err.Code != c.code || !strings.Contains(r.Err.Error(), c.say) || strings.Contains(r.Err.Error(), "SECRET") || strings.Contains(r.Err.Error(), "my card") {
				t.Errorf("%s: %v; want %s, %s", r.Err.Code, r.Err, c.code, c.say)
			}
			if (r.Err.RetryAfter > 0) != (c.code == runtime.CodeUnavailable) {
				t.Errorf("retry after %v", r.Err.RetryAfter)
			}
			if n := f.completions.Asked(); n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
			f.completions.Always(nil)
			time.Sleep(healKept)
			if r := one(t, b, "my card"); best(r) != "card" {
				t.Errorf("after the fault: %s", best(r))
			}
			if s := b.Stats(); s.Answered != 1 || s.Failed != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A fault that passes is nobody's error.
func TestFaultsThatPass(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	for name, fault := range map[string]http.HandlerFunc{
		"rate limit": remotetest.Say(429, "", "Retry-After", "3600"), // capped
		"busy":       remotetest.Say(503, ""), "broken": remotetest.Say(500, ""), "cut": remotetest.Cut,
	} {
		f.completions.Next(fault, fault, fault)
		if r := one(t, b, "card"); best(r) != "card" {
			t.Errorf("%s: %s", name, best(r))
		}
	}
}

// One text's fault is not the others', and all keep their order.
func TestFaultsOfOneText(t *testing.T) {
	f := newFake(t)
	f.say = func(text string) string {
		if strings.Contains(text, "bad") {
			return "no"
		}
		return answerOf(text)
	}
	b := f.open(t)
	texts := []string{"cash", "bad", "card", "other", "bad 2", "cash"}
	results, err := b.Score(t.Context(), runtime.Request{Texts: texts})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if bad := strings.Contains(texts[i], "bad"); bad != (r.Err != nil) || !bad && best(r) != texts[i] {
			t.Errorf("%q: %s", texts[i], best(r))
		}
	}
	balanced(t, b)
	if s := b.Stats(); s.Answered != 4 || s.Failed != 2 {
		t.Errorf("%+v", s)
	}
}

// While the server is away, the texts do not each find out with all their tries.
func TestAnOutageIsFoundOutOnce(t *testing.T) {
	f := newFake(t)
	b := f.open(t, func(o *Options) { o.Slots = 1 })
	f.completions.Always(remotetest.Cut)
	f.models.Always(remotetest.Cut)
	texts := make([]string, 100)
	for i := range texts {
		texts[i] = strings.Repeat("x", i+1)
	}
	for range 3 {
		results, err := b.Score(t.Context(), runtime.Request{Texts: texts})
		if err != nil || slices.ContainsFunc(results, func(r runtime.Result) bool { return r.Err == nil || r.Err.Code != runtime.CodeUnavailable }) {
			t.Fatalf("%v", err)
		}
	}
	if n := f.completions.Asked(); n != DefaultMaxAttempts {
		t.Errorf("%d questions", n)
	}
	f.completions.Always(nil)
	f.models.Always(nil)
	time.Sleep(healKept)
	if r := one(t, b, "card"); best(r) != "card" {
		t.Errorf("after the outage: %s", best(r))
	}
}

func TestTheCallerLeaves(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	f.completions.Always(remotetest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := b.Score(ctx, runtime.Request{Texts: []string{"a", "b", "c", "d", "e"}})
	var e *runtime.Error
	if !errors.As(err, &e) || e.Code != runtime.CodeDeadline {
		t.Errorf("%v", err)
	}
	if s := b.Stats(); s.Cancelled != 5 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Score(gone, runtime.Request{Texts: []string{"a"}}); !errors.As(err, &e) || e.Code != runtime.CodeCanceled {
		t.Errorf("%v", err)
	}
	balanced(t, b)
}

func TestOpenFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		say   string
	}{
		"key":     {remotetest.Say(401, `{"error":{"message":"no"}}`), "set the option Key"},
		"model":   {remotetest.Say(404, `{"error":{"message":"model 'big' not found"}}`), "does not have the model"},
		"prompt":  {remotetest.Say(400, `{"error":{"message":"exceeds the available context size (512 tokens)"}}`), "512 tokens"},
		"garbage": {remotetest.Say(200, `hello`), "not the JSON"},
	} {
		f := newFake(t)
		f.completions.Always(c.fault)
		if _, err := Open(t.Context(), f.options()); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFake(t)
	f.key = "k"
	opt := f.options()
	opt.Key = "wrong"
	if _, err := Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "refuses the API key") || strings.Contains(err.Error(), "wrong:") {
		t.Errorf("%v", err)
	}
}
