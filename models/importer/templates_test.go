package importer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// renderedTemplates is testdata/templates/rendered.json, which make.py there writes.
type renderedTemplates struct {
	System, User, Answer string
	Templates            map[string]struct{ BOS, EOS, Prompt, Bare, Whole string }
}

// TestTemplatesOfTheFamilies renders the templates as Jinja does.
func TestTemplatesOfTheFamilies(t *testing.T) {
	const dir = "testdata/templates"
	data, err := os.ReadFile(filepath.Join(dir, "rendered.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want renderedTemplates
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	ends := map[string]string{"gemma3": "<end_of_turn>", "llama3": "<|eot_id|>", "mistral": "</s>", "qwen2": "<|im_end|>", "qwen3": "<|im_end|>"}
	if len(want.Templates) != len(ends) {
		t.Errorf("%d templates, want %d", len(want.Templates), len(ends))
	}
	for name, w := range want.Templates {
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(dir, name+".jinja"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := newChat(string(source), w.BOS, w.EOS)
			if err != nil {
				t.Fatal(err)
			}
			for whole, conv := range map[string]conversation{w.Prompt: ofSystem(want.System), w.Bare: {}} {
				p, _, err := c.prompt(conv)
				if err != nil {
					t.Fatal(err)
				}
				if got := p.Prefix + want.User + p.Suffix; got != whole {
					t.Errorf("prompt\n got %q\nwant %q", got, whole)
				}
			}
			conv := ofSystem(want.System)
			out, err := c.render(false, append(conv.messages(want.User), message{"assistant", want.Answer})...)
			if err != nil || out != w.Whole {
				t.Errorf("conversation %v\n got %q\nwant %q", err, out, w.Whole)
			}
			end, err := c.end(conv, []string{w.EOS}, []string{"<start_of_turn>", "<end_of_turn>"})
			if err != nil || end != ends[name] {
				t.Errorf("an answer ends with %q, %v", end, err)
			}
		})
	}
}
