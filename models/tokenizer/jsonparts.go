package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

// part is one component of a tokenizer.json's normaliser or pre-tokeniser. The
// fields are those of all types together; nil where the file has none.
type part struct {
	Type             string   `json:"type"`
	PreTokenizers    []part   `json:"pretokenizers"` // Sequence
	Normalizers      []part   `json:"normalizers"`   // Sequence
	IndividualDigits *bool    `json:"individual_digits"`
	Pattern          *pattern `json:"pattern"`
	Behavior         string   `json:"behavior"`
	Invert           *bool    `json:"invert"`
	AddPrefixSpace   *bool    `json:"add_prefix_space"`
	TrimOffsets      *bool    `json:"trim_offsets"` // concerns offsets only
	UseRegex         *bool    `json:"use_regex"`
	Decoders         []part   `json:"decoders"` // Sequence
	Content          string   `json:"content"`  // Replace, Strip
	Prepend          string   `json:"prepend"`  // Prepend
	Start            int      `json:"start"`    // Strip
	Stop             int      `json:"stop"`     // Strip
}

type pattern struct {
	Regex  string `json:"Regex"`
	String string `json:"String"`
}

// patterns are the Split patterns that have a scanner, by their exact text.
var patterns = map[string]step{patternLlama3: stepLlama3, patternQwen2: stepQwen2, patternQwen35: stepQwen35}

// readPreTokenizer reads a ByteLevel pre-tokeniser, alone or as the last of a
// Sequence with Digits and Split before it.
func readPreTokenizer(raw json.RawMessage) (preTokenizer, error) {
	var p preTokenizer
	if isNull(raw) {
		return p, errors.New("missing: only byte-level tokenizers are supported")
	}
	var top part
	if err := strict(raw, &top); err != nil {
		return p, err
	}
	parts := []part{top}
	if top.Type == "Sequence" {
		parts = top.PreTokenizers
	}
	for i := range parts {
		byteLevel := parts[i].Type == "ByteLevel"
		if last := i == len(parts)-1; byteLevel != last {
			return p, errors.New("ByteLevel must be the last step, and there only")
		}
		if err := p.add(&parts[i]); err != nil {
			return p, fmt.Errorf("%s: %w", parts[i].Type, err)
		}
	}
	if len(parts) == 0 {
		return p, errors.New("the sequence is empty: only byte-level tokenizers are supported")
	}
	return p, nil
}

func (p *preTokenizer) add(c *part) error {
	switch c.Type {
	case "Digits":
		if c.IndividualDigits == nil || !*c.IndividualDigits {
			return errors.New("only individual_digits is supported")
		}
		p.steps = append(p.steps, stepDigits)
	case "Split":
		split, err := c.splitStep()
		if err != nil {
			return err
		}
		p.steps = append(p.steps, split)
	case "ByteLevel":
		if c.AddPrefixSpace == nil {
			return errors.New("add_prefix_space is missing")
		}
		p.prefixSpace = *c.AddPrefixSpace
		last := stepAll
		if c.UseRegex == nil || *c.UseRegex { // files older than the option have the pattern
			last = stepGPT2
		}
		p.steps = append(p.steps, last)
	default:
		return fmt.Errorf("type %q is not supported: known are Sequence, Digits, Split, ByteLevel", c.Type)
	}
	return nil
}

func (c *part) splitStep() (step, error) {
	if c.Behavior != "Isolated" || c.Invert == nil || *c.Invert {
		return 0, fmt.Errorf("behavior %q is not supported: only Isolated and not inverted is", c.Behavior)
	}
	if c.Pattern == nil || c.Pattern.Regex == "" {
		return 0, errors.New("only a Regex pattern is supported")
	}
	split, ok := patterns[c.Pattern.Regex]
	if !ok {
		return 0, fmt.Errorf("pattern %.200q is not known: supported are those of Llama 3 and Qwen 2", c.Pattern.Regex)
	}
	return split, nil
}

// readNormalizer tells whether the normaliser is NFC; none is the other choice.
func readNormalizer(raw json.RawMessage) (nfc bool, err error) {
	if isNull(raw) {
		return false, nil
	}
	var top part
	if err := strict(raw, &top); err != nil {
		return false, err
	}
	parts := []part{top}
	if top.Type == "Sequence" {
		parts = top.Normalizers
	}
	for _, p := range parts {
		if p.Type != "NFC" {
			return false, fmt.Errorf("type %q is not supported: known are none and NFC", p.Type)
		}
		nfc = true
	}
	return nfc, nil
}

func checkDecoder(raw json.RawMessage) error {
	var d part
	if isNull(raw) {
		return errors.New("missing: only ByteLevel is supported")
	}
	if err := strict(raw, &d); err != nil {
		return err
	}
	if d.Type != "ByteLevel" {
		return fmt.Errorf("type %q is not supported: only ByteLevel is", d.Type)
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
