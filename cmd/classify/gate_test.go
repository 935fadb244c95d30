package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"cubby/internal/load"
	"cubby/labels"
	"cubby/models"
)

// What was accepted is held against what comes after it: the same passes, a model that
// answers with one label does not, and a server that asks for gates refuses it.
func TestGate(t *testing.T) {
	s, data := storedDemo(t)
	gate := func(want int, args ...string) (r gateReport) {
		t.Helper()
		out, errs, code := ask(t, "", "", append([]string{"gate", "-model", "tickets", "-data", data, "-json"}, args...)...)
		if code != want {
			t.Fatalf("%q: code %d: %s%s", args, code, out, errs)
		}
		if out != "" {
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	serve := func() error {
		t.Helper()
		m, err := load.Model("tickets", load.Options{RequireGate: true})
		if err != nil {
			return err
		}
		return m.Close()
	}
	if err := serve(); err == nil || !strings.Contains(err.Error(), "has passed no gate") {
		t.Error(err)
	}
	gate(exitFailed)
	first := gate(exitOK, "-accept")
	if again := gate(exitOK); !first.Accepted || again.Accepted || again.Lost+again.Won != 0 || again.Baseline != first.Artifact || !again.Passed {
		t.Errorf("%+v, then %+v", first, again)
	}
	if err := serve(); err != nil {
		t.Error(err)
	}

	worse, err := s.Amend(t.Context(), "tickets", first.Artifact, func(m *models.Manifest) {
		n := len(m.Labels)
		m.Calibration = &labels.Calibration{Temperature: 1, Scale: slices.Repeat([]float64{1}, n), Bias: append([]float64{50}, make([]float64, n-1)...)}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := serve(); err == nil || !strings.Contains(err.Error(), "has passed no gate") {
		t.Error(err)
	}
	r := gate(exitFailed)
	if r.Passed || r.Artifact != worse.String() || r.Baseline != first.Artifact || r.Lost < 20 || r.P > 0.001 || len(r.LostLines) != r.Lost {
		t.Errorf("%+v", r)
	}
	if err := serve(); err == nil || !strings.Contains(err.Error(), "has failed its gate") {
		t.Error(err)
	}
	if out, _, _ := ask(t, "", "", "gate", "-model", "tickets", "-data", data); !strings.Contains(out, "failed: this loss is beyond chance") || !strings.Contains(out, "lost lines: ") {
		t.Error(out)
	}
	if _, _, err := s.Use("tickets@" + strings.TrimPrefix(first.Artifact, "sha256:")); err != nil {
		t.Fatal(err)
	}
	gate(exitOK)

	// Another test set is another measure.
	data = mislabelled(t, data)
	if _, errs, code := ask(t, "", "", "gate", "-model", "tickets", "-data", data); code != exitFailed || !strings.Contains(errs, "its predictions are of other rows; give the rows that they are answers to, or accept anew with -accept") {
		t.Errorf("code %d: %s", code, errs)
	}
	gate(exitOK, "-accept")
	gate(exitOK)
	if out, errs, code := ask(t, "", "", "gate", "-model", "demo", "-data", data); code == exitOK || !strings.Contains(errs, "only a model in the store") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
}
