package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/machine"
	"cubby/internal/testenv"
	"cubby/models/demo"
)

// TestMain lets the test program be its own worker process.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == workerCommand {
		os.Exit(work(os.Args[2], os.Args[3], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// The whole command on the demo model: both Cubbies are measured, and peers
// that cannot be had are left out with their reasons.
func TestCompareOnDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs servers")
	}
	if !demo.Present {
		t.Skip("built without the demo model")
	}
	dir := t.TempDir()
	t.Setenv("CUBBY_HOME", filepath.Join(dir, "store"))
	t.Setenv("CUBBY_API_KEY", "")
	file := filepath.Join(dir, "out.json")
	var out, log bytes.Buffer
	code := run(t.Context(), []string{
		"bench", "-model", "demo", "-test", filepath.Join(testenv.Root(t), "models", "demo", "test.csv"),
		"-clients", "1,4", "-duration", "200ms", "-rounds", "2", "-threads", "1", "-patience", "0s", "-json", file,
		"-llama-server", "absent", "-ollama", "absent", "-libllama", "", "-seqcls", "",
	}, &out, &log)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, &log)
	}
	r := readReport(t, file)
	if len(r.Systems) != len(candidates()) || r.Threads != 1 || r.Texts != 80 || r.Model != "demo" {
		t.Errorf("%d systems, %+v", len(r.Systems), *r)
	}
	var first *accuracy
	for _, l := range r.Systems {
		if l.Against != "" {
			if l.Skipped == "" || len(l.Figures) != 0 || !strings.Contains(out.String(), "left out: ") {
				t.Errorf("%s should have been left out: %+v", l.Name, l)
			}
			continue
		}
		if first == nil {
			first = l.Accuracy
		}
		checkLine(t, l, []int{1, 4})
		if *l.Accuracy != *first {
			t.Errorf("%s has the accuracy %v, over HTTP it is %v", l.Name, l.Accuracy, first)
		}
	}
}

func checkLine(t *testing.T, l *line, clients []int) {
	t.Helper()
	if l.Skipped != "" || l.Accuracy == nil || l.Accuracy.Rows != 80 || l.Accuracy.Correct < 50 || len(l.Figures) != len(clients) {
		t.Fatalf("%s: %+v", l.Name, l)
	}
	for _, n := range clients {
		f := l.figure(n)
		if f == nil || f.Items == 0 || f.Errors != 0 || f.Items != f.Calls || f.Seconds < .2 || f.P50 <= 0 || f.P50 > f.P95 || f.P95 > f.P99 {
			t.Errorf("%s with %d clients: %+v", l.Name, n, f)
			continue
		}
		// One thread computes; a few per cent go to the rest of the process.
		if perSecond := f.CPUPer1000 / 1000 * f.ItemsPerSecond; machine.This().OS == "linux" && (perSecond <= 0 || perSecond > 2) {
			t.Errorf("%s with %d clients takes %.2f processors", l.Name, n, perSecond)
		}
	}
	if machine.This().OS == "linux" && l.PeakMemory < 20<<20 {
		t.Errorf("%s: peak memory of %d bytes", l.Name, l.PeakMemory)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range []string{
		"", "-data x stray", "-data x -clients 0", "-data x -rounds 0", "-data x -duration 0s", "-data x -systems nobody", "-data x -threads -1", "-data x -nonsense",
	} {
		var out, log bytes.Buffer
		if code := run(t.Context(), append([]string{"bench"}, strings.Fields(args)...), &out, &log); code != exitUsage {
			t.Errorf("%q: exit code %d, %s", args, code, &log)
		}
	}
}

func TestMissingFile(t *testing.T) {
	var out, log bytes.Buffer
	code := run(t.Context(), []string{"bench", "-model", "demo", "-data", filepath.Join(t.TempDir(), "none.csv")}, &out, &log)
	if code != exitFailed || !strings.Contains(log.String(), "none.csv") {
		t.Errorf("exit code %d, %s", code, &log)
	}
}

// Whatever peers the CUBBY_BENCH_* variables name give labels of the
// banking-routing student, and about as often the right one as Cubby does.
func TestRealPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real servers")
	}
	peers := map[string]string{"llama-server": "CUBBY_BENCH_LLAMA_SERVER", "ollama": "CUBBY_BENCH_OLLAMA", rawLibllama: "CUBBY_BENCH_LIBLLAMA"}
	systems := []string{cubbyHTTP, cubbyInProcess}
	for key, variable := range peers {
		if os.Getenv(variable) != "" {
			systems = append(systems, key)
		}
	}
	if len(systems) == 2 {
		t.Skip("no variable CUBBY_BENCH_* names a peer")
	}
	task := filepath.Join(testenv.Shared(t), "data", "tasks", "banking-routing")
	dir := t.TempDir()
	t.Setenv("CUBBY_HOME", filepath.Join(dir, "store"))
	t.Setenv("CUBBY_API_KEY", "")
	fetch := exec.Command("go", "run", "cubby/cmd/fetch", "import", filepath.Join(testenv.Packages(t), "banking-routing", "gguf.tar"),
		"-name", "banking", "-job", filepath.Join(task, "job_description.json"))
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out, log bytes.Buffer
	file := filepath.Join(dir, "out.json")
	code := run(t.Context(), []string{
		"bench", "-model", "banking", "-test", filepath.Join(task, "train.csv"), "-clients", "2", "-duration", "1ms", "-rounds", "1", "-patience", "0s",
		"-json", file, "-systems", strings.Join(systems, ","),
	}, &out, &log)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, &log)
	}
	r := readReport(t, file)
	for _, l := range r.Systems {
		if l.Skipped != "" || l.Accuracy == nil || l.Accuracy.NoLabel > 2 || l.Accuracy.Correct < r.Systems[0].Accuracy.Correct-2 {
			t.Errorf("%s: left out %q, accuracy %v, Cubby's is %v", l.Name, l.Skipped, l.Accuracy, r.Systems[0].Accuracy)
		}
	}
}

func readReport(t *testing.T, file string) *report {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}
