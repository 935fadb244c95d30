package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	sugarme "github.com/sugarme/tokenizer"
)

// file is a tokenizer.json of Hugging Face's tokenizers library.
type file struct {
	Version       string                `json:"version"`
	Truncation    json.RawMessage       `json:"truncation"`
	Padding       json.RawMessage       `json:"padding"`
	AddedTokens   []sugarme.TokenConfig `json:"added_tokens"`
	Normalizer    json.RawMessage       `json:"normalizer"`
	PreTokenizer  json.RawMessage       `json:"pre_tokenizer"`
	PostProcessor json.RawMessage       `json:"post_processor"`
	Decoder       json.RawMessage       `json:"decoder"`
	Model         fileModel             `json:"model"`
}

type fileModel struct {
	Type                    string           `json:"type"`
	Dropout                 *float64         `json:"dropout"`
	UnkToken                *string          `json:"unk_token"`
	ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
	FuseUnk                 bool             `json:"fuse_unk"` // of no effect without unk_token
	ByteFallback            bool             `json:"byte_fallback"`
	IgnoreMerges            bool             `json:"ignore_merges"`
	Vocab                   map[string]int32 `json:"vocab"`
	Merges                  fileMerges       `json:"merges"`
}

// fileMerges reads merges in both spellings: "a b" and ["a", "b"].
type fileMerges [][2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *fileMerges) UnmarshalJSON(data []byte) error {
	var pairs [][]string
	rest := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("[")), " \t\r\n")
	if bytes.HasPrefix(rest, []byte("[")) {
		if err := json.Unmarshal(data, &pairs); err != nil {
			return err
		}
		return m.fromPairs(pairs)
	}
	var lines []string
	if err := json.Unmarshal(data, &lines); err != nil {
		return err
	}
	*m = make(fileMerges, len(lines))
	for i, line := range lines {
		var err error
		if (*m)[i], err = cutMerge(line); err != nil {
			return err
		}
	}
	return nil
}

func (m *fileMerges) fromPairs(pairs [][]string) error {
	*m = make(fileMerges, len(pairs))
	for i, pair := range pairs {
		if len(pair) != 2 || pair[0] == "" || pair[1] == "" {
			return fmt.Errorf("merge %q is not two tokens", pair)
		}
		(*m)[i] = [2]string(pair)
	}
	return nil
}

// FromJSON builds the tokenizer that a tokenizer.json describes: byte-level BPE
// with the pre-tokenisers of GPT-2, SmolLM, Llama 3 or Qwen 2, and no normaliser
// or NFC; or BPE with byte fallback as SentencePiece has it, for gemma and the
// first Mistral. Whatever else the file asks for is refused, not approximated.
func FromJSON(data []byte) (*Tokenizer, error) { return FromJSONWithin(data, maxTokens) }

// FromJSONWithin is FromJSON for a model whose embedding has that many rows: added
// tokens behind them are left out. Gemma's tokenizer has one for images, which its
// text models have no row for.
func FromJSONWithin(data []byte, rows int) (*Tokenizer, error) {
	f, err := readFile(data, rows)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t, err := f.build()
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	return t, nil
}

func readFile(data []byte, rows int) (*file, error) {
	var f file
	if err := strict(data, &f); err != nil {
		return nil, err
	}
	if rows < maxTokens {
		f.AddedTokens = slices.DeleteFunc(f.AddedTokens, func(a sugarme.TokenConfig) bool { return a.Id >= int64(rows) })
	}
	return &f, nil
}

// strict decodes one JSON value and refuses fields it does not know.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (f *file) build() (*Tokenizer, error) {
	if err := f.Model.check(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if f.Model.ByteFallback {
		return f.buildSentencePiece()
	}
	pre, err := readPreTokenizer(f.PreTokenizer)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	useNFC, err := readNormalizer(f.Normalizer)
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if err := checkDecoder(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	entries, err := f.entries()
	if err != nil {
		return nil, err
	}
	t, err := newTokenizer(entries, f.Model.Merges, f.Model.IgnoreMerges)
	if err != nil {
		return nil, err
	}
	t.pre = pre
	if useNFC {
		t.form = composed
	}
	return t, f.addTokens(t)
}

// check refuses the options of BPE that byte-level tokenizers do not use.
func (m *fileModel) check() error {
	switch {
	case m.Type != "BPE":
		return fmt.Errorf("type %q is not supported: only BPE is", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return fmt.Errorf("dropout %v makes tokens random: set it to null", *m.Dropout)
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "":
		return fmt.Errorf("continuing_subword_prefix %q is not supported", *m.ContinuingSubwordPrefix)
	case m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return fmt.Errorf("end_of_word_suffix %q is not supported", *m.EndOfWordSuffix)
	}
	return m.checkUnknown()
}

// checkUnknown allows an unknown token only where it cannot come up, in a
// vocabulary with a token for every byte: plain text must not yield it.
func (m *fileModel) checkUnknown() error {
	if m.UnkToken == nil || m.ByteFallback {
		return nil // with byte_fallback the vocabulary is checked for the bytes
	}
	for b := range 256 {
		if _, ok := m.Vocab[string(alphabet[b])]; !ok {
			return fmt.Errorf("unk_token %q is not supported where byte %#02x has no token", *m.UnkToken, b)
		}
	}
	return nil
}

// entries lays the vocabulary and the added tokens out by id.
func (f *file) entries() ([]entry, error) {
	size := 0
	for text, id := range f.Model.Vocab {
		if id < 0 || id >= maxTokens {
			return nil, fmt.Errorf("model: token %q has id %d: ids from 0 to %d are supported", text, id, maxTokens-1)
		}
		size = max(size, int(id)+1)
	}
	for _, a := range f.AddedTokens {
		if a.Id < 0 || a.Id >= maxTokens {
			return nil, fmt.Errorf("added_tokens: %q has id %d: ids from 0 to %d are supported", a.Content, a.Id, maxTokens-1)
		}
		size = max(size, int(a.Id)+1)
	}
	entries := make([]entry, size)
	for text, id := range f.Model.Vocab {
		if e := entries[id]; e.kind != absent {
			return nil, fmt.Errorf("model: tokens %q and %q both have id %d", min(e.text, text), max(e.text, text), id)
		}
		entries[id] = entry{text, ordinary}
	}
	return entries, f.markAdded(entries)
}

func (f *file) markAdded(entries []entry) error {
	for _, a := range f.AddedTokens {
		e := &entries[a.Id]
		if id, ok := f.Model.Vocab[a.Content]; ok && int64(id) != a.Id {
			return fmt.Errorf("added_tokens: %q has id %d, but %d in the vocabulary", a.Content, a.Id, id)
		}
		if e.kind != absent && e.text != a.Content {
			return fmt.Errorf("added_tokens: %q and %q both have id %d", e.text, a.Content, a.Id)
		}
		*e = entry{a.Content, added}
	}
	return nil
}

func (f *file) addTokens(t *Tokenizer) error {
	for _, a := range f.AddedTokens {
		if a.SingleWord || a.Lstrip || a.Rstrip {
			return fmt.Errorf("added_tokens: %q: single_word, lstrip and rstrip are not supported", a.Content)
		}
		if a.Content == "" {
			return fmt.Errorf("added_tokens: token %d has no text", a.Id)
		}
		ways := []*matchers{&t.added.all}
		if t.model.characters && !a.Special {
			ways = append(ways, &t.added.user)
		} else if err := t.added.add(a.Content, int32(a.Id)); err != nil {
			return err
		}
		for _, m := range ways {
			if a.Normalized {
				m.normalized.add(t.normalize(a.Content), int32(a.Id))
			} else {
				m.literal.add(a.Content, int32(a.Id))
			}
		}
	}
	return nil
}
