package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"cubby/models"
)

func TestManifestIsCurrent(t *testing.T) {
	t.Chdir("../../models/demo")
	want, err := os.ReadFile(models.ManifestName)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := weightsFile()
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := os.ReadFile("prompt.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := build(prompt, weights)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := models.ParseManifest(want)
	if err != nil {
		t.Fatal(err)
	}
	if m.Canary = recorded.Canary; m.Canary == nil {
		t.Fatal("no canary is recorded")
	}
	got, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go generate ./models/demo", models.ManifestName)
	}
	text := m.Prompt.Prefix + "TEXT" + m.Prompt.Suffix
	if strings.ContainsAny(text, "{}") || !strings.HasSuffix(text, "\nTEXT<|im_end|>\n<|im_start|>assistant\n") {
		t.Errorf("prompt is %q", text)
	}
}

func TestReadmeNamesTheWeights(t *testing.T) {
	t.Chdir("../../models/demo")
	weights, err := weightsFile()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{weights.SHA256.Hex(), "Apache-2.0", "CC-BY-4.0", "BANKING77"} {
		if !strings.Contains(string(readme), want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}
