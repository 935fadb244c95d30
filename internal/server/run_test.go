package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/runtime"
)

// process is a Run in progress.
type process struct {
	t     *testing.T
	addr  string
	out   *syncBuffer
	stop  context.CancelFunc
	ended chan error
}

// start runs a server.
func start(t *testing.T, opt Options, open ...func(*Metrics) (Backend, error)) *process {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, addr: ln.Addr().String(), out: &syncBuffer{}, ended: make(chan error, 1)}
	ln.Close()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() {
		p.ended <- Run(ctx, Config{Options: opt, Addr: p.addr, Open: open, Out: p.out, Started: time.Now()})
	}()
	t.Cleanup(cancel)
	return p
}

func serving(t *testing.T, opt Options, b Backend) *process {
	p := start(t, opt, func(*Metrics) (Backend, error) { return b, nil })
	p.until("ready", func() bool { return p.status("/readyz") == http.StatusOK })
	return p
}

func (p *process) until(what string, done func() bool) {
	p.t.Helper()
	testenv.Until(p.t, what, done)
}

// status asks on a connection of its own; 0 means that nobody answered.
func (p *process) status(path string) int {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + p.addr + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (p *process) post(body string) (int, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Post("http://"+p.addr+"/v1/classify", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (p *process) end() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(2 * time.Minute):
		p.t.Fatal("the server did not stop")
		return nil
	}
}

func TestStartsReadiesAndStops(t *testing.T) {
	b, loaded := newFake(), make(chan struct{})
	p := start(t, Options{}, func(*Metrics) (Backend, error) { <-loaded; return b, nil })
	p.until("it answers", func() bool { return p.status("/healthz") != 0 })
	if got := p.status("/healthz"); got != http.StatusOK {
		t.Errorf("healthz while starting: %d", got)
	}
	for _, path := range []string{"/readyz", "/v1/models"} {
		if got := p.status(path); got != http.StatusServiceUnavailable {
			t.Errorf("%s while starting: %d", path, got)
		}
	}
	if got, err := p.post(`{"input":"a"}`); got != http.StatusServiceUnavailable {
		t.Errorf("classify while starting: %d, %v", got, err)
	}
	close(loaded)
	p.until("ready", func() bool { return p.status("/readyz") == http.StatusOK })
	for _, line := range []string{"bank, 3 labels, scored by constrained, calibrated", "sha256:ab12", "kernel portable, int8, 2 threads",
		"curl -s " + p.addr + "/v1/classify -d '{\"input\":"} {
		p.until("the greeting has "+line, func() bool { return strings.Contains(p.out.String(), line) })
	}
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
	if !b.closed {
		t.Error("the backend was not closed")
	}
}

func TestCanaryKeepsTheServerFromReady(t *testing.T) {
	b := newFake()
	b.canary = errors.New("canary: probabilities are away")
	p := start(t, Options{}, func(*Metrics) (Backend, error) { return b, nil })
	if err := p.end(); !errors.Is(err, b.canary) || !b.closed {
		t.Errorf("got %v, closed %v", err, b.closed)
	}
}

// Several models: all of them are opened, checked and closed, and none serves
// where one fails.
func TestSeveralModels(t *testing.T) {
	opener := func(b *fakeBackend) func(*Metrics) (Backend, error) {
		return func(*Metrics) (Backend, error) { return b, nil }
	}
	bank, shop := newFake(), newFake()
	shop.name = "shop"
	p := start(t, Options{}, opener(bank), opener(shop))
	p.until("ready", func() bool { return p.status("/readyz") == http.StatusOK })
	p.until("both are greeted", func() bool {
		return strings.Contains(p.out.String(), "model    bank,") && strings.Contains(p.out.String(), "model    shop,")
	})
	for _, b := range []*fakeBackend{bank, shop} {
		if status, err := p.post(`{"input":"a","model":"` + b.Info().Model + `"}`); status != http.StatusOK || b.last.Texts == nil {
			t.Errorf("%s: %d, %v", b.Info().Model, status, err)
		}
	}
	p.stop()
	if err := p.end(); err != nil || !bank.closed || !shop.closed {
		t.Errorf("%v, closed %v and %v", err, bank.closed, shop.closed)
	}

	for name, spoil := range map[string]func(*fakeBackend){
		"give one of them another name": func(b *fakeBackend) { b.name = "" },
		"model \"shop\": canary: away":  func(b *fakeBackend) { b.canary = errors.New("canary: away") },
	} {
		bank, shop := newFake(), newFake()
		shop.name = "shop"
		spoil(shop)
		p := start(t, Options{}, opener(bank), opener(shop))
		if err := p.end(); err == nil || !strings.Contains(err.Error(), name) || !bank.closed || !shop.closed {
			t.Errorf("%s: %v, closed %v and %v", name, err, bank.closed, shop.closed)
		}
	}

	bank, shop = newFake(), newFake()
	shop.name = "shop"
	p = start(t, Options{}, opener(bank), opener(shop))
	p.until("ready", func() bool { return p.status("/readyz") == http.StatusOK })
	close(shop.failed)
	if err := p.end(); !errors.Is(err, ErrEngineDied) {
		t.Errorf("one engine died: %v", err)
	}
}

func TestModelThatCannotLoad(t *testing.T) {
	p := start(t, Options{}, func(*Metrics) (Backend, error) { return nil, errors.New("no such model") })
	if err := p.end(); err == nil || err.Error() != "no such model" {
		t.Errorf("got %v", err)
	}
}

func TestStopWhileStarting(t *testing.T) {
	p := start(t, Options{}, func(*Metrics) (Backend, error) { select {} })
	p.stop()
	if err := p.end(); err != nil {
		t.Errorf("nothing was accepted, so nothing was lost: %v", err)
	}
}

// While a model has nothing that computes it, the server lives and is not ready.
func TestReadyTellsWhatComputes(t *testing.T) {
	bank, shop := newFake(), newFake()
	shop.name = "shop"
	s := readyServer(bank, Options{})
	list := []Backend{bank, shop}
	s.serving.Store(&list)
	want(t, ask(s, "GET", "/readyz", ""), 200, "")
	shop.away = errors.New("connection refused")
	w := ask(s, "GET", "/readyz", "")
	want(t, w, 503, runtime.CodeUnavailable)
	if body := w.Body.String(); !strings.Contains(body, `model \"shop\"`) || strings.Contains(body, "refused") {
		t.Errorf("got %s", body)
	}
	want(t, ask(s, "GET", "/healthz", ""), 200, "")
}

func TestEngineDies(t *testing.T) {
	b := newFake()
	p := serving(t, Options{DrainDelay: time.Hour}, b)
	close(b.failed)
	if err := p.end(); !errors.Is(err, ErrEngineDied) {
		t.Errorf("got %v", err)
	}
	s := readyServer(newFake(), Options{})
	s.state.Store(int32(failed))
	want(t, ask(s, "GET", "/readyz", ""), 500, runtime.CodeEngineFailed)
	want(t, ask(s, "GET", "/healthz", ""), 500, runtime.CodeEngineFailed)
}

// blocking is a backend whose calls wait until they are let go.
func blocking() (*fakeBackend, chan struct{}, chan error) {
	b, release, left := newFake(), make(chan struct{}), make(chan error, 100)
	b.score = func(ctx context.Context, req runtime.Request) ([]runtime.Result, error) {
		left <- nil
		select {
		case <-release:
			return []runtime.Result{result(req.Texts[0])}, nil
		case <-ctx.Done():
			left <- ctx.Err()
			return nil, ctx.Err()
		}
	}
	return b, release, left
}

func TestDrainAnswersWhatWasAccepted(t *testing.T) {
	b, release, entered := blocking()
	p := serving(t, Options{DrainDelay: 300 * time.Millisecond}, b)
	answers := make(chan string, 1)
	go func() {
		status, err := p.post(`{"input":"a"}`)
		answers <- fmt.Sprint(status, err)
	}()
	<-entered
	p.stop()
	p.until("readyz says no", func() bool { return p.status("/readyz") == http.StatusServiceUnavailable })
	if got := p.status("/v1/models"); got != http.StatusOK {
		t.Errorf("during the delay requests are still served, got %d", got)
	}
	p.until("the listener is closed", func() bool { return p.status("/healthz") == 0 })
	if b.closed {
		t.Error("the backend was closed with a request in work")
	}
	close(release)
	if err := p.end(); err != nil {
		t.Error(err)
	}
	if got := <-answers; got != "200 <nil>" {
		t.Errorf("the accepted request got %s", got)
	}
}

func TestCutRequestsAreAdmitted(t *testing.T) {
	b, _, entered := blocking()
	p := serving(t, Options{ShutdownTimeout: 100 * time.Millisecond}, b)
	go p.post(`{"input":"a"}`)
	<-entered
	p.stop()
	if err := p.end(); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("got %v", err)
	}
}

func TestClientGone(t *testing.T) {
	b, _, entered := blocking()
	m := NewMetrics()
	p := serving(t, Options{Metrics: m}, b)
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"input\":\"a\"}")
	<-entered
	c.Close()
	select {
	case err := <-entered:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the backend saw %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the backend was not told")
	}
	p.until("499 is counted", func() bool {
		w := httptest.NewRecorder()
		m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(w.Body.String(), `cubby_requests_total{route="/v1/classify",status="499"} 1`)
	})
}

// Clients that never finish are cut; the good one beside them does not notice.
func TestSlowClientsAreCut(t *testing.T) {
	p := serving(t, Options{HeaderTimeout: time.Second, ReadTimeout: 2 * time.Second, IdleTimeout: time.Second}, newFake())
	for name, tc := range map[string]struct{ send, answer string }{
		"silent":      {"", ""},
		"half header": {"POST /v1/classify HTTP/1.1\r\nHost: loc", ""},
		"half body":   {"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"input\"", "HTTP/1.1 408 "},
		"broken body": {"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
		"idle":        {"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, tc.send)
			got, _ := io.ReadAll(bufio.NewReader(c)) // until it is cut
			if !strings.HasPrefix(string(got), tc.answer) {
				t.Errorf("answered %q, want %q", got, tc.answer)
			}
			if tc.answer == "HTTP/1.1 408 " && !strings.Contains(string(got), `"code":"body_timeout"`) {
				t.Errorf("no error object: %q", got)
			}
		})
	}
	if got, err := p.post(`{"input":"a"}`); got != http.StatusOK {
		t.Errorf("a good client got %d, %v", got, err)
	}
}

func TestAddresses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		addr, key string
		usage     bool
		err       string
	}{
		{taken.Addr().String(), "", false, "taken by another program"},
		{"0.0.0.0:0", "", true, "API key"},
		{":0", "", true, "API key"},
		{"[::]:0", "", true, "API key"},
		{"nonsense", "", true, "no address"},
		{"127.0.0.1:99999", "", true, "no address"},
		{"127.0.0.1:0", "", false, ""},
		{"localhost:0", "", false, ""},
		{"0.0.0.0:0", testKey, false, ""},
	} {
		ln, local, err := listen(tc.addr, tc.key)
		if err == nil {
			ln.Close()
			if local == (tc.key != "") {
				t.Errorf("%s: local %v", tc.addr, local)
			}
		}
		var usage *UsageError
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) || errors.As(err, &usage) != tc.usage {
			t.Errorf("%s: %v", tc.addr, err)
		}
	}
}
