package models

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// Scored is the digest of all that decides a model's probabilities before they are
// calibrated: weights, tokenizer, prompt, form of the answers, labels and scoring. A
// calibration that was fitted on anything else does not count.
func (m Manifest) Scored() Digest {
	var names []string
	for _, l := range m.Labels {
		names = append(names, l.Name)
	}
	data, err := json.Marshal(struct {
		Files   []File
		Labels  []string
		Prompt  Prompt
		Answer  Answer
		Scoring Scoring
	}{m.computed(), names, m.Prompt, m.Answer, m.Scoring})
	if err != nil {
		panic(err) // strings, numbers and digests have JSON
	}
	return DigestOf(data)
}

// Computed is the digest of the files that an engine computes with.
func (m Manifest) Computed() Digest {
	data, err := json.Marshal(m.computed())
	if err != nil {
		panic(err) // strings, numbers and digests have JSON
	}
	return DigestOf(data)
}

// computed lists weights, their configuration and the tokenizer.
func (m Manifest) computed() []File {
	var files []File
	for _, f := range m.Files {
		switch path.Ext(f.Path) {
		case ".gguf", ".safetensors", ".json":
			if path.Dir(f.Path) == "." {
				files = append(files, f)
			}
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// settle drops a calibration, and a policy set on top of it, that were fitted on
// something else.
func (m *Manifest) settle() {
	on := m.Scored().String()
	if c := m.Calibration; c != nil && c.On != "" && c.On != on {
		m.Calibration = nil
	}
	if p := m.Policy; p != nil && p.On != "" && p.On != on {
		m.Policy = nil
	}
}
