package importer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models"
)

var tasks = []string{"banking-routing", "ecommerce", "injury", "mental-health"}

// golden is what the reference data says of a task.
type golden struct {
	Labels []string `json:"labels"`
	System string   `json:"system_prompt"`
}

func readGolden(t *testing.T, task, form string) golden {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testenv.Shared(t), "models", task, form, "golden.json"))
	if err != nil {
		t.Skipf("no reference for %s %s: %v", task, form, err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// Every package of the reference data installs, with the prompt that its model
// was trained on, byte for byte.
func TestImportReferencePackages(t *testing.T) {
	packages := testenv.Packages(t)
	for _, task := range tasks {
		for form, kind := range map[string]models.Kind{"gguf": models.GGUF, "merged": models.Merged} {
			t.Run(task+"/"+form, func(t *testing.T) {
				want := readGolden(t, task, "chat")
				archive := filepath.Join(packages, task, form+".tar")
				m := importOpen(t, archive)
				if m.Manifest.Source.Kind != kind || !sameLabels(m.Manifest.Labels, want.Labels) {
					t.Errorf("kind %s, labels %v", m.Manifest.Source.Kind, m.Labels().Names())
				}
				prompt := models.Prompt{
					Prefix: "<|im_start|>system\n" + want.System + "<|im_end|>\n<|im_start|>user\n",
					Suffix: "<|im_end|>\n<|im_start|>assistant\n",
				}
				if m.Manifest.Prompt != prompt {
					t.Errorf("got  %q\nwant %q", m.Manifest.Prompt, prompt)
				}
				if answer := (models.Answer{Form: models.Bare, End: "<|im_end|>"}); m.Manifest.Answer != answer || m.Manifest.Source.Note != "" {
					t.Errorf("answer %+v, note %q", m.Manifest.Answer, m.Manifest.Source.Note)
				}
				if !hasFile(m.Manifest.Files, clientName, readEntry(t, archive, clientName)) {
					t.Errorf("the client is not kept: %v", m.Manifest.Files)
				}
			})
		}
	}
}

func TestImportReferenceClassifiers(t *testing.T) {
	packages := testenv.Packages(t)
	for _, task := range tasks {
		t.Run(task, func(t *testing.T) {
			want := readGolden(t, task, "seqcls")
			m := importOpen(t, filepath.Join(packages, task, "seqcls.tar"))
			if !sameLabels(m.Manifest.Labels, want.Labels) || m.Manifest.Labels[0].Description == "" {
				t.Errorf("labels %+v", m.Manifest.Labels)
			}
			if m.Manifest.Prompt != (models.Prompt{}) || m.Manifest.Answer.Form != models.None || m.Manifest.Scoring != models.Head {
				t.Errorf("prompt %q, answer %+v, scoring %s", m.Manifest.Prompt, m.Manifest.Answer, m.Manifest.Scoring)
			}
			c, err := m.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			for i, class := range c.Config().Classes {
				if class != m.Labels().Name(i) {
					t.Errorf("row %d of the head is %q and label %q", i, class, m.Labels().Name(i))
				}
			}
		})
	}
}

// An adapter alone is the model that its package with merged weights is, with the
// same prompt.
func TestImportReferenceAdapters(t *testing.T) {
	if testing.Short() {
		t.Skip("merges 540 million weights: not in short mode")
	}
	packages := testenv.Packages(t)
	base := filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct")
	for _, task := range tasks {
		t.Run(task, func(t *testing.T) {
			want := readGolden(t, task, "chat")
			m, res := importAdapter(t, Options{Path: filepath.Join(packages, task, "adapter.tar"), Base: base})
			prompt := models.Prompt{
				Prefix: "<|im_start|>system\n" + want.System + "<|im_end|>\n<|im_start|>user\n",
				Suffix: "<|im_end|>\n<|im_start|>assistant\n",
			}
			if m.Manifest.Prompt != prompt || !sameLabels(m.Manifest.Labels, want.Labels) {
				t.Errorf("prompt %q, labels %v", m.Manifest.Prompt, m.Labels().Names())
			}
			if len(res.Warnings) != 0 || !strings.HasPrefix(res.Manifest.Source.Note, "merged at import from the base SmolLM2-135M-Instruct (sha256:") {
				t.Errorf("warnings %q, note %q", res.Warnings, res.Manifest.Source.Note)
			}
		})
	}
	s := models.NewStore(t.TempDir())
	_, err := Import(context.Background(), s, Options{Path: filepath.Join(packages, tasks[0], "adapter.tar"), Name: "a"})
	if err == nil || !strings.Contains(err.Error(), "its base model HuggingFaceTB/SmolLM2-135M-Instruct are not inside") {
		t.Errorf("without its base: %v", err)
	}
	checkEmpty(t, s)
}

func importOpen(t *testing.T, archive string) *models.Model {
	t.Helper()
	s := models.NewStore(t.TempDir())
	if _, err := Import(context.Background(), s, Options{Path: archive, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
