// Generate writes the demo model's manifest, cubby.json, from prompt.json and
// model.gguf in the current folder. It runs by "go generate" in models/demo.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"cubby/labels"
	"cubby/models"
)

const (
	weightsName = "model.gguf"
	endToken    = "<|im_end|>"
	note        = "Made from SmolLM2-135M-Instruct (Hugging Face TB, Apache-2.0), fine-tuned on tickets of BANKING77 (Casanueva et al. 2020, CC-BY-4.0) " +
		"and the eight-class bank routing examples of a public tutorial. For trying the software, not for a bank."
)

func main() {
	canary := flag.String("canary", "", "JSON `file` with the canary to record: text, probabilities, tolerance; without it, the recorded one stays")
	flag.Parse()
	if err := run(*canary); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(canaryFile string) error {
	weights, err := weightsFile()
	if err != nil {
		return err
	}
	prompt, err := os.ReadFile("prompt.json")
	if err != nil {
		return err
	}
	canary, err := readCanary(canaryFile, weights)
	if err != nil {
		return err
	}
	m, err := build(prompt, weights, canary)
	if err != nil {
		return err
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(models.ManifestName, data, 0o644)
}

func weightsFile() (models.File, error) {
	data, err := os.ReadFile(weightsName)
	return models.File{Path: weightsName, Size: int64(len(data)), SHA256: models.DigestOf(data)}, err
}

// readCanary takes the canary of a file, or the one that the present manifest
// records for the same weights.
func readCanary(file string, weights models.File) (*models.Canary, error) {
	if file == "" {
		data, err := os.ReadFile(models.ManifestName)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		old, err := models.ParseManifest(data)
		if err != nil || len(old.Files) != 1 || old.Files[0] != weights {
			return nil, err
		}
		return old.Canary, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c models.Canary
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &c, nil
}

// build makes the manifest of prompt.json's template, in which {system} stands
// for the system prompt and {text} for the text to classify.
func build(promptJSON []byte, weights models.File, canary *models.Canary) (*models.Manifest, error) {
	var p struct {
		Labels   []string `json:"labels"`
		System   string   `json:"system_prompt"`
		Template string   `json:"template"`
	}
	if err := json.Unmarshal(promptJSON, &p); err != nil {
		return nil, fmt.Errorf("prompt.json: %w", err)
	}
	prefix, suffix, ok := strings.Cut(p.Template, "{text}")
	if !ok {
		return nil, errors.New("prompt.json: the template has no {text}")
	}
	m := &models.Manifest{
		Schema:  models.SchemaVersion,
		Name:    models.DemoName,
		Prompt:  models.Prompt{Prefix: strings.Replace(prefix, "{system}", p.System, 1), Suffix: suffix},
		Answer:  models.Answer{Form: models.Bare, End: endToken},
		Scoring: models.Constrained,
		Canary:  canary,
		Weights: weightsName,
		Files:   []models.File{weights},
		Source:  models.Source{Kind: models.BuiltIn, From: "models/demo", Note: note},
	}
	for _, name := range p.Labels {
		m.Labels = append(m.Labels, labels.Label{Name: name})
	}
	return m, nil
}
