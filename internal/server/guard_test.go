package server

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/runtime"
)

const testKey = "0123456789abcdef-key"

func TestHostNames(t *testing.T) {
	s := readyServer(newFake(), Options{})
	for _, host := range []string{"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "::1", "192.168.1.4:8080", "app.localhost:1"} {
		want(t, ask(s, "GET", "/v1/models", "", "Host", host), http.StatusOK, "")
	}
	for _, host := range []string{"evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", ""} {
		for _, path := range []string{"/v1/models", "/metrics", "/readyz", "/nothing"} {
			want(t, ask(s, "GET", path, "", "Host", host), 421, codeBadHost)
		}
	}
	keyed := New(Options{APIKey: testKey}, true)
	keyed.Ready(newFake())
	want(t, ask(keyed, "GET", "/v1/models", "", "Host", "proxy.example", "Authorization", "Bearer "+testKey), http.StatusOK, "")
}

func TestWebPagesOfOthers(t *testing.T) {
	s := readyServer(newFake(), Options{})
	want(t, post(s, `{"input":"a"}`, "Sec-Fetch-Site", "cross-site"), 403, codeCrossOrigin)
	want(t, post(s, `{"input":"a"}`, "Origin", "https://evil.example"), 403, codeCrossOrigin)
	want(t, post(s, `{"input":"a"}`, "Origin", "http://127.0.0.1:8080"), http.StatusOK, "")
	want(t, post(s, `{"input":"a"}`), http.StatusOK, "")
}

func TestAPIKey(t *testing.T) {
	s := New(Options{APIKey: testKey}, false)
	s.Ready(newFake())
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + testKey, testKey, "Bearer " + testKey + "x", "Bearer " + testKey[1:]} {
		w := post(s, `{"input":"a"}`, "Authorization", header)
		want(t, w, 401, codeUnauthorized)
		if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Error("no WWW-Authenticate header")
		}
	}
	for _, path := range []string{"/v1/models", "/metrics"} {
		want(t, ask(s, "GET", path, ""), 401, codeUnauthorized)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		want(t, ask(s, "GET", path, ""), http.StatusOK, "")
	}
	for _, header := range []string{"Bearer " + testKey, "bearer " + testKey} {
		want(t, post(s, `{"input":"a"}`, "Authorization", header), http.StatusOK, "")
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	file := func(content string) string {
		name := filepath.Join(dir, "key")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tc := range []struct{ file, key, want, err string }{
		{"", "", "", ""},
		{"", testKey, testKey, ""},
		{file(testKey + "\n"), "another-key-of-length", testKey, ""},
		{"", "short", "", "at least 16"},
		{filepath.Join(dir, "absent"), "", "", "no such file"},
	} {
		got, err := ReadKey(tc.file, tc.key)
		if got != tc.want || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("ReadKey(%q, %q) = %q, %v", tc.file, tc.key, got, err)
		}
	}
	if _, err := ReadKey(file(" \n"), ""); err == nil {
		t.Error("an empty key file means no key")
	}
}

// secret stands for a user's text wherever a client can put one.
const secret = "my-salary-is-4711"

func TestNoTextInLogsOrMetrics(t *testing.T) {
	log := &syncBuffer{}
	s := readyServer(newFake(), Options{Log: testLog(log)})
	broken := readyServer(failing(&runtime.Error{Code: runtime.CodeEngineFailed, Message: "broken"}), Options{Log: testLog(log), Metrics: NewMetrics()})
	for _, srv := range []*Server{s, broken} {
		for _, body := range []string{
			`{"input":"` + secret + `"}`, `{"input":["` + secret + `",""]}`, `{"input":[{"id":"` + secret + `","text":"` + secret + `"}]}`,
			`{"` + secret + `":1}`, `{"input":"a","model":"` + secret + `"}`, `{"input":"a","scoring":"` + secret + `"}`, secret, `{"input":"a` + secret + "\xff",
			`{"` + secret + `":1,"` + secret + `":1}`,
		} {
			w := post(srv, body, "X-Request-Id", secret+" !", "User-Agent", secret, "X-Note", secret)
			if w.Code != http.StatusOK && strings.Contains(w.Body.String(), secret) {
				t.Errorf("an error quotes the client: %s", w.Body)
			}
		}
		ask(srv, "GET", "/"+secret+"?q="+secret, "")
		ask(srv, "GET", "/v1/models?q="+secret, "", "Host", secret)
		ask(srv, strings.ToUpper(secret), "/v1/classify", "")
		post(srv, "", "Content-Type", secret, "Content-Encoding", secret)
		if m := ask(srv, "GET", "/metrics", "").Body.String(); strings.Contains(strings.ToLower(m), secret) {
			t.Error("a text got into the metrics")
		}
	}
	if strings.Contains(strings.ToLower(log.String()), secret) {
		t.Errorf("a text got into the log:\n%s", log)
	}
	if !strings.Contains(log.String(), `"route":"/v1/classify","status":200`) {
		t.Errorf("requests are not logged:\n%s", log)
	}
}

func TestRequestID(t *testing.T) {
	s := readyServer(newFake(), Options{})
	if got := post(s, "", requestID, "trace-1.a_B").Header().Get(requestID); got != "trace-1.a_B" {
		t.Errorf("id %q was not taken over", got)
	}
	for _, id := range []string{"", "has space", strings.Repeat("a", 65), "ä"} {
		if got := post(s, "", requestID, id).Header().Get(requestID); got == id || len(got) < 16 {
			t.Errorf("id %q became %q", id, got)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := readyServer(newFake(), Options{Cache: runtime.NewCache(1000)})
	post(s, `{"input":["a","b",""]}`)
	post(s, `{`)
	ask(s, "GET", "/nothing", "")
	o := s.opt.Metrics.Observer("bank")
	o.Pass(3, 40, 20e6)
	o.Queued(40)
	o.Tokenized(1e6)
	text := ask(s, "GET", "/metrics", "").Body.String()
	for _, line := range []string{
		`cubby_requests_total{route="/v1/classify",status="200"} 1`,
		`cubby_requests_total{route="/v1/classify",status="400"} 1`,
		`cubby_requests_total{route="unmatched",status="404"} 1`,
		`cubby_texts_total{model="bank",outcome="answered"} 2`,
		`cubby_texts_total{model="bank",outcome="empty_text"} 1`,
		`cubby_labels_total{label="card",model="bank"} 2`,
		`cubby_labels_total{label="cash",model="bank"} 0`,
		`cubby_labels_total{label="loan <small>",model="bank"} 0`,
		`cubby_pass_items_sum{model="bank"} 3`,
		`cubby_pass_tokens_sum{model="bank"} 40`,
		`cubby_queue_tokens{model="bank"} 40`,
		`cubby_stage_seconds_sum{stage="compute"} 0.02`,
		`cubby_stage_seconds_sum{stage="tokenize"} 0.001`,
		`cubby_stage_seconds_count{stage="queue"} 2`,
		`cubby_stage_seconds_count{stage="parse"} 2`,
		`cubby_scheduler_texts_total{model="bank",state="admitted"} 7`,
		`cubby_scheduler_texts_total{model="bank",state="cancelled"} 2`,
		`cubby_scheduler_in_flight{model="bank"} 0`,
		`cubby_model_loaded{model="bank"} 1`,
		`cubby_model_loads_total{model="bank"} 2`,
		`cubby_model_memory_bytes{kind="kv",model="bank"} 50`,
		`cubby_model_memory_bytes{kind="weights",model="bank"} 4000`,
		`cubby_device_memory_bytes{device="CUDA0",model="bank",state="free"} 7`,
		`cubby_device_memory_bytes{device="CUDA0",model="bank",state="total"} 9`,
		`cubby_cache_lookups_total{result="hit"} 0`,
		`cubby_cache_entries 0`,
		`cubby_model_info{artifact="sha256:ab12",device="cpu",engine="native",kernel="portable",model="bank",scoring="constrained",threads="2"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !strings.Contains(text, "\ngo_goroutines ") {
		t.Error("the Go collector is missing")
	}
}
