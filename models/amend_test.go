package models

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cubby/labels"
)

// An amended model is another artefact of the same name with the same files; the old
// one stays.
func TestAmend(t *testing.T) {
	s := NewStore(t.TempDir())
	old := install(t, s, "a", "weights")
	d, err := s.Amend(t.Context(), "a", old.String(), func(m *Manifest) {
		m.Calibration = &labels.Calibration{Temperature: 2, On: m.Scored().String()}
	})
	if err != nil || d == old {
		t.Fatal(d, err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Digest != d.String() || m.Manifest.Calibration == nil || m.Manifest.Calibration.Temperature != 2 {
		t.Errorf("%+v", m.Manifest)
	}
	if err := s.Verify(old.String()); err != nil {
		t.Error(err)
	}
	if err := s.Verify("a"); err != nil {
		t.Error(err)
	}
	for _, f := range m.Manifest.Files {
		before, err := os.Stat(filepath.Join(s.modelDir(old), f.Path))
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(filepath.Join(s.modelDir(d), f.Path))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%s takes its room twice, %v", f.Path, err)
		}
	}
	if _, err := s.Amend(t.Context(), "a", old.String(), func(*Manifest) {}); err == nil || !strings.Contains(err.Error(), "and not "+old.String()) {
		t.Errorf("a model that the name does not point to: %v", err)
	}
	if _, err := s.Amend(t.Context(), "b", old.String(), func(*Manifest) {}); err == nil || !strings.Contains(err.Error(), "only a model in the store") {
		t.Errorf("no model: %v", err)
	}
	if left, err := readDir(filepath.Join(s.root, "staging")); err != nil || len(left) > 0 {
		t.Errorf("left in staging: %v, %v", left, err)
	}
}

// A calibration and a policy of another model do not count, and what they were fitted
// on is all that decides probabilities.
func TestSettle(t *testing.T) {
	m := Manifest{Labels: []labels.Label{{Name: "a"}}, Prompt: Prompt{Prefix: "p"}, Scoring: Constrained, Files: []File{{Path: "m.gguf"}, {Path: "README.md"}, {Path: "data/test.json"}}}
	on := m.Scored()
	same := func(change func(*Manifest)) bool {
		other := m
		other.Files = append([]File(nil), m.Files...)
		other.Labels = append([]labels.Label(nil), m.Labels...)
		change(&other)
		return other.Scored() == on
	}
	for name, change := range map[string]func(*Manifest){
		"document": func(m *Manifest) { m.Files[1].Size = 7 }, "data": func(m *Manifest) { m.Files[2].Size = 7 }, "name": func(m *Manifest) { m.Name = "x" },
		"description": func(m *Manifest) { m.Labels[0].Description = "d" }, "source": func(m *Manifest) { m.Source.From = "x" },
	} {
		if !same(change) {
			t.Errorf("%s decides no probability", name)
		}
	}
	for name, change := range map[string]func(*Manifest){
		"weights": func(m *Manifest) { m.Files[0].SHA256[0]++ }, "label": func(m *Manifest) { m.Labels[0].Name = "b" }, "prompt": func(m *Manifest) { m.Prompt.Suffix = "s" },
		"answer": func(m *Manifest) { m.Answer.End = "e" }, "scoring": func(m *Manifest) { m.Scoring = Likelihood },
	} {
		if same(change) {
			t.Errorf("%s decides probabilities", name)
		}
	}
	for from, kept := range map[string]bool{"": true, on.String(): true, "sha256:00": false} {
		other := m
		other.Calibration, other.Policy = &labels.Calibration{Temperature: 2, On: from}, &labels.Policy{On: from}
		other.settle()
		if (other.Calibration != nil) != kept || (other.Policy != nil) != kept {
			t.Errorf("fitted on %q: %+v", from, other)
		}
	}
}

// Of several that amend one artefact at once, one does: the others were told to amend
// what the name does not point to any more.
func TestAmendAtOnce(t *testing.T) {
	s := NewStore(t.TempDir())
	old := install(t, s, "a", "weights")
	const n = 8
	var ready, done sync.WaitGroup
	ready.Add(n)
	errs := make([]error, n)
	for i := range n {
		done.Go(func() {
			_, errs[i] = s.Amend(t.Context(), "a", old.String(), func(m *Manifest) {
				m.Calibration = &labels.Calibration{Temperature: float64(i + 2), On: m.Scored().String()}
				ready.Done()
				ready.Wait()
			})
		})
	}
	done.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !strings.Contains(err.Error(), "and not "+old.String()) {
			t.Error(err)
		}
	}
	list, err := s.Versions("a")
	if err != nil || won != 1 || len(list) != 2 {
		t.Errorf("%d amended the model; %d versions, %v", won, len(list), err)
	}
}
