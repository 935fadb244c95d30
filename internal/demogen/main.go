// Demogen writes the demo model's manifest, cubby.json, from prompt.json and
// model.gguf in the current folder, and records its canary. It runs by
// "go generate ./models/demo".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"cubby/internal/load"
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
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demogen:", err)
		os.Exit(1)
	}
}

func run() error {
	weights, err := weightsFile()
	if err != nil {
		return err
	}
	prompt, err := os.ReadFile("prompt.json")
	if err != nil {
		return err
	}
	m, err := build(prompt, weights)
	if err != nil {
		return err
	}
	if m.Canary, err = canary(m); err != nil {
		return err
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(models.ManifestName, data, 0o644)
}

// canary scores the canary on the model that the manifest describes.
func canary(m *models.Manifest) (*models.Canary, error) {
	manifest, err := m.Encode()
	if err != nil {
		return nil, err
	}
	weights, err := os.ReadFile(weightsName)
	if err != nil {
		return nil, err
	}
	opened, err := models.OpenEmbedded(manifest, map[string][]byte{weightsName: weights})
	if err != nil {
		return nil, err
	}
	model, err := load.Starter("")(opened)
	if err != nil {
		return nil, err
	}
	c, err := model.RecordCanary(context.Background())
	return c, errors.Join(err, model.Close())
}

func weightsFile() (models.File, error) {
	data, err := os.ReadFile(weightsName)
	return models.File{Path: weightsName, Size: int64(len(data)), SHA256: models.DigestOf(data)}, err
}

// build makes the manifest of prompt.json's template, in which {system} stands
// for the system prompt and {text} for the text to classify.
func build(promptJSON []byte, weights models.File) (*models.Manifest, error) {
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
		Weights: weightsName,
		Files:   []models.File{weights},
		Source:  models.Source{Kind: models.BuiltIn, From: "models/demo", Note: note},
	}
	for _, name := range p.Labels {
		m.Labels = append(m.Labels, labels.Label{Name: name})
	}
	return m, nil
}
