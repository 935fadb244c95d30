package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cubby/models/gguf"
	"cubby/models/tokenizer"
)

// fileTypes are llama.cpp's numbers for files whose matrices are of one type.
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.BF16: 32}

// meta is what a GGUF file says of the tokenizer, and of its matrices as a whole.
func (f *folder) meta(config []byte, rows int, matrices gguf.Type) ([]gguf.Meta, error) {
	data, err := f.read("tokenizer.json", maxTokenizer)
	if err != nil {
		return nil, err
	}
	v, err := tokenizer.VocabularyFromJSON(data, rows)
	if err != nil {
		return nil, err
	}
	m := metadata{
		{Key: "general.type", Value: "model"}, {Key: "general.file_type", Value: fileTypes[matrices]}, {Key: "general.quantization_version", Value: uint32(2)},
		{Key: "tokenizer.ggml.model", Value: v.Model}, {Key: "tokenizer.ggml.pre", Value: v.Pre},
		{Key: "tokenizer.ggml.tokens", Value: v.Tokens}, {Key: "tokenizer.ggml.token_type", Value: v.Types},
	}
	if v.Model == "llama" {
		scores := make([]float32, len(v.Scores))
		for i, s := range v.Scores {
			scores[i] = float32(s)
		}
		m.add("scores", scores)
		m.add("add_space_prefix", !v.NoSpace)
	} else {
		m.add("merges", v.Merges)
	}
	return m, f.special(&m, v.Tokens, config, data)
}

type metadata []gguf.Meta

// add appends a key of the tokenizer.
func (m *metadata) add(key string, value any) {
	*m = append(*m, gguf.Meta{Key: "tokenizer.ggml." + key, Value: value})
}

// special writes which tokens are special and which a text is put between, and the
// chat template.
func (f *folder) special(m *metadata, tokens []string, config, tokenizerJSON []byte) error {
	c, err := f.tokenizerConfig()
	if err != nil {
		return err
	}
	ids, err := idsOf(config)
	if err != nil {
		return err
	}
	texts := map[string]string{}
	for _, s := range []struct {
		key, name string
		text      tokenizer.TokenText
	}{{"bos", "bos", c.BOS}, {"eos", "eos", c.EOS}, {"unk", "unknown", c.UNK}, {"pad", "padding", c.PAD}} {
		id := slices.Index(tokens, string(s.text))
		if s.text == "" || id < 0 {
			id = ids[s.key]
		}
		if id < 0 || id >= len(tokens) {
			continue
		}
		m.add(s.name+"_token_id", uint32(id))
		texts[s.key] = tokens[id]
	}
	before, after, err := tokenizer.Around(tokenizerJSON)
	if err != nil {
		return err
	}
	m.add("add_bos_token", said(c.AddBOS, texts["bos"] != "" && strings.HasPrefix(before, texts["bos"])))
	m.add("add_eos_token", said(c.AddEOS, texts["eos"] != "" && strings.HasSuffix(after, texts["eos"])))
	if c.ChatTemplate != "" {
		*m = append(*m, gguf.Meta{Key: "tokenizer.chat_template", Value: string(c.ChatTemplate)})
	}
	return nil
}

func said(b *bool, otherwise bool) bool {
	if b != nil {
		return *b
	}
	return otherwise
}

// tokenizerConfig reads tokenizer_config.json, and the chat template from the file of
// its own that newer releases of transformers write. Both may be absent.
func (f *folder) tokenizerConfig() (c tokenizer.Config, err error) {
	data, err := f.read("tokenizer_config.json", maxConfig)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	template, err := f.read("chat_template.jinja", maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		c.ChatTemplate = tokenizer.ChatTemplate(template)
	}
	return c, err
}

// idsOf reads the ids of special tokens from a config.json, -1 for none. Of several
// the first counts.
func idsOf(config []byte) (map[string]int, error) {
	var top struct {
		tokenIDs
		Text tokenIDs `json:"text_config"`
	}
	if err := json.Unmarshal(config, &top); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	ids := map[string]int{"unk": -1}
	for key, pair := range map[string][2]tokenID{
		"bos": {top.BOS, top.Text.BOS}, "eos": {top.EOS, top.Text.EOS}, "pad": {top.PAD, top.Text.PAD},
	} {
		ids[key] = -1
		for _, list := range pair {
			if len(list) > 0 && ids[key] < 0 {
				ids[key] = list[0]
			}
		}
	}
	return ids, nil
}

type tokenIDs struct {
	BOS tokenID `json:"bos_token_id"`
	EOS tokenID `json:"eos_token_id"`
	PAD tokenID `json:"pad_token_id"`
}

// tokenID is an id, a list of them, or null.
type tokenID []int

// UnmarshalJSON reads each form.
func (t *tokenID) UnmarshalJSON(data []byte) error {
	var id *int
	if json.Unmarshal(data, &id) == nil {
		*t = nil
		if id != nil {
			*t = tokenID{*id}
		}
		return nil
	}
	return json.Unmarshal(data, (*[]int)(t))
}
