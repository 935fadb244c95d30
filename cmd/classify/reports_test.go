package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/eval"
	"cubby/models"
)

// The report that drift is measured against is that of the most rows by the model's own
// scoring.
func TestKeptReport(t *testing.T) {
	s, data := storedDemo(t)
	m, err := models.Resolve(s, "tickets")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	all, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(all), "\n")
	rows := func(n int) string { return strings.Join(lines[:n+1], "") }
	own, other := models.Constrained, models.Likelihood
	if m.Manifest.Scoring == other {
		own, other = other, own
	}
	for _, c := range []struct {
		rows    int
		scoring models.Scoring
		kept    int
		note    string
	}{
		{2, other, 0, ""},
		{2, "", 2, ""},
		{4, own, 4, ""},
		{3, "", 4, "note: the store keeps the evaluation of 4 rows, as this one has 3"},
		{5, other, 4, ""},
		{4, "", 4, ""},
	} {
		_, errs, code := ask(t, "", rows(c.rows), "eval", "-model", "tickets", "-data", "-", "-scoring", string(c.scoring))
		if code != exitOK || !strings.Contains(errs, c.note) || c.note == "" && strings.Contains(errs, "note: ") {
			t.Fatalf("%+v: code %d, %s", c, code, errs)
		}
		var kept struct{ Rows int }
		report, err := s.Report(m.Digest)
		if err == nil {
			err = json.Unmarshal(report, &kept)
		}
		if kept.Rows != c.kept || (err != nil) != (c.kept == 0) {
			t.Errorf("%+v: the report of %d rows is kept, %v", c, kept.Rows, err)
		}
	}
}

// A store that cannot be written does not lose the evaluation.
func TestReportNotKept(t *testing.T) {
	s, data := storedDemo(t)
	if err := os.WriteFile(filepath.Join(s.Root(), "reports"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, platform := filepath.Join(dir, "report.json"), filepath.Join(dir, "platform.json")
	out, errs, code := ask(t, "", "", "eval", "-model", "tickets", "-data", data, "-report", file, "-platform", platform)
	if code != exitOK || !strings.Contains(out, "macro-F1") || !strings.Contains(errs, "warning: the report cannot be kept in the store: ") {
		t.Errorf("code %d, %s\n%s", code, errs, out)
	}
	for _, name := range []string{file, platform} {
		if raw, err := os.ReadFile(name); err != nil || !json.Valid(raw) {
			t.Errorf("%s, %v", raw, err)
		}
	}
	if out, _, code = ask(t, "", "", "eval", "-model", "tickets", "-data", data, "-report", filepath.Join(dir, "none", "report.json")); code == exitOK || !strings.Contains(out, "macro-F1") {
		t.Errorf("code %d after a report that cannot be written\n%s", code, out)
	}
}

// A file that holds no predictions stays as it is.
func TestForeignPredictions(t *testing.T) {
	for _, content := range []string{"no line", "a line\nno line"} {
		name := filepath.Join(t.TempDir(), "notes")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := start(t.Context(), newFake(t), "question,answer\na1,alpha\n", "eval", "-data", "-", "-predictions", name); code == exitOK || !strings.Contains(errs, "name another file") {
			t.Errorf("code %d, %s", code, errs)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// Figures that the platform's form cannot tell leave its file as it was.
func TestPlatformFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "platform.json")
	p := &program{platform: name}
	if err := p.writePlatform(&eval.Report{Accuracy: math.NaN()}); err == nil {
		t.Error("an accuracy that is no number was written")
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
