package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cubby/labels"
)

// hfConfig is what the importer reads of a Hugging Face config.json.
type hfConfig struct {
	Architectures []string          `json:"architectures"`
	ID2Label      map[string]string `json:"id2label"`
}

func (c hfConfig) isClassifier() bool {
	return len(c.Architectures) > 0 && strings.HasSuffix(c.Architectures[0], "ForSequenceClassification")
}

// classes returns the labels of a classification head, by its rows.
func (c hfConfig) classes() ([]labels.Label, error) {
	list := make([]labels.Label, len(c.ID2Label))
	for i := range list {
		name, ok := c.ID2Label[strconv.Itoa(i)]
		if !ok {
			return nil, fmt.Errorf("config.json: id2label has %d entries but none for %d", len(list), i)
		}
		list[i].Name = name
	}
	if _, err := labels.NewSet(list); err != nil {
		return nil, fmt.Errorf("config.json: id2label: %w", err)
	}
	return list, nil
}

// describe adds the descriptions of a job to the labels of a head, and wants
// them to be the same labels.
func describe(list, job []labels.Label) error {
	described := map[string]string{}
	for _, l := range job {
		described[l.Name] = l.Description
	}
	if len(job) != len(list) {
		return fmt.Errorf("%s has %d labels and the classification head %d", jobName, len(job), len(list))
	}
	for i := range list {
		d, ok := described[list[i].Name]
		if !ok {
			return fmt.Errorf("%s does not have %q, a label of the classification head", jobName, list[i].Name)
		}
		list[i].Description = d
	}
	return nil
}

// tokenizerConfig is what the importer reads of a tokenizer_config.json.
type tokenizerConfig struct {
	ChatTemplate chatTemplate `json:"chat_template"`
	BOS          tokenText    `json:"bos_token"`
	EOS          tokenText    `json:"eos_token"`
}

// chatTemplate is a template, or a list of named ones of which "default" counts.
type chatTemplate string

// UnmarshalJSON reads either form.
func (t *chatTemplate) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = chatTemplate(s)
		return nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("chat_template is neither a string nor a list of named templates")
	}
	for _, named := range list {
		if named.Name == "default" {
			*t = chatTemplate(named.Template)
		}
	}
	return nil
}

// tokenText is a token, written as a string or as an object with its content.
type tokenText string

// UnmarshalJSON reads either form; null is no token.
func (t *tokenText) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = tokenText(s)
		return nil
	}
	var object struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return errors.New("a special token is neither a string nor an object")
	}
	*t = tokenText(object.Content)
	return nil
}

// processor is a post-processor of tokenizer.json.
type processor struct {
	Type       string      `json:"type"`
	Processors []processor `json:"processors"`
	Single     []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
}

// around returns the special tokens that the tokenizer itself puts before and
// behind a text. A chat template brings its own; a classifier's raw text gets
// these.
func (p processor) around() (before, after string) {
	for _, sub := range p.Processors {
		b, a := sub.around()
		before, after = before+b, a+after
	}
	if p.Type != "TemplateProcessing" {
		return before, after
	}
	behind := false
	for _, part := range p.Single {
		switch {
		case part.SpecialToken == nil:
			behind = true
		case behind:
			after += part.SpecialToken.ID
		default:
			before += part.SpecialToken.ID
		}
	}
	return before, after
}
