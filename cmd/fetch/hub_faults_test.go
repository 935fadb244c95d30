package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cubby/internal/hub/localhub"
)

func oneRepo(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	repo(t, root, "org/m", map[string]string{"model.gguf": demoGGUF(t), "model_client.py": hubClientText, "job_description.json": hubJob})
	return root
}

// What can go wrong on the way has its exit code and says what to do; what came is
// kept, and the same command succeeds when the fault is gone. The host of large files
// never gets the token, which is sent here with every request to the hub.
func TestHubPullFaults(t *testing.T) {
	type fault = localhub.Fault
	const part = 10 << 20
	soon := http.Header{"Retry-After": {"0"}}
	later := http.Header{"Retry-After": {"3600"}}
	for _, row := range []struct {
		name     string
		hub, cdn []fault
		code     int
		says     string
	}{
		{"the hub asks to slow down, and then answers", []fault{{Route: "GET /api/", Times: 1, Status: 429, Header: soon}}, nil, exitOK, ""},
		{"the hub asks to wait longer than anybody does", []fault{{Route: "GET /api/", Status: 429, Header: later}}, nil, exitNetwork, "run the same command again in 1h0m0s"},
		{"the hub fails once", []fault{{Route: "GET /api/models/org/m/tree", Times: 1, Status: 503}}, nil, exitOK, ""},
		{"the hub closes the connection once", []fault{{Route: "GET /api/", Times: 1, Drop: true}}, nil, exitOK, ""},
		{"a page comes instead of an answer", []fault{{Route: "GET /api/", Body: "<!doctype html>"}}, nil, exitNetwork, "no proxy or sign-in page answers in the hub's place"},
		{"an answer without a commit", []fault{{Route: "GET /api/", Body: `{"id":"org/m"}`}}, nil, exitNetwork, "it names no commit"},
		{"a listing that leads out", []fault{{Route: "GET /api/models/org/m/tree", Body: `[{"type":"file","path":"../x","oid":"","size":1}]`}}, nil, exitNetwork, `"../x" is no path`},
		{"a small file that is another", []fault{{Route: "GET /org/m/resolve/", FlipAt: 3}}, nil, exitChecksum, "its hash in git is"},
		{"a small file that is refused", []fault{{Route: "GET /org/m/resolve/", Status: 403}}, nil, exitAuth, "the server refuses access"},
		{"a redirect to an address that is not encrypted", []fault{{Route: "GET /org/m/resolve/", Status: 302, Header: http.Header{"Location": {"http://example.com/x"}}}}, nil, exitNetwork, "which is not https"},
		{"the API redirects to another host", []fault{{Route: "GET /api/", Status: 307, Header: http.Header{"Location": {"https://example.com/x"}}}}, nil, exitNetwork, "it redirects to another host"},
		{"the connection is cut", nil, []fault{{Times: 1, CutAfter: part}}, exitOK, "trying again"},
		{"an address that has expired", nil, []fault{{Times: 1, Status: 403}}, exitOK, "the address expired"},
		{"an address that is refused in the middle", nil, []fault{{Times: 1, CutAfter: part}, {Status: 403}}, exitAuth, "the server refuses access"},
		{"a large file that is withdrawn", nil, []fault{{Status: 404}}, exitNetwork, "there is nothing at this address"},
		{"a large file that is another", nil, []fault{{FlipAt: part}}, exitChecksum, "its SHA-256 is"},
		{"a page comes instead of a large file", nil, []fault{{Body: "<!doctype html><p>Sign in"}}, exitNetwork, "a web page or an error document came instead"},
		{"a server that sends all again", nil, []fault{{Times: 1, CutAfter: part}, {IgnoreRange: true}}, exitOK, "starting over: the server sends the whole file again"},
		{"another version under the same address", nil, []fault{{Times: 1, CutAfter: part}, {Times: 1, ETag: `"other"`}}, exitOK, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPullingHub(t, localhub.Options{Root: oneRepo(t)}, nil)
			t.Setenv("HF_TOKEN", localhub.Token)
			for _, f := range row.hub {
				p.hub.Break(f)
			}
			for _, f := range row.cdn {
				p.hub.CDN.Break(f)
			}
			p.want(row.code, "", row.says, "pull", "hf.co/org/m")
			if row.code != exitOK {
				if err := p.store.Verify("m"); err == nil {
					t.Error("it was installed nevertheless")
				}
				p.hub.Heal()
				p.hub.CDN.Heal()
				_, errs := p.want(exitOK, "installed m", "", "pull", "hf.co/org/m")
				if len(row.cdn) > 1 && !strings.Contains(errs, "going on at") {
					t.Errorf("what came before was not used:\n%s", errs)
				}
			}
			p.whole("m")
		})
	}
}

// Signed addresses expire while bytes come; the hub tells where the rest lies now.
func TestHubPullExpires(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	n := 0
	p := newPullingHub(t, localhub.Options{Root: oneRepo(t), Now: clock, LinkLifetime: time.Minute}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if n++; n <= 2 { // the address was signed before, and is old now
				now = now.Add(time.Duration(n-1) * time.Hour)
			}
			mu.Unlock()
			h.ServeHTTP(w, r)
		})
	})
	p.hub.CDN.Break(localhub.Fault{Times: 1, CutAfter: 10 << 20})
	_, errs := p.want(exitOK, "installed m", "the address expired", "pull", "hf.co/org/m")
	if strings.Contains(errs, "starting over") {
		t.Errorf("what came before was not used:\n%s", errs)
	}
	p.whole("m")
}

// The token's file of Hugging Face's own programs is used, and HF_TOKEN goes before
// it.
func TestHubTokenFile(t *testing.T) {
	p := newPullingHub(t, localhub.Options{Root: oneRepo(t), Private: []string{"org/m"}}, nil)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "token"), []byte(localhub.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_TOKEN", "hf_other")
	p.want(exitAuth, "", "the token of HF_TOKEN is wrong", "pull", "hf.co/org/m")
	t.Setenv("HF_TOKEN", "")
	p.want(exitOK, "installed m", "", "pull", "hf.co/org/m")
}
