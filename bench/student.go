package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"cubby/eval"
	"cubby/labels"
	"cubby/models"
)

// student is the model that all systems run, as its manifest describes it.
type student struct {
	manifest models.Manifest
	digest   string
	folder   string // empty for the built-in model
	set      *labels.Set
}

// openModel resolves a model as all programs do.
func openModel(home, ref string) (*models.Model, error) {
	if home != "" {
		return models.Resolve(models.NewStore(home), ref)
	}
	store, err := models.DefaultStore()
	if err != nil {
		return nil, err
	}
	return models.Resolve(store, ref)
}

func openStudent(c *config) (*student, error) {
	m, err := openModel(c.Home, c.Model)
	if err != nil {
		return nil, err
	}
	s := &student{manifest: m.Manifest, digest: m.Digest, folder: m.Folder(), set: m.Labels()}
	return s, m.Close()
}

// gguf is the weights file for the peers that read GGUF.
func (s *student) gguf() (string, error) {
	switch {
	case s.folder == "":
		return "", errors.New("the built-in model is no file that it could read")
	case filepath.Ext(s.manifest.Weights) != ".gguf":
		return "", fmt.Errorf("the model's weights are %s and not GGUF", s.manifest.Weights)
	}
	return filepath.Abs(filepath.Join(s.folder, filepath.FromSlash(s.manifest.Weights)))
}

// prompt is the whole prompt around a text.
func (s *student) prompt(text string) string {
	return s.manifest.Prompt.Prefix + text + s.manifest.Prompt.Suffix
}

// grammar accepts the answers of the model and nothing else. Format: GBNF of
// llama.cpp.
func (s *student) grammar() string {
	alternatives := make([]string, s.set.Len())
	for i := range alternatives {
		alternatives[i] = gbnfString(s.manifest.Answer.Text(s.set.Name(i)))
	}
	return "root ::= " + strings.Join(alternatives, " | ")
}

func gbnfString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// answer turns what a generating peer wrote into an answer: all probability on
// the label, or an error where it is none.
func (s *student) answer(written string) eval.Answer {
	name := strings.TrimSpace(written)
	name = strings.TrimPrefix(name, strings.TrimSpace(s.manifest.Answer.Prefix))
	name = strings.TrimSuffix(name, strings.TrimSpace(s.manifest.Answer.Suffix))
	return s.label(strings.TrimSpace(name))
}

// label puts all probability on the label of that name.
func (s *student) label(name string) eval.Answer {
	i, ok := s.set.Index(name)
	if !ok {
		return eval.Answer{Err: fmt.Errorf("%.60q is none of the labels", name)}
	}
	return s.best(i)
}

// best puts all probability on label i.
func (s *student) best(i int) eval.Answer {
	d := make(labels.Distribution, s.set.Len())
	d[i] = 1
	return eval.Answer{Distribution: d}
}

// answerTokens is enough for the longest answer: no token of text is shorter
// than a byte.
func (s *student) answerTokens() int {
	longest := 0
	for _, name := range s.set.Names() {
		longest = max(longest, len(s.manifest.Answer.Text(name)))
	}
	return longest + 1
}

// stops is where a generating peer ends its answer, beside its own end token.
func (s *student) stops() []string {
	if s.manifest.Answer.End == "" {
		return nil
	}
	return []string{s.manifest.Answer.End}
}
