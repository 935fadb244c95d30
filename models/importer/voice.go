package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"

	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/tokenizer"
)

// voice is how a model is spoken to: its chat template and special tokens.
type voice struct {
	template string
	bos, eos string
	ends     []string // tokens that may end an answer, best guess first
	specials []string // all special tokens: gemma's answers end with none of the above
}

// voice reads what the staged files say.
func (p *pack) voice(f form) (voice, error) {
	if f.kind == models.GGUF || f.conversion != nil || f.kind == models.Adapted && !p.staged(tokenizerConfigName) {
		return p.ggufVoice(path.Base(f.weights))
	}
	return p.hfVoice()
}

// stagedTemplate is the chat template of a file of its own, empty where there is none.
func (p *pack) stagedTemplate() (string, error) {
	if !p.staged(templateName) {
		return "", nil
	}
	data, release, err := p.stage.Map(templateName)
	if err != nil {
		return "", err
	}
	if len(data) > maxTemplate {
		return "", errors.Join(fmt.Errorf("%s is larger than %d KiB", templateName, maxTemplate>>10), release())
	}
	template := string(data)
	return template, release()
}

// controlToken is llama.cpp's type of a special token.
const controlToken = 3

func (p *pack) ggufVoice(name string) (v voice, err error) {
	data, release, err := p.stage.Map(name)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, release()) }()
	f, err := gguf.Parse(data)
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	template, err := p.stagedTemplate()
	if err != nil {
		return v, err
	}
	if template == "" {
		template, _ = f.String("tokenizer.chat_template")
	}
	if template == "" {
		return v, fmt.Errorf("%s has no tokenizer.chat_template, so the prompt cannot be rendered", name)
	}
	tokens, _ := f.Strings("tokenizer.ggml.tokens")
	special := func(key string) string {
		id, ok := f.Uint("tokenizer.ggml." + key)
		if !ok || id >= uint64(len(tokens)) {
			return ""
		}
		return tokens[id]
	}
	v = voice{template: template, bos: special("bos_token_id"), eos: special("eos_token_id")}
	v.ends = nonEmpty(special("eot_token_id"), v.eos)
	types, _ := f.Ints("tokenizer.ggml.token_type")
	for id, t := range types {
		if t == controlToken && id < len(tokens) {
			v.specials = append(v.specials, tokens[id])
		}
	}
	return v, nil
}

func (p *pack) hfVoice() (v voice, err error) {
	var c tokenizer.Config
	if err := p.stagedJSON(tokenizerConfigName, &c); err != nil {
		return v, err
	}
	v = voice{template: string(c.ChatTemplate), bos: string(c.BOS), eos: string(c.EOS)}
	v.ends = nonEmpty(v.eos)
	var t struct {
		Added []struct {
			Content string `json:"content"`
			Special bool   `json:"special"`
		} `json:"added_tokens"`
	}
	if err := p.stagedJSON(tokenizerName, &t); err != nil {
		return v, err
	}
	for _, a := range t.Added {
		if a.Special {
			v.specials = append(v.specials, a.Content)
		}
	}
	template, err := p.stagedTemplate()
	if err != nil {
		return v, err
	}
	v.template = cmp.Or(template, v.template)
	if v.template == "" {
		return v, fmt.Errorf("neither %s nor %s holds a chat template, so the prompt cannot be rendered", tokenizerConfigName, templateName)
	}
	return v, nil
}

func nonEmpty(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// staged reports whether the model has a file.
func (p *pack) staged(name string) bool { return staged(p.stage, name) }

func staged(stage *models.Stage, name string) bool {
	return slices.ContainsFunc(stage.Files(), func(f models.File) bool { return f.Path == name })
}

// stagedJSON decodes a JSON file of the model.
func (p *pack) stagedJSON(name string, to any) (err error) {
	if !p.staged(name) {
		return fmt.Errorf("there is no %s beside the weights", name)
	}
	data, release, err := p.stage.Map(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if len(data) > maxTokenizer {
		return fmt.Errorf("%s is larger than %d MiB", name, maxTokenizer>>20)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// maxTokenizer is the largest tokenizer.json that is read whole, in bytes.
const maxTokenizer = 64 << 20

// rawPrompt is what the tokenizer itself puts around a raw text.
func (p *pack) rawPrompt(f form) (models.Prompt, error) {
	file := p.path(path.Join(path.Dir(f.weights), tokenizerName))
	if f.merging != nil {
		file = f.merging.files[tokenizerName]
	}
	data, err := readSmall(file, tokenizerName, maxTokenizer)
	if err != nil {
		return models.Prompt{}, err
	}
	before, after, err := tokenizer.Around(data)
	if err != nil {
		return models.Prompt{}, err
	}
	return models.Prompt{Prefix: before, Suffix: after}, nil
}
