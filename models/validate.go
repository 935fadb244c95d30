package models

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cubby/labels"
)

// maxFiles is the most files one model folder may hold.
const maxFiles = 256

// Validate reports the first thing in m that no model folder may have.
func (m Manifest) Validate() error {
	checks := []func() error{
		func() error { return checkSchema(m.Schema) },
		func() error { return ValidName(m.Name) },
		m.checkLabels, m.checkText, m.checkAnswer, m.checkDecision, m.checkCanary, m.checkReplay, m.checkFiles, m.checkWeights, m.checkAdapter,
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
	}
	return nil
}

func (m Manifest) checkLabels() error {
	_, err := labels.NewSet(m.Labels)
	return err
}

// checkText guards what encoding would otherwise quietly change.
func (m Manifest) checkText() error {
	for _, f := range [...]struct{ field, text string }{
		{"prompt.prefix", m.Prompt.Prefix}, {"prompt.suffix", m.Prompt.Suffix},
		{"answer.prefix", m.Answer.Prefix}, {"answer.suffix", m.Answer.Suffix}, {"answer.end", m.Answer.End},
		{"source.from", m.Source.From}, {"source.note", m.Source.Note},
	} {
		if !utf8.ValidString(f.text) {
			return fmt.Errorf("%s is not valid UTF-8", f.field)
		}
	}
	if !slices.Contains([]Kind{GGUF, Merged, SequenceClassifier, Adapted, BuiltIn}, m.Source.Kind) {
		return fmt.Errorf("source.kind %q is unknown", m.Source.Kind)
	}
	return nil
}

func (m Manifest) checkAnswer() error {
	a := m.Answer
	switch a.Form {
	case None:
		if a != (Answer{Form: None}) {
			return errors.New(`answer form "none" writes nothing: prefix, suffix and end must be empty`)
		}
		if m.Scoring != Head {
			return fmt.Errorf(`answer form "none" needs scoring %q, not %q`, Head, m.Scoring)
		}
		return nil
	case Bare:
		if strings.TrimSpace(a.Prefix+a.Suffix) != "" {
			return errors.New(`answer form "bare" has text around the label`)
		}
	case Tagged, JSON:
		if a.Prefix == "" || a.Suffix == "" {
			return fmt.Errorf("answer form %q needs a prefix and a suffix", a.Form)
		}
	default:
		return fmt.Errorf("answer form %q is unknown", a.Form)
	}
	if a.ASCII && a.Form != JSON {
		return fmt.Errorf(`answer.ascii does not fit answer form %q: only "json" has escapes`, a.Form)
	}
	if a.End == "" {
		return errors.New("answer.end is empty: without the end-of-answer token, a label that begins another could never win")
	}
	if m.Scoring != Constrained && m.Scoring != Likelihood {
		return fmt.Errorf("scoring %q does not fit answer form %q", m.Scoring, a.Form)
	}
	return nil
}

func (m Manifest) checkDecision() error {
	if m.Calibration != nil {
		if err := m.Calibration.Validate(); err != nil {
			return err
		}
		if n := len(m.Calibration.Scale); n > 0 && n != len(m.Labels) {
			return fmt.Errorf("calibration has %d scales for %d labels", n, len(m.Labels))
		}
	}
	if m.Policy != nil {
		return m.Policy.Validate()
	}
	return nil
}

func (m Manifest) checkCanary() error {
	c := m.Canary
	if c == nil {
		return nil
	}
	switch {
	case c.Text == "" || !utf8.ValidString(c.Text):
		return errors.New("canary.text is empty or not valid UTF-8")
	case len(c.Probabilities) != len(m.Labels):
		return fmt.Errorf("canary has %d probabilities for %d labels", len(c.Probabilities), len(m.Labels))
	case !(c.Tolerance >= 0 && c.Tolerance < 1):
		return fmt.Errorf("canary.tolerance is %v, outside [0, 1)", c.Tolerance)
	}
	if err := labels.Distribution(c.Probabilities).Check(); err != nil {
		return fmt.Errorf("canary: %w", err)
	}
	return nil
}

func (m Manifest) checkReplay() error {
	if m.Replay == nil {
		return nil
	}
	return m.Replay.check()
}

func (m Manifest) checkFiles() error {
	if len(m.Files) == 0 || len(m.Files) > maxFiles {
		return fmt.Errorf("%d files, want 1 to %d", len(m.Files), maxFiles)
	}
	seen := map[string]string{strings.ToLower(ManifestName): ManifestName}
	for _, f := range m.Files {
		if err := CheckPath(f.Path); err != nil {
			return fmt.Errorf("file path %w inside the folder", err)
		}
		if f.Size < 0 {
			return fmt.Errorf("file %q has size %d", f.Path, f.Size)
		}
		key := strings.ToLower(f.Path)
		if other, ok := seen[key]; ok {
			return fmt.Errorf("files %q and %q clash", other, f.Path)
		}
		seen[key] = f.Path
	}
	for _, f := range m.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if other, ok := seen[strings.ToLower(dir)]; ok {
				return fmt.Errorf("file %q would be the folder of %q", other, f.Path)
			}
		}
	}
	return nil
}

func (m Manifest) checkWeights() error {
	if _, ok := m.file(m.Weights); !ok {
		return fmt.Errorf("weights %q are not among the files", m.Weights)
	}
	switch path.Ext(m.Weights) {
	case ".gguf":
		return nil
	case ".safetensors":
		for _, name := range []string{configName, tokenizerName} {
			if _, ok := m.file(m.beside(name)); !ok {
				return fmt.Errorf("weights %q have no %q beside them", m.Weights, name)
			}
		}
		return nil
	}
	return fmt.Errorf("weights %q are neither .gguf nor .safetensors", m.Weights)
}

func (m Manifest) checkAdapter() error {
	if m.Adapter == "" {
		return nil
	}
	if _, ok := m.file(m.Adapter); !ok {
		return fmt.Errorf("adapter %q is not among the files", m.Adapter)
	}
	switch {
	case path.Ext(m.Adapter) != ".gguf" || path.Ext(m.Weights) != ".gguf" || m.Adapter == m.Weights:
		return fmt.Errorf("adapter %q of the weights %q: both must be .gguf files", m.Adapter, m.Weights)
	case m.Scoring == Head:
		return fmt.Errorf("adapter %q of a model with a classification head: merge it", m.Adapter)
	}
	return nil
}

// file returns the listed file of that path.
func (m Manifest) file(name string) (File, bool) {
	i := slices.IndexFunc(m.Files, func(f File) bool { return f.Path == name })
	if i < 0 {
		return File{}, false
	}
	return m.Files[i], true
}

// beside is the path of a file in the folder of the weights.
func (m Manifest) beside(name string) string { return path.Join(path.Dir(m.Weights), name) }
