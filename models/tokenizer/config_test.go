package tokenizer

import (
	"encoding/json"
	"testing"
)

func TestProcessorAround(t *testing.T) {
	const bos = `{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}`
	for src, want := range map[string][2]string{
		`{"type": "ByteLevel"}`:                                   {},
		`{"type": "TemplateProcessing", "single": [` + bos + `]}`: {"<s>", ""},
		`{"type": "TemplateProcessing", "single": [` + bos + `, {"SpecialToken": {"id": "</s>"}}]}`:                            {"<s>", "</s>"},
		`{"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": [` + bos + `]}]}`: {"<s>", ""},
	} {
		var p processor
		if err := json.Unmarshal([]byte(src), &p); err != nil {
			t.Fatal(err)
		}
		if before, after := p.around(); before != want[0] || after != want[1] {
			t.Errorf("%s gives %q, %q", src, before, after)
		}
	}
}

func TestConfigForms(t *testing.T) {
	for src, want := range map[string]Config{
		`{"chat_template": "t", "eos_token": "</s>", "bos_token": null}`:                                   {ChatTemplate: "t", EOS: "</s>"},
		`{"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "t"}]}`:     {ChatTemplate: "t"},
		`{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": {"content": "</s>"}, "other": 1}`: {BOS: "<s>", EOS: "</s>"},
	} {
		var c Config
		if err := json.Unmarshal([]byte(src), &c); err != nil || c != want {
			t.Errorf("%s gives %+v, %v", src, c, err)
		}
	}
	for _, src := range []string{`{"chat_template": 3}`, `{"eos_token": 3}`} {
		if json.Unmarshal([]byte(src), new(Config)) == nil {
			t.Errorf("%s is accepted", src)
		}
	}
}
