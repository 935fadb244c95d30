package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Config is what a tokenizer_config.json says of special tokens and of chats.
type Config struct {
	ChatTemplate ChatTemplate `json:"chat_template"`
	BOS          TokenText    `json:"bos_token"`
	EOS          TokenText    `json:"eos_token"`
	PAD          TokenText    `json:"pad_token"`
	UNK          TokenText    `json:"unk_token"`
	AddBOS       *bool        `json:"add_bos_token"` // nil where it is not said
	AddEOS       *bool        `json:"add_eos_token"`
}

// ChatTemplate is a template, or a list of named ones of which "default" counts.
type ChatTemplate string

// UnmarshalJSON reads either form.
func (t *ChatTemplate) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = ChatTemplate(s)
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
			*t = ChatTemplate(named.Template)
		}
	}
	return nil
}

// TokenText is a token, written as a string or as an object with its content.
type TokenText string

// UnmarshalJSON reads either form; null is no token.
func (t *TokenText) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = TokenText(s)
		return nil
	}
	var object struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return errors.New("a special token is neither a string nor an object")
	}
	*t = TokenText(object.Content)
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

// Around returns the special tokens that a tokenizer.json puts before and behind a
// text itself, as its post-processor says. Encode and EncodeSpecial do not.
func Around(data []byte) (before, after string, err error) {
	var f struct {
		PostProcessor *processor `json:"post_processor"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return "", "", fmt.Errorf("tokenizer.json: %w", err)
	}
	if f.PostProcessor != nil {
		before, after = f.PostProcessor.around()
	}
	return before, after, nil
}
