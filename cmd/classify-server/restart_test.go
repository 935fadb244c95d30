//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cubby/internal/testenv"
)

// child is the real program as a child process.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	stderr bytes.Buffer
}

func startServer(t *testing.T, args ...string) *child {
	t.Helper()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &child{t: t, addr: addr, cmd: exec.Command("classify-server", append([]string{"-addr", addr, "-log-format", "json"}, args...)...)}
	s.cmd.Env = append(os.Environ(), "CUBBY_HOME="+t.TempDir())
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	if err := waitReady(addr); err != nil {
		t.Fatalf("%v\n%s", err, s.stderr.String())
	}
	return s
}

// terminate sends SIGTERM and returns the exit code.
func (s *child) terminate() int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// metric returns one value of /metrics.
func (s *child) metric(name string) int64 {
	s.t.Helper()
	_, text, err := request("GET", "http://"+s.addr+"/metrics", "")
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, found := strings.Cut(text, "\n"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(value, 10, 64)
	if !found || err != nil {
		s.t.Fatalf("no metric %s: %v", name, err)
	}
	return n
}

// answered counts the classify requests that the server's log says it answered.
func (s *child) answered() (n int64) {
	for line := range strings.Lines(s.stderr.String()) {
		var entry struct{ Msg, Route string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "request" && entry.Route == "/v1/classify" {
			n++
		}
	}
	return n
}

// A restart loses nothing: whatever the server took in while it was told to
// stop, its client got a whole answer to. What reached the closed door only
// was refused by the system, and is not the server's.
func TestRestartsUnderLoadLoseNothing(t *testing.T) {
	restarts := 20
	if testing.Short() {
		restarts = 5
	}
	for i := range restarts {
		s := startServer(t)
		var received, broken atomic.Int64
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					status, body, err := request("POST", "http://"+s.addr+"/v1/classify", `{"input":["where is my cash","the fee is wrong"],"top_k":1}`)
					switch {
					case err == nil && (status == http.StatusOK || status == http.StatusServiceUnavailable) && json.Valid([]byte(body)):
						received.Add(1)
					case status != 0:
						broken.Add(1)
					}
				}
			})
		}
		testenv.Until(t, "clients are answered", func() bool { return received.Load() > int64(7*i%50) })
		code := s.terminate()
		close(stop)
		clients.Wait()
		if code != exitOK {
			t.Errorf("restart %d: exit code %d\n%s", i, code, s.stderr.String())
		}
		if got, said := received.Load(), s.answered(); broken.Load() > 0 || got != said {
			t.Errorf("restart %d: clients got %d answers and %d broken ones, the server gave %d", i, got, broken.Load(), said)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := startServer(t, "-drain-delay", "1h")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, "readyz says that the server drains", func() bool {
		status, _, err := request("GET", "http://"+s.addr+"/readyz", "")
		return err == nil && status == http.StatusServiceUnavailable
	})
	if code := s.terminate(); code == exitOK {
		t.Errorf("exit code %d", code)
	}
}

// Four times what the queue holds: whoever is let in is answered, the others
// are told at once when to come back, and the books balance afterwards.
func TestOverload(t *testing.T) {
	s := startServer(t, "-queue-tokens", "300", "-batch-tokens", "100")
	before := s.metric(`cubby_scheduler_texts_total{model="demo",state="answered"}`) // the canary, where the model has one
	var ok, refused, other, slowest atomic.Int64
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			for n := 0; n < 5 || n < 500 && refused.Load() == 0; n++ { // a fast machine has to be asked more often
				begun := time.Now()
				resp, err := http.Post("http://"+s.addr+"/v1/classify", "", strings.NewReader(`{"input":["the cash machine kept my card","and then it charged me a fee for that"]}`))
				if err != nil {
					other.Add(1)
					continue
				}
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusOK:
					ok.Add(1)
				case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
					slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
				default:
					other.Add(1)
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d answered, %d refused (slowest %v)", ok.Load(), refused.Load(), time.Duration(slowest.Load()))
	if ok.Load() == 0 || refused.Load() == 0 || other.Load() != 0 {
		t.Errorf("%d answered, %d refused, %d else", ok.Load(), refused.Load(), other.Load())
	}
	for name, want := range map[string]int64{
		`cubby_scheduler_texts_total{model="demo",state="answered"}`: before + 2*ok.Load(),
		`cubby_scheduler_texts_total{model="demo",state="admitted"}`: before + 2*ok.Load(),
		`cubby_scheduler_texts_total{model="demo",state="refused"}`:  2 * refused.Load(),
		`cubby_scheduler_in_flight{model="demo"}`:                    0,
		`cubby_queue_tokens{model="demo"}`:                           0,
		`cubby_requests_total{route="/v1/classify",status="200"}`:    ok.Load(),
		`cubby_requests_total{route="/v1/classify",status="503"}`:    refused.Load(),
	} {
		if got := s.metric(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// A text of a megabyte is cut to what the model can read, and the answer says
// by how much; or it is refused where that is not wanted.
func TestTextOfAMegabyte(t *testing.T) {
	s := startServer(t)
	text := strings.Repeat("where is my money ", 1000000/18)
	_, body, err := request("POST", "http://"+s.addr+"/v1/classify", `{"input":"`+text+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Results []struct{ Tokens, Truncated int }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Results) != 1 || answer.Results[0].Truncated < 100000 {
		t.Errorf("%v: %.300s", err, body)
	}
	for payload, want := range map[string]string{
		`{"truncate":false,"input":"` + text + `"}`:              "text_too_long",
		`{"input":"` + text + strings.Repeat("a", 100000) + `"}`: "body_too_large",
	} {
		status, body, err := request("POST", "http://"+s.addr+"/v1/classify", payload)
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			t.Fatalf("%s: the connection was cut before the answer was read", want)
		}
		if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, want) {
			t.Errorf("status %d, %v: %.300s, want %s", status, err, body, want)
		}
	}
}
