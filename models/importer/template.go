package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cubby/models"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// maxTemplate is the largest chat template that is rendered, in bytes; the
// largest in use have about a tenth of it.
const maxTemplate = 256 << 10

// placeholder and reply stand for the user's text and the model's answer while
// a template is rendered. They hold characters for private use, which no
// template and no prompt contains.
const (
	placeholder = "\uf8ff\uf8fetext\uf8fe\uf8ff"
	reply       = "\uf8ff\uf8fereply\uf8fe\uf8ff"
)

// chat renders conversations as the model was trained to see them.
type chat struct {
	template *exec.Template
	bos, eos string
}

// newChat compiles a Jinja chat template. It can reach no file and no network.
// Known hole: nothing bounds a template's loops but the import's own end.
func newChat(source, bos, eos string) (c *chat, err error) {
	defer recoverTemplate(&err)
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("chat template: larger than %d KiB", maxTemplate>>10)
	}
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": withoutConditionals(source)})
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	cfg := config.New() // as Hugging Face renders
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true
	env := &exec.Environment{
		Context:           exec.EmptyContext().Update(builtins.GlobalFunctions),
		Filters:           builtins.Filters,
		Tests:             builtins.Tests,
		ControlStructures: builtins.ControlStructures,
		Methods:           builtins.Methods,
	}
	t, err := exec.NewTemplate("/chat", cfg, loader, env)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return &chat{template: t, bos: bos, eos: eos}, nil
}

// recoverTemplate turns a panic of the template engine into an error.
func recoverTemplate(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("chat template: %v", r)
	}
}

// render applies the template to messages.
func (c *chat) render(generate bool, messages ...message) (out string, err error) {
	defer recoverTemplate(&err)
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	out, err = c.template.ExecuteToString(exec.NewContext(map[string]any{
		"messages": list, "add_generation_prompt": generate, "enable_thinking": false,
		"bos_token": c.bos, "eos_token": c.eos, "tools": nil, "documents": nil,
		conditionalName:   conditional,
		"raise_exception": func(text string) (string, error) { return "", errors.New(text) },
	}))
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	return out, nil
}

// prompt renders the conversation around any text, and says in note what the
// template would do to some texts that the literal prompt does not.
func (c *chat) prompt(conv conversation) (p models.Prompt, note string, err error) {
	out, err := c.render(true, conv.messages(placeholder)...)
	if err != nil {
		return p, "", err
	}
	if p.Prefix, p.Suffix, err = split(out, placeholder); err != nil {
		return p, "", err
	}
	const spaced = " \n" + placeholder + "\n "
	if out, err = c.render(true, conv.messages(spaced)...); err != nil {
		return p, "", err
	}
	switch out {
	case p.Prefix + spaced + p.Suffix:
		return p, "", nil
	case p.Prefix + placeholder + p.Suffix:
		return p, "The chat template trims the user message; here space around a text is kept.", nil
	}
	return p, "", errors.New("chat template: it changes the user message beyond trimming it, which a literal prefix and suffix cannot do")
}

// messages are those that are sent for a text.
func (conv conversation) messages(text string) []message {
	return append(slices.Clip(conv.Lead), message{"user", conv.Before + text + conv.After})
}

// split cuts a rendering at the one place where mark stands.
func split(out, mark string) (before, after string, err error) {
	if n := strings.Count(out, mark); n != 1 {
		return "", "", fmt.Errorf("chat template: the message appears %d times in its output, not once", n)
	}
	before, after, _ = strings.Cut(out, mark)
	return before, after, nil
}

// end returns the token that the template puts behind an answer: the first of
// the candidates that stands there, or else the longest of the special tokens; the
// first candidate where the template puts nothing there or cannot render an
// answer.
func (c *chat) end(conv conversation, candidates, specials []string) (string, error) {
	if len(candidates) == 0 {
		return "", errors.New("the package names no end-of-sequence token")
	}
	out, err := c.render(false, append(conv.messages(placeholder), message{"assistant", reply})...)
	if err != nil {
		return candidates[0], nil
	}
	_, after, _ := strings.Cut(out, reply)
	for _, token := range candidates {
		if strings.HasPrefix(after, token) {
			return token, nil
		}
	}
	longest := ""
	for _, token := range specials {
		if strings.HasPrefix(after, token) && len(token) > len(longest) {
			longest = token
		}
	}
	if longest != "" {
		return longest, nil
	}
	if strings.TrimSpace(after) != "" {
		return "", fmt.Errorf("chat template: it ends an answer with %.40q, which is none of the package's end tokens %q", after, candidates)
	}
	return candidates[0], nil
}
