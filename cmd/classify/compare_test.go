package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/realserver"
	"cubby/internal/testenv"
	"cubby/labels"
)

func TestParseContestant(t *testing.T) {
	for given, want := range map[string]contestant{
		"banking":       {name: "banking", what: "banking"},
		"new=./folder":  {name: "new", what: "./folder"},
		"llama:banking": {name: "llama:banking", kind: load.LibLlama, what: "banking"},
		"sha256:00ff":   {name: "sha256:00ff", what: "sha256:00ff"},
		"p.jsonl":       {name: "p.jsonl", kind: fromFile, what: "p.jsonl"},
		"gpt=chat:https://api.example/v1#gpt-4=x": {name: "gpt", kind: load.Chat, what: "https://api.example/v1", model: "gpt-4=x"},
		"server:http://127.0.0.1:8080":            {name: "server:http://127.0.0.1:8080", kind: onServer, what: "http://127.0.0.1:8080"},
		"chat:http://h/v1?a=b":                    {name: "chat:http://h/v1?a=b", kind: load.Chat, what: "http://h/v1?a=b"},
	} {
		want.given = given
		if got, err := parseContestant(given); err != nil || got != want {
			t.Errorf("%s: %+v, %v", given, got, err)
		}
	}
	for _, given := range []string{"", "a=", "chat:", "native:"} {
		if c, err := parseContestant(given); err == nil {
			t.Errorf("%q: %+v", given, c)
		}
	}
}

func TestShots(t *testing.T) {
	set, err := labels.NewSet([]labels.Label{{Name: "a"}, {Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	rows := []eval.Row{{Text: "a1", Answer: "a"}, {Text: "a2", Answer: "a"}, {Text: " ", Answer: "b"}, {Text: "x", Answer: "c"}, {Text: "b1", Answer: "b"}, {Text: "a3", Answer: "a"}}
	for n, want := range map[int]string{0: "[]", 1: "[{a1 a}]", 3: "[{a1 a} {b1 b} {a2 a}]", 9: "[{a1 a} {b1 b} {a2 a} {a3 a}]"} {
		if got := fmt.Sprint(shots(set, rows, n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestPrice(t *testing.T) {
	for given, want := range map[string]price{"a=0.5/h": {hour: 0.5}, "a=0.15/0.6": {prompt: 0.15, answers: 0.6}, "b=1e-1/0": {prompt: 0.1}} {
		if label, p, err := parsePrice(given); err != nil || p != want || label != given[:1] {
			t.Errorf("%s: %s %+v, %v", given, label, p, err)
		}
	}
	for _, given := range []string{"", "a", "a=1", "a=/h", "a=-1/h", "a=1/x", "a=1h", "a=1/2/3", "a=NaN/h"} {
		if label, p, err := parsePrice(given); err == nil {
			t.Errorf("%q: %s %+v", given, label, p)
		}
	}
}

// A trained model against the same weights behind a chat server, which were not
// trained to be asked like that; the second run asks nothing.
func TestCompareWithChat(t *testing.T) {
	realserver.Require(t, realserver.LlamaServerVariable)
	student := realserver.OpenStudent(t, 6)
	server := realserver.LlamaServer(t, student.GGUF)
	shared := testenv.Shared(t)
	data, err := os.ReadFile(filepath.Join(shared, "data", "tasks", "banking-routing", "test.csv"))
	if err != nil {
		t.Fatal(err)
	}
	few := strings.Join(strings.SplitAfterN(string(data), "\n", 14)[:13], "")
	args := []string{
		"compare", "-data", "-", "-json", "-cache", t.TempDir(), "-shots", "3", "-price", "llm=0.15/0.6",
		"-train", filepath.Join(shared, "data", "tasks", "banking-routing", "train.csv"), "-engine-job", filepath.Join(shared, "data", "tasks", "banking-routing", "job_description.json"),
		"slm=" + student.Model.Folder(), "llm=chat:" + server.URL,
	}
	var runs [2]struct {
		Rows        int
		Contestants []struct {
			Name   string
			Report struct {
				Accuracy float64
				eval.Timing
			}
		}
		Pairings []struct{ Verdict string }
		Warnings []string
	}
	for i := range runs {
		out, errs, code := ask(t, "", few, args...)
		if code != exitOK {
			t.Fatalf("code %d: %s", code, errs)
		}
		if err := json.Unmarshal([]byte(out), &runs[i]); err != nil {
			t.Fatal(err)
		}
	}
	first, second := runs[0], runs[1]
	if len(first.Contestants) != 3 || len(first.Pairings) != 3 || first.Rows != 12 {
		t.Fatalf("%+v", first)
	}
	slm, llm, again := first.Contestants[0], first.Contestants[1], second.Contestants[1]
	if slm.Report.Accuracy <= llm.Report.Accuracy || llm.Report.Cost == nil || *llm.Report.Cost <= 0 || llm.Report.Latency == nil {
		t.Errorf("%+v\n%+v", slm.Report, llm.Report)
	}
	if again.Report.Accuracy != llm.Report.Accuracy || *again.Report.Cost != *llm.Report.Cost || !strings.Contains(strings.Join(second.Warnings, "\n"), "llm: 12 of 12 answers are from") {
		t.Errorf("%+v cost %v, at first %v: %q", again.Report, *again.Report.Cost, *llm.Report.Cost, second.Warnings)
	}
	for _, p := range first.Pairings {
		t.Log(p.Verdict)
	}
}
