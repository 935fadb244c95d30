package models

import (
	"encoding/json"
	"path"
)

// Scored is the digest of all that decides a model's probabilities before they are
// calibrated: weights, tokenizer, prompt, form of the answers, labels and scoring. A
// calibration that was fitted on anything else does not count.
func (m Manifest) Scored() Digest {
	var files []File
	for _, f := range m.Files {
		switch path.Ext(f.Path) {
		case ".gguf", ".safetensors", ".json":
			if path.Dir(f.Path) == "." {
				files = append(files, f)
			}
		}
	}
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
	}{files, names, m.Prompt, m.Answer, m.Scoring})
	if err != nil {
		panic(err) // strings, numbers and digests have JSON
	}
	return DigestOf(data)
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
