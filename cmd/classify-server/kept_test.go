//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/importer"
)

// storeOf imports the demo model into a store of its own, and returns the
// store's folder and that of the computed files. It has no canary: levels differ
// more than one allows.
func storeOf(t *testing.T) (home, packed string) {
	t.Helper()
	home = t.TempDir()
	res, err := importer.Import(t.Context(), models.NewStore(home), importer.Options{
		Path: filepath.Join(testenv.Root(t), "models", "demo"), Name: "stored",
	})
	if err != nil {
		t.Fatal(err)
	}
	return home, filepath.Join(home, "packed", res.Digest.Hex())
}

// answers is what a server says to some texts, byte for byte.
func (s *child) answers() string {
	s.t.Helper()
	status, body, err := request("POST", "http://"+s.addr+"/v1/classify", `{"input":["where is my cash","the fee is wrong","charged twice"]}`)
	var answer struct{ Results json.RawMessage }
	if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
		s.t.Fatalf("status %d, %v: %s", status, err, body)
	}
	return string(answer.Results)
}

// complains says whether a log speaks of computed files: it does where one
// cannot be used or kept.
func complains(log string) bool {
	return strings.Contains(log, "replaced") || strings.Contains(log, " kept")
}

// once starts a server on the store, and returns its answers and its log.
func once(t *testing.T, home string, args ...string) (answers, log string) {
	t.Helper()
	s := startServer(t, append([]string{"-home", home, "-model", "stored"}, args...)...)
	answers = s.answers()
	if code := s.terminate(); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, s.stderr.String())
	}
	return answers, s.stderr.String()
}

// files returns the computed files by name: their content's identity is the
// time at which they were written.
func files(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	list := map[string]time.Time{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		list[e.Name()] = info.ModTime()
	}
	return list
}

// A server answers the same, byte for byte, when it computes, when it finds what
// was computed, and when it cannot keep anything; a level finds its own files,
// and a damaged one is replaced.
func TestStartsAnswerAlike(t *testing.T) {
	home, packed := storeOf(t)
	blocker := filepath.Join(home, "packed")
	if err := os.WriteFile(blocker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want, log := once(t, home)
	if strings.Count(log, "is not kept")+strings.Count(log, "are not kept") != 2 || len(files(t, filepath.Join(home, "staging"))) > 0 {
		t.Errorf("nothing could be written, and the log says\n%s", log)
	}
	if err := os.Remove(blocker); err != nil {
		t.Fatal(err)
	}
	if got, log := once(t, home); got != want || complains(log) {
		t.Errorf("first start: %s\nwant %s\n%s", got, want, log)
	}
	first := files(t, packed)
	if len(first) != 2 {
		t.Fatalf("computed files: %v", first)
	}
	if got, log := once(t, home); got != want || complains(log) {
		t.Errorf("second start: %s\nwant %s\n%s", got, want, log)
	}
	for name, at := range files(t, packed) {
		if !at.Equal(first[name]) {
			t.Errorf("%s was written again", name)
		}
	}
	for name := range first {
		damage(t, filepath.Join(packed, name))
		if got, log := once(t, home); got != want || !strings.Contains(log, "are damaged and replaced") {
			t.Errorf("%s damaged: %s\nwant %s\n%s", name, got, want, log)
		}
	}
	portable, _ := once(t, home, "-cpu", "portable")
	if again, _ := once(t, home, "-cpu", "portable"); again != portable {
		t.Errorf("second start of another level: %s\nwant %s", again, portable)
	}
	if got, log := once(t, home); got != want || complains(log) {
		t.Errorf("back at the first level: %s\nwant %s\n%s", got, want, log)
	}
}

func damage(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 8
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o444); err != nil {
		t.Fatal(err)
	}
}

// Wherever a server is killed while it keeps what it computed, the next one
// finds a whole file or none; two that start at once do each other no harm.
func TestKilledWhileKeeping(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	home, packed := storeOf(t)
	begun := time.Now()
	want, _ := once(t, home)
	span := time.Since(begun)
	rng := rand.New(rand.NewPCG(3, 9))
	seen, halves := map[int]int{}, 0
	for i := range rounds {
		if i%3 > 0 {
			if err := os.RemoveAll(packed); err != nil {
				t.Fatal(err)
			}
		}
		var running []*exec.Cmd
		for range 1 + i%2 {
			running = append(running, start(t, home))
		}
		time.Sleep(time.Duration(rng.Int64N(int64(span))))
		for _, cmd := range running {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed
			if log := cmd.Stderr.(*bytes.Buffer).String(); complains(log) {
				t.Errorf("round %d: %s", i, log)
			}
		}
		seen[len(files(t, packed))]++
		if len(files(t, filepath.Join(home, "staging"))) > 0 {
			halves++
			if err := os.RemoveAll(filepath.Join(home, "staging")); err != nil {
				t.Fatal(err)
			}
		}
		if i%6 == 5 { // a server that may end finds what there is
			if got, log := once(t, home); got != want || complains(log) {
				t.Errorf("round %d: %s\nwant %s\n%s", i, got, want, log)
			}
		}
	}
	t.Logf("rounds by the number of files that they left: %v; killed in the middle of one: %d", seen, halves)
	if got, log := once(t, home); got != want || complains(log) || len(files(t, packed)) != 2 {
		t.Errorf("at last: %s\nwant %s\n%s", got, want, log)
	}
}

func start(t *testing.T, home string) *exec.Cmd {
	t.Helper()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("classify-server", "-addr", addr, "-home", home, "-model", "stored")
	cmd.Stderr = new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}
