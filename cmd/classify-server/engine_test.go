//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cubby/internal/testenv"
)

// children lists the processes that a process has started.
func children(pid int) (list []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		data, _ := os.ReadFile(f) // a thread may have ended
		for _, field := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

type answer struct {
	Results []struct {
		ID          string  `json:"id"`
		Label       string  `json:"label"`
		Probability float64 `json:"probability"`
		Error       struct {
			Code string `json:"code"`
		} `json:"error"`
	} `json:"results"`
	Error struct {
		Code string `json:"code"`
	} `json:"error"`
}

func classify(addr, id, text string) (status int, a answer, err error) {
	status, body, err := request("POST", "http://"+addr+"/v1/classify", fmt.Sprintf(`{"input":[{"id":%q,"text":%q}]}`, id, text))
	if err == nil {
		err = json.Unmarshal([]byte(body), &a)
	}
	return status, a, err
}

// While the engine's process is killed 20 times, 1,000 requests get 1,000 answers:
// the right label or an error of the server's, none lost, none twice.
func TestKilledEngineLosesNothing(t *testing.T) {
	libraries := testenv.Libllama(t)
	const requests, kills = 1000, 20
	s := startServer(t, "-model", "demo", "-engine", "llama", "-libraries", libraries)
	var texts, want []string
	for i := range 40 {
		texts = append(texts, fmt.Sprintf("the fee number %d for my transfer of %d euros is wrong", i, 17*i))
		status, a, err := classify(s.addr, "x", texts[i])
		if err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
		want = append(want, a.Results[0].Label)
	}
	var next, right, failed, killed atomic.Int64
	var clients sync.WaitGroup
	done := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < requests || killed.Load() < kills; i = next.Add(1) - 1 {
				id := strconv.FormatInt(i, 10)
				status, a, err := classify(s.addr, id, texts[i%40])
				switch {
				case err != nil:
					t.Errorf("request %d is lost: %v", i, err)
					return
				case status == http.StatusOK && len(a.Results) == 1 && a.Results[0].ID == id && a.Results[0].Label == want[i%40]:
					right.Add(1)
				case status == http.StatusServiceUnavailable && a.Error.Code == "engine_unavailable":
					failed.Add(1)
				case status == http.StatusOK && len(a.Results) == 1 && a.Results[0].Error.Code == "engine_unavailable":
					failed.Add(1)
				default:
					t.Errorf("request %d: status %d, %+v; want %s", i, status, a, want[i%40])
					return
				}
			}
		})
	}
	go func() {
		defer close(done)
		for n := 0; killed.Load() < kills; n++ {
			time.Sleep(100 * time.Millisecond)
			if status, _, err := request("GET", "http://"+s.addr+"/readyz", ""); n%4 > 0 && (err != nil || status != http.StatusOK) {
				continue // most are killed while they work, some while they load
			}
			for _, pid := range children(s.cmd.Process.Pid) {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed.Add(1)
				}
			}
		}
	}()
	clients.Wait()
	<-done
	sent := next.Load() - 8 // each client took one number that it did not send
	if right.Load()+failed.Load() != sent || sent < requests {
		t.Errorf("%d requests, %d answered, %d refused", sent, right.Load(), failed.Load())
	}
	t.Logf("%d requests, %d right, %d refused while the engine was away, %d kills", sent, right.Load(), failed.Load(), killed.Load())
	if n := s.metric(`cubby_scheduler_texts_total{model="demo",state="answered"}`); n < right.Load() {
		t.Errorf("the metrics count %d texts, and %d were answered", n, right.Load())
	}
	if err := waitReady(s.addr); err != nil {
		t.Error(err)
	}
	if code := s.terminate(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
