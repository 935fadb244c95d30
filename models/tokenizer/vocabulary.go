package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Vocabulary is a tokenizer as a GGUF file stores it, under the keys
// tokenizer.ggml.model, .pre, .tokens, .token_type, .merges, .scores and
// .add_space_prefix.
type Vocabulary struct {
	Model  string    // "gpt2": byte-level BPE; "llama": BPE of SentencePiece
	Pre    string    // byte-level: pre-tokeniser: "smollm", "llama-bpe", "qwen2"
	Tokens []string  // by id; ordinary byte-level tokens in the byte alphabet
	Types  []int32   // by id; 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 one byte
	Merges []string  // byte-level: two tokens with a space between, by rank
	Scores []float64 // SentencePiece: by id; pairs that make the token of the greatest merge first
	// NoSpace: SentencePiece puts no space before a text (add_space_prefix is false).
	NoSpace bool
}

// family is what a GGUF's pre-tokeniser name stands for.
type family struct {
	steps        []step
	ignoreMerges bool
	nfc          bool
}

// families are the pre-tokenisers by their GGUF name. qwen2 and qwen35 have the NFC
// normaliser of their tokenizer.json, which the GGUF does not record.
var families = map[string]family{
	"smollm":    {steps: []step{stepDigits, stepGPT2}},
	"llama-bpe": {steps: []step{stepLlama3}, ignoreMerges: true},
	"lfm2":      {steps: []step{stepLlama3}, ignoreMerges: true},
	"qwen2":     {steps: []step{stepQwen2}, nfc: true},
	"qwen35":    {steps: []step{stepQwen35}, nfc: true},
}

// kinds are the token types of llama.cpp. Type 6, one raw byte, belongs to
// SentencePiece vocabularies.
var kinds = map[int32]kind{1: ordinary, 2: added, 3: added, 4: added, 5: unused}

// FromVocabulary builds the tokenizer of a GGUF file.
func FromVocabulary(v Vocabulary) (*Tokenizer, error) {
	switch v.Model {
	case "gpt2":
	case "llama":
		t, err := v.sentencePiece()
		if err != nil {
			return nil, fmt.Errorf("gguf vocabulary: %w", err)
		}
		return t, nil
	default:
		return nil, fmt.Errorf("gguf vocabulary: tokenizer.ggml.model %q is not supported: known are \"gpt2\", byte-level BPE, and \"llama\", SentencePiece", v.Model)
	}
	f, ok := families[v.Pre]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(families)), ", ")
		return nil, fmt.Errorf("gguf vocabulary: tokenizer.ggml.pre %q is not supported: known are %s", v.Pre, known)
	}
	t, err := v.build(f)
	if err != nil {
		return nil, fmt.Errorf("gguf vocabulary: %w", err)
	}
	return t, nil
}

func (v *Vocabulary) build(f family) (*Tokenizer, error) {
	entries, err := v.entries(kinds)
	if err != nil {
		return nil, err
	}
	merges := make([][2]string, len(v.Merges))
	for i, line := range v.Merges {
		if merges[i], err = cutMerge(line); err != nil {
			return nil, err
		}
	}
	t, err := newTokenizer(entries, merges, f.ignoreMerges)
	if err != nil {
		return nil, err
	}
	if f.nfc {
		t.form = composed
	}
	t.pre = preTokenizer{steps: f.steps}
	for id, e := range entries {
		if e.kind != added {
			continue
		}
		if err := t.added.add(e.text, int32(id)); err != nil {
			return nil, err
		}
		t.added.all.literal.add(e.text, int32(id))
	}
	return t, nil
}

var errNoTypes = errors.New("tokenizer.ggml.token_type does not give every token its type, so special tokens cannot be told from text: convert the model again")

func (v *Vocabulary) entries(kinds map[int32]kind) ([]entry, error) {
	if len(v.Types) != len(v.Tokens) {
		return nil, errNoTypes
	}
	entries := make([]entry, len(v.Tokens))
	for id, text := range v.Tokens {
		kind, ok := kinds[v.Types[id]]
		if !ok {
			return nil, fmt.Errorf("token %d (%q) has type %d, which a vocabulary of model %q does not use", id, text, v.Types[id], v.Model)
		}
		entries[id] = entry{text, kind}
	}
	return entries, nil
}
