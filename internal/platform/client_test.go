package platform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
)

// world is a local platform with a clock, and what a client of it waited for.
type world struct {
	*localplatform.Platform
	server   *httptest.Server
	packages string
	ahead    atomic.Int64 // of the real clock

	mu     sync.Mutex
	pauses []time.Duration
}

func newWorld(t testing.TB, opt localplatform.Options) *world {
	t.Helper()
	w := &world{}
	if opt.Packages == "" {
		opt.Packages = t.TempDir()
		if err := localplatform.Sample(opt.Packages, "banking", "tickets"); err != nil {
			t.Fatal(err)
		}
	}
	w.packages = opt.Packages
	opt.Now = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	p, err := localplatform.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	w.Platform = p
	w.server = httptest.NewServer(p)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) advance(d time.Duration) { w.ahead.Add(int64(d)) }

// as is a client with a source of tokens; nil for a good token.
func (w *world) as(t testing.TB, source TokenSource) *Client {
	t.Helper()
	if source == nil {
		source = StaticToken(Secret(w.Token()), "get a fresh one")
	}
	c, err := New(Options{URL: w.server.URL, Tokens: source})
	if err != nil {
		t.Fatal(err)
	}
	c.wait = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pauses = append(w.pauses, d)
		return ctx.Err()
	}
	return c
}

func (w *world) cognito() Cognito { return Cognito{URL: w.server.URL} }

// count is how many requests there were so far of that beginning.
func (w *world) count(route string) (n int) {
	for _, r := range w.Requests() {
		if strings.HasPrefix(r, route) {
			n++
		}
	}
	return n
}

// file is what the folder of packages holds.
func (w *world) file(t *testing.T, task, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.packages, task, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every operation, in every era.
func TestEras(t *testing.T) {
	ctx := context.Background()
	for _, era := range localplatform.Eras() {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/bare=%v", era, bare), func(t *testing.T) {
				w := newWorld(t, localplatform.Options{Era: era, BareTokens: bare, Paged: era == localplatform.Both})
				c := w.as(t, nil)
				who, err := c.Check(ctx)
				if err != nil || who.User != localplatform.User || who.Expires.Before(time.Now()) {
					t.Errorf("%+v, %v", who, err)
				}
				list, err := c.List(ctx)
				if err != nil || len(list) != 8 {
					t.Fatalf("%d models, %v", len(list), err)
				}
				if err := c.DetailAll(ctx, list); err != nil {
					t.Fatal(err)
				}
				for i, m := range list {
					if i > 0 && m.Created.After(list[i-1].Created) {
						t.Error("they are not newest first")
					}
					if m.Status != StatusSuccess || m.Accuracy == nil || *m.Accuracy != 0.75 || (m.Name != "") != (era == localplatform.Models || era == localplatform.Both) {
						t.Errorf("%+v", m)
					}
					checkFiles(t, w, c, m, era, w.Models()[i])
				}
			})
		}
	}
}

// checkFiles wants every file of a model as it lies in the folder.
func checkFiles(t *testing.T, w *world, c *Client, m Model, era localplatform.Era, want localplatform.Model) {
	t.Helper()
	ctx := context.Background()
	p, err := c.Package(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Read(ctx, p.Archive, 1<<20)
	if err != nil || string(data) != w.file(t, want.Task, want.Shape+".tar") {
		t.Errorf("%s: the package has %d bytes, %v", want.Name, len(data), err)
	}
	if m.Family == SLM && (p.Config == nil || p.JobDescription == nil || p.Client == nil) {
		t.Errorf("%+v", p)
	}
	if data, err := c.Predictions(ctx, m); err != nil || string(data) != w.file(t, want.Task, "predictions.jsonl") {
		t.Errorf("predictions: %s, %v", data, err)
	}
	for name, read := range map[string]func(context.Context, Model) ([]byte, error){"job_description.json": c.JobDescription, "config.yaml": c.Config, "test.jsonl": c.TestSet} {
		data, err := read(ctx, m)
		switch {
		case m.Family == Trained && era == localplatform.Models: // it has no such route
			if !errors.Is(err, NotFound) || !strings.Contains(err.Error(), "use the file that the model was trained with") {
				t.Errorf("%s: %v", name, err)
			}
		case name == "test.jsonl" && errors.Is(err, Payment):
			if !strings.Contains(err.Error(), "HTTP 402: No credits left") {
				t.Error(err)
			}
		case err != nil || string(data) != w.file(t, want.Task, name):
			t.Errorf("%s: %s, %v", name, data, err)
		}
	}
}

func TestCredits(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{Era: localplatform.Training, Credits: 1})
	c := w.as(t, nil)
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TestSet(ctx, list[0]); err != nil {
		t.Error(err)
	}
	if _, err := c.TestSet(ctx, list[0]); !errors.Is(err, Payment) {
		t.Errorf("without credits: %v", err)
	}
	if _, err := c.JobDescription(ctx, list[0]); err != nil {
		t.Errorf("what is free: %v", err)
	}
}

// What the platform does not have is asked for once.
func TestAbsentRoutesAreRemembered(t *testing.T) {
	ctx := context.Background()
	for era, absent := range map[localplatform.Era]string{localplatform.Models: "GET /slms", localplatform.Datasets: "GET /models"} {
		w := newWorld(t, localplatform.Options{Era: era})
		c := w.as(t, nil)
		for range 3 {
			if _, err := c.List(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.count(absent); n != 1 {
			t.Errorf("%s: %d requests for %s", era, n, absent)
		}
	}
}

// A platform with both families lists a training once.
func TestNoModelTwice(t *testing.T) {
	w := newWorld(t, localplatform.Options{Era: localplatform.Both})
	w.Add("untrained", "JOB_NOT_STARTED", time.Now())
	list, err := w.as(t, nil).List(context.Background())
	if err != nil || len(list) != 9 || list[0].Name != "untrained" || list[0].Status != StatusNotStarted {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestPaging(t *testing.T) {
	for _, paged := range []bool{true, false} {
		for _, n := range []int{0, 1, 91, 92, 93, 250} {
			w := newWorld(t, localplatform.Options{Paged: paged})
			for i := range n {
				w.Add(fmt.Sprint("m", i), "JOB_RUNNING", time.Now().Add(-time.Duration(i)*time.Minute))
			}
			list, err := w.as(t, nil).List(context.Background())
			seen := map[string]bool{}
			for _, m := range list {
				seen[m.ID] = true
			}
			if err != nil || len(list) != n+8 || len(seen) != n+8 {
				t.Errorf("paged %v, %d models: %d listed, %d different, %v", paged, n+8, len(list), len(seen), err)
			}
		}
	}
}

// A platform that refuses parameters is asked without.
func TestListWithoutParameters(t *testing.T) {
	w := newWorld(t, localplatform.Options{})
	w.Break(localplatform.Fault{Route: "GET /slms", Times: 1, Status: 422, Body: `{"detail":[{"loc":["query","start"],"msg":"extra fields not permitted"}]}`})
	list, err := w.as(t, nil).List(context.Background())
	if err != nil || len(list) != 8 {
		t.Errorf("%d models, %v", len(list), err)
	}
}

func TestCursor(t *testing.T) {
	w := newWorld(t, localplatform.Options{})
	w.Break(localplatform.Fault{Route: "GET /slms", Times: 1, Body: `{"slms":[{"id":"first"}],"pagination_cursor":"c"}`})
	list, err := w.as(t, nil).List(context.Background())
	if err != nil || len(list) != 9 {
		t.Errorf("%d models, %v", len(list), err)
	}
}

func TestFind(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{Era: localplatform.Models})
	c := w.as(t, nil)
	want := w.Models()[0]
	for _, ref := range []string{want.ID, want.Name, want.ID[:8]} {
		m, err := c.Find(ctx, ref)
		if err != nil || m.ID != want.ID || m.Training != want.Training {
			t.Errorf("%s: %+v, %v", ref, m, err)
		}
	}
	if m, err := c.Find(ctx, want.Training); err != nil || m.Training != want.Training || m.Status != StatusSuccess {
		t.Errorf("by the training's id: %+v, %v", m, err)
	}
	for _, ref := range []string{"nothing", want.ID[:3], "..", "", "a\x1b[2J", strings.Repeat("x", 300)} {
		if _, err := c.Find(ctx, ref); !errors.Is(err, NotFound) || !strings.Contains(err.Error(), "fetch list") || len(err.Error()) > 500 || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%.20q: %v", ref, err)
		}
	}
}

func TestAmbiguousName(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"id":"one","name":"twin"},{"id":"two","name":"twin"}]`)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	c, err := New(Options{URL: s.URL, Tokens: StaticToken("x", "y")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(context.Background(), "twin"); !errors.Is(err, NotFound) || !strings.Contains(err.Error(), "2 models have that name") || !strings.Contains(err.Error(), "one, two") {
		t.Error(err)
	}
}

func TestNotReady(t *testing.T) {
	ctx := context.Background()
	for _, era := range localplatform.Eras() {
		for _, null := range []bool{false, true} {
			w := newWorld(t, localplatform.Options{Era: era, NullUntilReady: null})
			w.Add("young", "JOB_RUNNING", time.Now())
			c := w.as(t, nil)
			list, err := c.List(ctx)
			if err != nil {
				t.Fatal(err)
			}
			m := list[0]
			if s, err := c.Status(ctx, m); err != nil || s != StatusRunning {
				t.Errorf("%s: %q, %v", era, s, err)
			}
			if m, err = c.Detail(ctx, m); err != nil || m.Status != StatusRunning || m.Accuracy != nil {
				t.Errorf("%s: %+v, %v", era, m, err)
			}
			if _, err := c.Package(ctx, m); !errors.Is(err, NotReady) || !strings.Contains(err.Error(), "wait until fetch list shows success") {
				t.Errorf("%s, null %v: %v", era, null, err)
			}
			w.SetStatus(m.ID, "JOB_FAILURE")
		}
	}
	w := newWorld(t, localplatform.Options{Era: localplatform.Models})
	w.Add("unborn", "JOB_NOT_STARTED", time.Now())
	c := w.as(t, nil)
	m, err := c.Find(ctx, "unborn")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(ctx, m); err != nil || s != StatusNotStarted {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := c.Package(ctx, m); !errors.Is(err, NotReady) || !strings.Contains(err.Error(), "start its training") {
		t.Error(err)
	}
}

func TestURLKeys(t *testing.T) {
	for _, key := range append([]string{"bare"}, urlKeys...) {
		w := newWorld(t, localplatform.Options{Era: localplatform.Models, URLKey: key})
		c := w.as(t, nil)
		m, err := c.Find(context.Background(), "banking-gguf")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Package(context.Background(), m); err != nil || !strings.Contains(p.Archive.String(), "/banking/gguf.tar") {
			t.Errorf("%s: %+v, %v", key, p, err)
		}
	}
}

// An address that has expired is asked for again: by the clock of this machine, or
// when the server says so.
func TestExpiredLink(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{LinkLifetime: time.Minute})
	c := w.as(t, nil)
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Package(ctx, list[0])
	if err != nil {
		t.Fatal(err)
	}
	w.advance(2 * time.Minute)
	if _, err := c.readLink(ctx, p.Archive, 1<<20); !errors.Is(err, Expired) || strings.Contains(err.Error(), "Signature=") {
		t.Errorf("the old address: %v", err)
	}
	if data, err := c.Read(ctx, p.Archive, 1<<20); err != nil || len(data) == 0 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	old := p.Archive
	old.Expires = time.Now().Add(-time.Second)
	before := w.count("GET /s3/")
	if _, err := c.Read(ctx, old, 1<<20); err != nil || w.count("GET /s3/") != before+1 {
		t.Errorf("%d requests, %v", w.count("GET /s3/")-before, err)
	}
	address, err := p.Client.RenewURL(ctx)
	if err != nil || !strings.Contains(address, "model_client.py?") {
		t.Errorf("%s, %v", address, err)
	}
	if _, err := c.Read(ctx, p.Archive, 1000); !errors.Is(err, Unreadable) || !strings.Contains(err.Error(), "longer than 1000 bytes") {
		t.Errorf("a file over its limit: %v", err)
	}
}

// A token is not sent to where files lie: the store of files would refuse it.
func TestFilesGetNoToken(t *testing.T) {
	var got []string
	files := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) }))
	defer files.Close()
	w := newWorld(t, localplatform.Options{})
	if _, err := w.as(t, nil).Read(context.Background(), Link{URL: files.URL + "/x"}, 10); err != nil || len(got) != 1 || got[0] != "" {
		t.Errorf("%q, %v", got, err)
	}
}

// Nor does it follow a redirect to another host.
func TestRedirects(t *testing.T) {
	var thief atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { thief.Add(1) }))
	defer other.Close()
	w := newWorld(t, localplatform.Options{})
	w.Break(localplatform.Fault{Route: "GET /slms", Status: 307, Header: http.Header{"Location": {other.URL + "/slms"}}})
	_, err := w.as(t, nil).List(context.Background())
	if err == nil || thief.Load() != 0 || !strings.Contains(err.Error(), "redirects to another host") {
		t.Errorf("%d requests arrived elsewhere, %v", thief.Load(), err)
	}
	if err := noDowngrade(httptest.NewRequest("GET", "http://x/", nil), []*http.Request{httptest.NewRequest("GET", "https://x/", nil)}); err == nil {
		t.Error("a download may become unencrypted")
	}
	for _, check := range []func(*http.Request, []*http.Request) error{sameHost, noDowngrade} {
		r := httptest.NewRequest("GET", "https://x/", nil)
		if check(r, []*http.Request{r}) != nil || check(r, []*http.Request{r, r, r, r, r}) == nil {
			t.Error("redirects on one host")
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"": DefaultURL, "https://api.distillabs.ai/": DefaultURL, "HTTPS://API.distillabs.ai": DefaultURL,
		"https://x.example/sub/": "https://x.example/sub", "http://127.0.0.1:8085": "http://127.0.0.1:8085", "http://[::1]:1": "http://[::1]:1", "http://localhost": "http://localhost",
	} {
		if got, err := CleanURL(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"api.distillabs.ai": "looks like https://", "http://example.com": "unencrypted", "https://ada:pass@x": "neither a user nor a query", "https://x?token=secret": "neither a user nor a query",
		"ftp://x": "looks like", "https://": "looks like", "://ada:secret@x": "looks like",
	} {
		if _, err := CleanURL(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pass@") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := New(Options{URL: "http://example.com"}); err == nil {
		t.Error("a token would be sent unencrypted")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a client without tokens")
	}
}

// What an SLM's metadata does not tell is looked for in its dataset, and a package
// is one without them.
func TestWithoutMetadata(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{})
	c := w.as(t, nil)
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, model := list[0], w.Models()[0]
	for _, f := range []localplatform.Fault{{Status: 404}, {Status: 409}, {Status: 410}, {Body: `{"config_url":null,"job_description_url":null,"model_client_url":null}`}} {
		w.Heal()
		f.Route = "GET /slms/" + m.ID + "/download-metadata"
		w.Break(f)
		if p, err := c.Package(ctx, m); err != nil || p.Config == nil || p.JobDescription != nil || p.Client != nil {
			t.Errorf("%+v: %+v, %v", f, p, err)
		}
		if data, err := c.JobDescription(ctx, m); err != nil || string(data) != w.file(t, model.Task, "job_description.json") {
			t.Errorf("%+v: %s, %v", f, data, err)
		}
	}
	w.Heal()
	w.Break(localplatform.Fault{Route: "GET /slms/" + m.ID + "/download-metadata", Status: 500})
	if _, err := c.Package(ctx, m); !errors.Is(err, Server) {
		t.Error(err)
	}
	if _, err := c.Config(ctx, m); !errors.Is(err, Server) {
		t.Error(err)
	}
	w.Heal()
	w.Break(localplatform.Fault{Route: "GET /slms/" + m.ID + "/metrics", Body: `{"tuned_model_performance":null,"predictions_download_url":null}`})
	if _, err := c.Predictions(ctx, m); !errors.Is(err, NotFound) {
		t.Errorf("no predictions: %v", err)
	}
}

// A model that was trained before there were SLMs has its dataset in its upload.
func TestUploads(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, localplatform.Options{Era: localplatform.Both})
	c := w.as(t, nil)
	old := w.Models()[0]
	m, err := c.Get(ctx, old.ID)
	if err != nil || m.Family != Trained || m.Upload != old.Upload {
		t.Fatalf("%+v, %v", m, err)
	}
	for range 9 { // reading it costs nothing
		if data, err := c.TestSet(ctx, Model{ID: old.ID, Family: Trained, Training: old.Training}); err != nil || string(data) != w.file(t, old.Task, "test.jsonl") {
			t.Errorf("%s, %v", data, err)
		}
	}
	if c.URL() != w.server.URL || m.Family.String() != "models" {
		t.Errorf("%s, %s", c.URL(), m.Family)
	}
}
